"""Files of recorded clicks, TSV, CSV or Parquet, as columns in order of time.

Rows of one time stay in the order of the file: public logs have whole sessions within a second. Formats of
their own are in ``streams/importing.py``.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from streams.errors import NextclickError
from streams.events import DEFAULT_KIND

KIND_COLUMN = "Kind"
CODED = pa.dictionary(pa.int32(), pa.string())
"""Text of which each is kept once, as ids and kinds come again and again."""
FIRST_MS = 1e11
"""Times from here on are milliseconds (1973), below they are seconds (up to the year 5138)."""


class ClickFileError(NextclickError):
    """A file of clicks that cannot be read; the text names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What the columns are called in the file; ``kind`` None where kinds are not to be read."""

    session: str = "SessionId"
    item: str = "ItemId"
    time: str = "Time"
    kind: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClickColumns:
    """Clicks in order, a column for each field; equal ids share one string object.

    ``kinds`` None stands for all of the usual kind.
    """

    session_ids: NDArray[np.object_]
    item_ids: NDArray[np.object_]
    time_ms: NDArray[np.int64]
    kinds: NDArray[np.object_] | None = None

    def __len__(self) -> int:
        return len(self.time_ms)

    @classmethod
    def concatenate(cls, parts: "list[ClickColumns]") -> "ClickColumns":
        """All clicks of the parts, in the order given; with kinds where a part has them."""
        has_kinds = any(part.kinds is not None for part in parts)
        return cls(
            np.concatenate([np.empty(0, dtype=object), *(part.session_ids for part in parts)]),
            np.concatenate([np.empty(0, dtype=object), *(part.item_ids for part in parts)]),
            np.concatenate([np.empty(0, dtype=np.int64), *(part.time_ms for part in parts)]),
            np.concatenate([part.each_kind() for part in parts]) if has_kinds else None,
        )

    def each_kind(self) -> NDArray[np.object_]:
        """The kind of every click; (n,)."""
        return np.full(len(self), DEFAULT_KIND, dtype=object) if self.kinds is None else self.kinds


def read_click_file(path: Path, columns: Columns | None = None) -> ClickColumns:
    """Read the clicks, sorted stably by time and row.

    TSV and CSV have a header and may be gzipped; ``.parquet`` is Parquet. Times are numbers, in seconds
    below 1e11 and in milliseconds from there on, whole or with fractions; or ISO 8601 dates, in UTC where
    they name no zone. Raises ``ClickFileError``.
    """
    columns = columns or Columns()
    with readable(path):
        table = _read_parquet(path, columns) if is_parquet(path) else _read_table(path, columns)
    kinds = None if columns.kind is None else table[columns.kind]
    return click_columns(path, table[columns.session], table[columns.item], table[columns.time], kinds)


def click_columns(
    path: Path,
    sessions: Any,
    items: Any,
    times: Any,
    kinds: Any | None = None,
    *,
    called: Mapping[str, str] | None = None,
) -> ClickColumns:
    """Arrow's columns of a file as clicks, sorted stably by time and row.

    ``called`` gives kinds their usual names. Raises ``ClickFileError`` where an id or a time is missing.
    """
    if len(times) == 0:
        raise ClickFileError(f"{path}: holds no clicks")
    time_ms = _times(path, times)
    order = np.argsort(time_ms, kind="stable")
    return ClickColumns(
        _ids(path, sessions, "session id")[order],
        _ids(path, items, "item id")[order],
        time_ms[order],
        None if kinds is None else _kinds(kinds, called or {})[order],
    )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file into ``ClickFileError``, one line."""
    if not path.is_file():
        raise ClickFileError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, EOFError) as error:
        raise ClickFileError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error


def is_parquet(path: Path) -> bool:
    """Whether a file's name says that it is Parquet."""
    return ".parquet" in path.suffixes


def first_line(path: Path) -> str:
    """The first line of a text file, gzipped or not; raises ``ClickFileError`` where it is empty."""
    with pa.input_stream(str(path), compression="detect") as stream:
        line: str = stream.read(64 << 10).decode("utf-8-sig", errors="replace").split("\n", 1)[0]
    if not line.strip():
        raise ClickFileError(f"{path}: is empty")
    return line.rstrip("\r")


def header_of(path: Path) -> tuple[str, list[str]]:
    """What separates the columns of a TSV or CSV, and their names."""
    line = first_line(path)
    separator = next((mark for mark in "\t,;" if mark in line), "\t")
    return separator, [name.strip().strip('"') for name in line.split(separator)]


def names_in(path: Path) -> list[str]:
    """What the columns of a table, Parquet or text, are called."""
    return list(pq.read_schema(path).names) if is_parquet(path) else header_of(path)[1]


def read_text(path: Path, separator: str, types: Mapping[str, Any], *, headless: bool = False) -> Any:
    """Some columns of a TSV or CSV as Arrow's table; without a header they are called f0, f1 and so on."""
    return pa_csv.read_csv(
        path,
        read_options=pa_csv.ReadOptions(autogenerate_column_names=headless),
        parse_options=pa_csv.ParseOptions(delimiter=separator),
        convert_options=pa_csv.ConvertOptions(include_columns=list(types), column_types=dict(types)),
    )


