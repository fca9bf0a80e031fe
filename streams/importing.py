"""Public click logs as they are published, read as columns of clicks.

Each format is told by its first line, so that nobody needs to name it. Kinds that have another name in a log
get the usual ones: view, cart, purchase. The formats are described in ``docs/formats.md``.
"""

import gzip
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streams.clickfile import (
    CODED,
    FIRST_MS,
    KIND_COLUMN,
    ClickColumns,
    ClickFileError,
    Columns,
    click_columns,
    first_line,
    header_of,
    is_parquet,
    names_in,
    read_click_file,
    read_text,
    readable,
)
from streams.events import DEFAULT_KIND
from streams.growing_columns import GrowingColumns

CART: Final = "cart"
PURCHASE: Final = "purchase"

TABLE_NAMES: Final = (
    Columns("SessionId", "ItemId", "Time", KIND_COLUMN),
    Columns("session_id", "item_id", "time_ms", "kind"),  # the archive's files
    Columns("session_id", "item_id", "timestamp_ms", "kind"),  # a click's fields
    Columns("session_id", "item_id", "timestamp", "event_type"),
)
"""What a table's columns are looked for as where nobody names them; the kind may be absent."""

_YOOCHOOSE: Final = re.compile(r'"?\d+"?,"?\d{4}-\d\d-\d\dT[\d:.]+Z?"?,"?\d+"?,')
_RETAILROCKET_KINDS: Final = {"addtocart": CART, "transaction": PURCHASE}
_OTTO_KINDS: Final = {"clicks": DEFAULT_KIND, "carts": CART, "orders": PURCHASE}
_YOOCHOOSE_COLUMNS_OF_BUYS: Final = 5


class Format(StrEnum):
    """How a file of clicks is written; ``auto`` finds out."""

    AUTO = "auto"
    TABLE = "table"
    YOOCHOOSE = "yoochoose"
    RETAILROCKET = "retailrocket"
    DIGINETICA = "diginetica"
    OTTO = "otto"
    TRIVAGO = "trivago"


def import_clicks(path: Path, format: Format = Format.AUTO, columns: Columns | None = None) -> ClickColumns:
    """Read the clicks of a file, sorted stably by time and row.

    ``columns`` name those of a table (TSV, CSV or Parquet). Raises ``ClickFileError``.
    """
    if columns is not None:
        return read_click_file(path, columns)
    if format is Format.AUTO:
        with readable(path):
            format = _find_format(path)
    if format is Format.TABLE:
        with readable(path):
            columns = _find_columns(names_in(path))
        return read_click_file(path, columns)
    with readable(path):
        return _READERS[format](path)


def _find_format(path: Path) -> Format:
    if is_parquet(path):
        return Format.TABLE
    line = first_line(path)
    if line.lstrip().startswith("{"):
        return Format.OTTO
    if _YOOCHOOSE.match(line):
        return Format.YOOCHOOSE
    names = set(header_of(path)[1])
    if {"visitorid", "itemid", "event"} <= names:
        return Format.RETAILROCKET
    if {"timeframe", "eventdate"} <= names:
        return Format.DIGINETICA
    if {"action_type", "reference"} <= names:
        return Format.TRIVAGO
    return Format.TABLE


def _find_columns(names: list[str]) -> Columns:
    """The first of the usual names that a table has; else the very first, whose absence is then told."""
    for wanted in TABLE_NAMES:
        if {wanted.session, wanted.item, wanted.time} <= set(names):
            kind = wanted.kind if wanted.kind in names else None
            return Columns(wanted.session, wanted.item, wanted.time, kind)
    return Columns()


def _read_yoochoose(path: Path) -> ClickColumns:
    """``yoochoose-clicks.dat``: session, time, item, category; ``-buys.dat``: … item, price, quantity."""
    is_buys = first_line(path).count(",") + 1 >= _YOOCHOOSE_COLUMNS_OF_BUYS
    times = pa.timestamp("ms", "UTC")
    table = read_text(path, ",", {"f0": CODED, "f1": times, "f2": CODED}, headless=True)
    kinds = _all_of(table, PURCHASE) if is_buys else None
    return click_columns(path, table["f0"], table["f2"], table["f1"], kinds)


