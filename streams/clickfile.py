"""Files of recorded clicks, TSV, CSV or Parquet, as columns in order of time.

Rows of one time stay in the order of the file: public logs have whole sessions within a second.
"""

import os
from dataclasses import dataclass
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
    if not path.is_file():
        raise ClickFileError(f"{path}: {'is a folder' if path.is_dir() else 'no such file'}")
    try:
        table = _read_parquet(path, columns) if ".parquet" in path.suffixes else _read_text(path, columns)
    except (pa.ArrowException, OSError, UnicodeDecodeError, EOFError) as error:
        raise ClickFileError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    if table.num_rows == 0:
        raise ClickFileError(f"{path}: holds no clicks")
    time_ms = _times(path, table[columns.time])
    order = np.argsort(time_ms, kind="stable")
    session_ids, item_ids = (_ids(path, table[name], name) for name in (columns.session, columns.item))
    kinds = None if columns.kind is None else _kinds(table[columns.kind])[order]
    return ClickColumns(session_ids[order], item_ids[order], time_ms[order], kinds)


def write_click_file(path: Path, clicks: ClickColumns) -> None:
    """Write what ``read_click_file`` reads, by extension; times are seconds with three decimals.

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
    )
    try:
        if ".parquet" in path.suffixes:
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


def _read_text(path: Path, columns: Columns) -> Any:
    with pa.input_stream(str(path), compression="detect") as stream:
        header = stream.read(64 << 10).decode("utf-8-sig", errors="replace").split("\n", 1)[0]
    if not header.strip():
        raise ClickFileError(f"{path}: is empty")
    separator = next((mark for mark in "\t,;" if mark in header), "\t")
    _require(path, columns, [name.strip().strip('"') for name in header.split(separator)])
    wanted = _wanted(columns)
    return pa_csv.read_csv(
        path,
        parse_options=pa_csv.ParseOptions(delimiter=separator),
        convert_options=pa_csv.ConvertOptions(
            include_columns=wanted, column_types=dict.fromkeys(wanted, pa.string())
        ),
    )


def _wanted(columns: Columns) -> list[str]:
    return [
        columns.session,
        columns.item,
        columns.time,
        *([] if columns.kind is None else [columns.kind]),
    ]


def _require(path: Path, columns: Columns, found: list[str]) -> None:
    for name, flag in zip(_wanted(columns), ("session", "item", "time", "kind"), strict=False):
        if name not in found:
            shown = ", ".join(found[:12])
            raise ClickFileError(
                f"{path}: has no column {name!r} for the {flag}; it has {shown}: name it with --{flag}-column"
            )


def _ids(path: Path, column: Any, name: str) -> NDArray[np.object_]:
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    missing = encoded.null_count or pc.any(pc.equal(encoded.dictionary, "")).as_py()
    if missing:
        row = next(i for i, value in enumerate(column.to_pylist()) if value is None or value == "")
        raise ClickFileError(f"{path}: click {row + 1} has no {name}")
    names = np.array(encoded.dictionary.to_pylist(), dtype=object)
    ids: NDArray[np.object_] = names[encoded.indices.to_numpy()]
    return ids


def _kinds(column: Any) -> NDArray[np.object_]:
    """Kinds of clicks, the usual one where the file says nothing."""
    encoded = column.cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
    names = np.array([name or DEFAULT_KIND for name in encoded.dictionary.to_pylist()], dtype=object)
    kinds: NDArray[np.object_] = names[encoded.indices.to_numpy()]
    return kinds


def _times(path: Path, column: Any) -> NDArray[np.int64]:
    """Milliseconds since 1970 of numbers, dates or their text."""
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
