"""The command ``nextclick``: finds the command asked for, and turns every failure into one line.

A command lives in ``deploy/cli/<name>.py`` and is entered in ``COMMANDS`` with its one-line summary. Its
module has either a function ``command`` or, for several sub-commands, a ``typer.Typer`` called ``app``;
functions take the shared options by ``@takes_settings(…)`` (see ``deploy.cli.options``). The module is
imported only when its command runs, so that ``nextclick --help`` does not wait for torch or Faust.

A command returns when it is done (exit 0) and raises a ``NextclickError`` whose text is the one line to show
(exit 1), or ``typer.BadParameter`` for wrong usage (exit 2). ``raise typer.Exit(code)`` ends it silently.
"""

import importlib
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from streams.errors import NextclickError

COMMANDS = {
    "demo": "Show the whole product at work, in about a minute.",
    "broker": "Run Apache Kafka on this machine.",
    "topics": "Create the topics, or show how they are set up.",
    "worker": "Answer clicks with recommendations.",
    "trainer": "Train on the newest clicks and publish snapshots.",
    "archive": "Archive clicks as Parquet, for longer than Kafka keeps them.",
    "replay": "Feed a file of clicks into Kafka.",
    "generate": "Make up shoppers and their clicks.",
    "watch": "Follow the recommendations live.",
    "recommend": "Ask a snapshot what follows some items, without Kafka.",
    "evaluate": "Measure accuracy on files of clicks.",
    "tune": "Search settings that suit a log, within a time budget.",
    "snapshots": "What there is, what serves and how well; promote, roll back.",
    "sessions": "Show a session's record, or forget all sessions.",
    "settings": "Show every setting, its value and where it came from.",
    "doctor": "Say what is missing on this machine or cluster, and the remedy.",
}

EXIT_FAILED, EXIT_WRONG_USAGE, EXIT_INTERRUPTED = 1, 2, 130
# BadParameter's base is Click's UsageError and that one's is ClickException; Typer exports neither.
UsageError, ClickException = typer.BadParameter.__mro__[1:3]


class LazyGroup(TyperGroup):
    """Knows every command's name and summary, and imports only the one that runs."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        for name, summary in COMMANDS.items():
            self.add_command(TyperCommand(name, help=summary), name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of COMMANDS."""
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the real command in place of the summary."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(str(name)), rest


def load_command(name: str) -> Any:
    """Import one command's module and return its Click command."""
    module = importlib.import_module(f"deploy.cli.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command(name, help=inspect.getdoc(module.command) or COMMANDS[name])(module.command)
    command = typer.main.get_command(app)
    command.name = name
    return command


def build() -> Any:
    """Return the root command."""
    app = typer.Typer(
        cls=LazyGroup,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Real-time next-item recommendations from a Kafka click stream.",
        epilog="Settings: flags, NEXTCLICK_… variables, nextclick.toml; nextclick settings lists them all.",
    )
    app.callback()(_root())
    return typer.main.get_command(app)


def _root() -> Any:
    from deploy.cli.options import shared_parameters

    def root(context: typer.Context, **options: Any) -> None:
        context.obj = options

    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    root.__signature__ = inspect.Signature([context, *shared_parameters(hidden=True)])  # type: ignore[attr-defined]
    root.__annotations__ = {}
    return root


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; a failure is one line on stderr."""
    debug = "--debug" in arguments
    _quiet_client_libraries(debug)
    try:
        code = build()(list(arguments), prog_name="nextclick", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        # Whoever read our output has left; Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        line, code = _explain(error, debug)
        if line:
            print(f"nextclick: {line}", file=sys.stderr)
        return code


def _explain(error: Exception, debug: bool) -> tuple[str, int]:
    from deploy.settings import SettingsError

    if isinstance(error, ClickException):
        context = getattr(error, "ctx", None)
        code = EXIT_WRONG_USAGE if isinstance(error, UsageError) else EXIT_FAILED
        message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        help_line = f" (see {context.command_path} --help)" if context else ""
        return message.rstrip(".") + help_line if message else "", code
    if isinstance(error, SettingsError):
        return str(error), EXIT_WRONG_USAGE
    if isinstance(error, NextclickError):
        return " ".join(str(error).split("\n")), EXIT_FAILED
    first_line = (str(error).splitlines() or [""])[0]
    hint = "" if debug else "; run with --debug for the stack trace"
    return f"unexpected {type(error).__name__}: {first_line}{hint}", EXIT_FAILED


def _quiet_client_libraries(debug: bool) -> None:
    # Their complaints while they reconnect go to whoever configures logging, and not to a person's terminal.
    for name in ("kafka", "aiokafka"):
        logger = logging.getLogger(name)
        if debug:
            logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        else:
            logger.addHandler(logging.NullHandler())


if __name__ == "__main__":
    main()