def _read_retailrocket(path: Path) -> ClickColumns:
    """``events.csv``: timestamp, visitorid, event, itemid, transactionid. Visits are to be cut by a gap."""
    table = _table(path, {"timestamp": pa.string(), "visitorid": CODED, "event": CODED, "itemid": CODED})
    columns = table["visitorid"], table["itemid"], table["timestamp"], table["event"]
    return click_columns(path, *columns, called=_RETAILROCKET_KINDS)


def _read_diginetica(path: Path) -> ClickColumns:
    """``train-item-views.csv``, ``train-purchases.csv``: a day, and milliseconds since the session began."""
    names = header_of(path)[1]
    session = "session_id" if "session_id" in names else "sessionId"
    item = "item_id" if "item_id" in names else "itemId"
    types = {session: CODED, item: CODED, "timeframe": pa.int64(), "eventdate": pa.timestamp("ms")}
    table = _table(path, types)
    times = pc.add(table["eventdate"].cast(pa.int64()), table["timeframe"]).cast(pa.timestamp("ms"))
    kinds = _all_of(table, PURCHASE) if "ordernumber" in names else None
    return click_columns(path, table[session], table[item], times, kinds)


def _read_trivago(path: Path) -> ClickColumns:
    """``train.csv`` of RecSys 2019: the actions whose reference is an item; kinds are the types of action."""
    names = ("session_id", "reference", "timestamp", "action_type")
    table = _table(path, dict.fromkeys(names, CODED) | {"timestamp": pa.string()})
    # Of a destination, a filter or a sort order the reference is a name; of the click to be foretold, none.
    is_item = pc.match_substring_regex(table["reference"].cast(pa.string()), r"^\d+$")
    table = table.filter(is_item)
    return click_columns(path, *(table[name] for name in names))


class _OttoEvent(msgspec.Struct, gc=False):
    aid: int
    ts: int
    type: str


class _OttoSession(msgspec.Struct, gc=False):
    session: int
    events: list[_OttoEvent]


def _read_otto(path: Path) -> ClickColumns:
    """JSON lines, a session each: its number and its events, each an item, a time and a type."""
    decode = msgspec.json.Decoder(_OttoSession).decode
    columns = GrowingColumns()
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                session = decode(line)
            except msgspec.MsgspecError as error:
                raise ClickFileError(f"{path}: line {number} is no session of OTTO's: {error}") from error
            session_id = str(session.session)
            for event in session.events:
                kind = _OTTO_KINDS.get(event.type, event.type)
                time_ms = event.ts if event.ts >= FIRST_MS else 1000 * event.ts
                columns.append(session_id, str(event.aid), kind, time_ms, time_ms)
    if not len(columns):
        raise ClickFileError(f"{path}: holds no clicks")
    return columns.in_order_of_arrival()


def _table(path: Path, types: Mapping[str, Any]) -> Any:
    separator, names = header_of(path)
    for name in types:
        if name not in names:
            raise ClickFileError(f"{path}: has no column {name!r}; it has {', '.join(names[:12])}")
    return read_text(path, separator, types)


def _all_of(table: Any, kind: str) -> Any:
    """A column that says the same in every row."""
    return pa.DictionaryArray.from_arrays(np.zeros(table.num_rows, dtype=np.int32), [kind])


_READERS: Final[Mapping[Format, Callable[[Path], ClickColumns]]] = {
    Format.YOOCHOOSE: _read_yoochoose,
    Format.RETAILROCKET: _read_retailrocket,
    Format.DIGINETICA: _read_diginetica,
    Format.OTTO: _read_otto,
    Format.TRIVAGO: _read_trivago,
}
