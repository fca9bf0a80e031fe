"""The options by which commands read files of clicks: their format, and what a table's columns are called.

A command that reads such files says so, below ``takes_settings``, and receives what the options come to::

    @takes_settings()
    @reads_click_files()
    def command(settings: Settings, click_files: ClickFiles) -> None:
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from streams.clickfile import ClickColumns, Columns
from streams.importing import Format, import_clicks

_FORMAT: Final = Annotated[
    Format, typer.Option("--format", help="How the clicks are written; auto tells it by the first line.")
]
_COLUMNS: Final = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="session=…,item=…,time=…,kind=…", help="What a table's columns are called."
    ),
]
_SINGLE: Final = {
    "session": Annotated[str, typer.Option(help="Column of the session id.")],
    "item": Annotated[str, typer.Option(help="Column of the item id.")],
    "time": Annotated[str, typer.Option(help="Column of the time.")],
    "kind": Annotated[str | None, typer.Option(help="Column of the kind of click; Kind where there is one.")],
}


@dataclass(frozen=True, slots=True)
class ClickFiles:
    """How the files of clicks are written: their format, and the columns that somebody named."""

    format: Format = Format.AUTO
    columns: Columns | None = None

    def read(self, path: Path) -> ClickColumns:
        """Read one."""
        return import_clicks(path, self.format, self.columns)


def reads_click_files(*, single_columns: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's ``click_files`` by the options that say it, one for each column among them."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        options = [_option("format", _FORMAT, Format.AUTO), _option("columns", _COLUMNS, None)]
        if single_columns:
            usual = asdict(Columns())
            options += [_option(f"{name}_column", kind, usual[name]) for name, kind in _SINGLE.items()]

        @functools.wraps(command)
        def with_options(*, format: Format, columns: str | None, **arguments: Any) -> None:
            single = Columns(**{name: arguments.pop(f"{name}_column") for name in _SINGLE if single_columns})
            command(click_files=click_files(format, columns, single), **arguments)

        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in signature.parameters.items()
            if name != "click_files"
        ]
        with_options.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        return with_options

    return decorate


def click_files(format: Format, columns: str | None, single: Columns | None = None) -> ClickFiles:
    """What the options come to; ``single`` are the names that options of their own gave.

    Raises ``typer.BadParameter`` where they contradict each other.
    """
    named = single if single is not None and single != Columns() else None
    if columns is not None:
        if named is not None:
            raise typer.BadParameter("give --columns or options for single columns, not both")
        named = parse_columns(columns)
    if named is not None and format not in (Format.AUTO, Format.TABLE):
        raise typer.BadParameter(f"columns are named for a table, and --format is {format}")
    return ClickFiles(format, named)


def parse_columns(text: str) -> Columns:
    """Names of a table's columns; those that are not given keep their usual ones, and kinds are not read."""
    named = asdict(Columns())
    for part in text.split(","):
        field, equals, name = (word.strip() for word in part.partition("="))
        if field not in named or not equals or not name:
            may_be = ", ".join(f"{field.name}=…" for field in fields(Columns))
            raise typer.BadParameter(f"--columns has {part.strip()!r}, it must be some of {may_be}")
        named[field] = name
    return Columns(**named)


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
