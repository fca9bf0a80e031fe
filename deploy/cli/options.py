"""The options that every command shares, written once: Kafka's address and login, --home, --json, --debug.

A command names the further settings it takes as flags and receives the checked settings::

    @takes_settings("group", "top_k")
    def command(
        settings: Settings, output: Output, name: Annotated[str, typer.Option(help="…")] = "a"
    ) -> None:

The decorator replaces ``settings`` and ``output`` (and ``origins``, where each value came from) in the
signature by the flags. Shared flags may stand before the command or after it; after it wins.
"""

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from deploy.settings import Settings
from deploy.settings_sources import flag_of, load_with_origins, may_be

SHARED = (
    "home",
    "bootstrap_servers",
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password",
    "sasl_password_file",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
)
"""The settings that every command takes as flags."""

TRAINED = (
    "cell",
    "units",
    "layers",
    "dropout_embedding",
    "dropout_hidden",
    "click_context",
    "click_context_at",
    "loss",
    "negatives",
    "epochs",
    "batch_size",
    "learning_rate",
)
"""What the trainer trains by, and so what evaluate measures."""

_FILLED_IN = ("settings", "origins", "output")


@dataclass(frozen=True, slots=True)
class Output:
    """What goes to stdout: lines for people, or with --json one object and nothing else."""

    json: bool

    def say(self, line: str) -> None:
        """Print a line for people; with --json it goes to stderr."""
        print(line, file=sys.stderr if self.json else sys.stdout, flush=True)

    def warn(self, line: str) -> None:
        """Print a warning on stderr."""
        print(f"nextclick: warning: {line}", file=sys.stderr, flush=True)

    def result(self, result: dict[str, Any]) -> None:
        """Print the command's one object; without --json nothing."""
        if self.json:
            print(json.dumps(result, ensure_ascii=False), flush=True)


def takes_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the shared flags and those of the settings ``names``."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        flags = dict.fromkeys((*names, *SHARED))

        @functools.wraps(command)
        def with_flags(*, context: typer.Context, as_json: bool, debug: bool, **arguments: Any) -> None:
            given = {name: arguments.pop(name) for name in flags}
            before = root_options(context)
            given = {name: before.get(name) if value is None else value for name, value in given.items()}
            loaded = load_with_origins(given)
            filled_in = {
                "settings": loaded.settings,
                "origins": loaded.origins,
                "output": Output(json=as_json or bool(before.get("as_json"))),
            }
            arguments |= {name: filled_in[name] for name in _FILLED_IN if name in signature.parameters}
            command(**arguments)

        own = [p for p in signature.parameters.values() if p.name not in _FILLED_IN]
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [
            *_keyword_only(own),
            context,
            *_flags(n for n in names if n not in SHARED),
            *shared_parameters(),
        ]
        # Typer reads the signature, and the annotations only to resolve names left as text: there are none.
        with_flags.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_flags.__annotations__ = {}
        return with_flags

    return decorate


def root_options(context: typer.Context) -> dict[str, Any]:
    """Return the options given before the command's name."""
    root = context.find_root().obj
    return root if isinstance(root, dict) else {}


def shared_parameters(hidden: bool = False) -> list[inspect.Parameter]:
    """Return the shared options as parameters that Typer understands."""
    return [
        *_flags(SHARED, hidden=hidden),
        _parameter("as_json", bool, False, typer.Option("--json", help="Print one JSON object on stdout.")),
        _parameter("debug", bool, False, typer.Option("--debug", help="Show the stack trace of an error.")),
    ]


def _flags(names: Iterable[str], hidden: bool = False) -> list[inspect.Parameter]:
    # Values stay text until the settings check them, so that every source gets the same error message.
    return [
        _parameter(
            name,
            str | None,
            None,
            typer.Option(
                flag_of(name),
                help=f"{Settings.model_fields[name].description} ({may_be(name)})",
                metavar="VALUE",
                rich_help_panel="Kafka and files" if name in SHARED else "Settings",
                hidden=hidden,
                show_default=False,
            ),
        )
        for name in names
    ]


def _parameter(name: str, kind: Any, default: Any, option: Any) -> inspect.Parameter:
    annotation = Annotated[kind, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _keyword_only(parameters: Iterable[inspect.Parameter]) -> list[inspect.Parameter]:
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
