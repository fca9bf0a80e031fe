"""The options by which commands read files of clicks: their format, and what a table's columns are called."""

from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated

import typer

from streams.clickfile import ClickColumns, Columns
from streams.importing import Format, import_clicks

FormatOption = Annotated[
    Format, typer.Option("--format", help="How the clicks are written; auto tells it by the first line.")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns", metavar="session=…,item=…,time=…,kind=…", help="What a table's columns are called."
    ),
]
SessionColumn = Annotated[str, typer.Option(help="Column of the session id.")]
ItemColumn = Annotated[str, typer.Option(help="Column of the item id.")]
TimeColumn = Annotated[str, typer.Option(help="Column of the time.")]

ReadClicks = Callable[[Path], ClickColumns]


def click_reader(format: Format, columns: str | None, single: Columns | None = None) -> ReadClicks:
    """What reads a file by these options; ``single`` are the names that options of their own gave."""
    named = named_columns(format, columns, single)
    return lambda path: import_clicks(path, format, named)


def named_columns(format: Format, columns: str | None, single: Columns | None = None) -> Columns | None:
    """The columns that somebody named, None where nobody did.

    Raises ``typer.BadParameter`` where the options contradict each other.
    """
    named = single if single is not None and single != Columns() else None
    if columns is not None:
        if named is not None:
            raise typer.BadParameter("give --columns or options for single columns, not both")
        named = parse_columns(columns)
    if named is not None and format not in (Format.AUTO, Format.TABLE):
        raise typer.BadParameter(f"columns are named for a table, and --format is {format}")
    return named


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