def write_click_file(path: Path, clicks: ClickColumns) -> None:
    """Write what ``read_click_file`` reads, by extension; times are seconds with three decimals.

    Kinds, where there are any, stand in a column ``Kind``.

    Raises ``ClickFileError`` where the file cannot be written.
    """
    names = Columns()
    seconds = pa.array([f"{time_ms / 1000:.3f}" for time_ms in clicks.time_ms.tolist()])
    table = pa.table(
        {
            names.session: pa.array(clicks.session_ids, pa.string()),
            names.item: pa.array(clicks.item_ids, pa.string()),
            names.time: seconds,
        }
        | ({} if clicks.kinds is None else {KIND_COLUMN: pa.array(clicks.kinds, pa.string())})
    )
    try:
        if is_parquet(path):
            in_ms = pa.array(clicks.time_ms).cast(pa.timestamp("ms", "UTC"))
            pq.write_table(table.set_column(2, names.time, in_ms), path)
            return
        separator = "," if ".csv" in path.suffixes else "\t"
        options = pa_csv.WriteOptions(include_header=False, delimiter=separator, quoting_style="none")
        with pa.output_stream(str(path), compression="detect") as stream:
            stream.write(separator.join(table.column_names).encode() + b"\n")
            pa_csv.write_csv(table, stream, options)
    except (OSError, pa.ArrowException) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise ClickFileError(f"{path}: cannot be written: {reason}") from error


def _read_parquet(path: Path, columns: Columns) -> Any:
    _require(path, columns, pq.read_schema(path).names)
    return pq.read_table(path, columns=_wanted(columns))


def _read_table(path: Path, columns: Columns) -> Any:
    separator, names = header_of(path)
    _require(path, columns, names)
    return read_text(path, separator, dict.fromkeys(_wanted(columns), CODED) | {columns.time: pa.string()})


def _wanted(columns: Columns) -> list[str]:
    named = [getattr(columns, field.name) for field in fields(columns)]
    return [name for name in named if name is not None]


def _require(path: Path, columns: Columns, found: list[str]) -> None:
    for field in fields(columns):
        name = getattr(columns, field.name)
        if name is not None and name not in found:
            shown = ", ".join(found[:12])
            raise ClickFileError(
                f"{path}: has no column {name!r} for the {field.name}; it has {shown}:"
                f" name it with --columns {field.name}=…"
            )


def _ids(path: Path, column: Any, name: str) -> NDArray[np.object_]:
    coded = _coded(column)
    missing = coded.null_count or pc.any(pc.equal(coded.dictionary, "")).as_py()
    # Rows that were left out may have been the only ones without.
    row = next((i for i, value in enumerate(coded.to_pylist()) if not value), None) if missing else None
    if row is not None:
        raise ClickFileError(f"{path}: click {row + 1} has no {name}")
    names = np.array(coded.dictionary.to_pylist(), dtype=object)
    ids: NDArray[np.object_] = names[coded.indices.to_numpy()]
    return ids


def _kinds(column: Any, called: Mapping[str, str]) -> NDArray[np.object_]:
    """Kinds of clicks, the usual one where the file says nothing."""
    coded = _coded(column)
    found = [called.get(name, name) or DEFAULT_KIND for name in coded.dictionary.to_pylist()]
    names = np.array([*found, DEFAULT_KIND], dtype=object)  # the last for the rows that say nothing
    kinds: NDArray[np.object_] = names[coded.indices.fill_null(len(found)).to_numpy()]
    return kinds


def _coded(column: Any) -> Any:
    """A column as numbers of its different texts, in one chunk."""
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    if isinstance(column, pa.ChunkedArray):
        column = column.unify_dictionaries().combine_chunks()
    return column


def _times(path: Path, column: Any) -> NDArray[np.int64]:
    """Milliseconds since 1970 of numbers, dates or their text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        try:
            column = column.cast(pa.float64())
        except pa.ArrowInvalid:
            column = _parse_dates(path, column)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
        return _whole(path, column.cast(pa.float64()))
    try:
        column = column.cast(pa.float64())
    except pa.ArrowException as error:
        raise ClickFileError(f"{path}: times of type {column.type} are not understood") from error
    finite = np.asarray(column.fill_null(float("nan")).to_numpy())
    in_ms = len(finite) and np.nanmax(np.append(finite, 0.0)) >= FIRST_MS
    return _whole(path, pa.chunked_array([finite if in_ms else finite * 1000.0]))


def _parse_dates(path: Path, column: Any) -> Any:
    for zone in ("UTC", None):  # text with a zone, text without
        try:
            return column.cast(pa.timestamp("ms", zone))
        except pa.ArrowInvalid as error:
            reason = str(error).splitlines()[0]
    raise ClickFileError(f"{path}: its times are neither numbers nor ISO dates: {reason}")


def _whole(path: Path, column: Any) -> NDArray[np.int64]:
    values = np.asarray(column.fill_null(float("nan")).to_numpy())
    if not np.isfinite(values).all():
        raise ClickFileError(f"{path}: click {int(np.argmin(np.isfinite(values))) + 1} has no time")
    whole: NDArray[np.int64] = np.rint(values).astype(np.int64)
    return whole
