"""A session: what is remembered between two clicks, its stored form, and the fold that a click makes.

The record is everything that a later click needs and nothing else: the encoder's state, the last
items (to rebuild that state under another snapshot), and the offset of the last click applied, which
makes a click that Kafka delivers twice harmless.
"""

from hashlib import blake2b
from typing import TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.events import DEFAULT_KIND, Click, click_time_ms

MAX_ITEMS = 20
MAX_EVENT_HASHES = 20
MAX_RECORD_BYTES = 4096
FORMAT_VERSION = 1
STATE_DTYPE = np.float16

_HASH_BYTES = 8
_Time = TypeVar("_Time", int, NDArray[np.int64])


class SessionFormatError(ValueError):
    """A stored record is not a session record of a version that this code reads."""


class SessionItem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One remembered click and its time."""

    item_id: str
    kind: str | None  # None stands for "view", the usual kind: one byte instead of five
    time_ms: int


class Session(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One session after the click at ``offset``.

    ``state`` holds float16 numbers, as many as the encoder's ``state_dim``; it means something only to
    the encoder of ``snapshot``. ``n_applied`` counts the clicks that moved it, so 0 says that no item
    of the session is known to that snapshot. ``event_hashes`` is a run of 8-byte hashes, oldest first.
    """

    snapshot: str
    offset: int
    latest_ms: int
    append_ms: int
    n_applied: int
    state: bytes
    items: tuple[SessionItem, ...] = ()
    event_hashes: bytes = b""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Session)
_FORMAT_BYTE = bytes([FORMAT_VERSION])


def encode_session(session: Session) -> bytes:
    """Give the stored form: one byte of format version, then MessagePack; at most 4 KB.

    Where long item ids would exceed that, the oldest items go first, then the event hashes.
    """
    record = _FORMAT_BYTE + _encoder.encode(session)
    while len(record) > MAX_RECORD_BYTES and (len(session.items) > 1 or session.event_hashes):
        if len(session.items) > 1:
            session = msgspec.structs.replace(session, items=session.items[1:])
        else:
            session = msgspec.structs.replace(session, event_hashes=b"")
        record = _FORMAT_BYTE + _encoder.encode(session)
    return record


def decode_session(record: bytes) -> Session:
    """Read :func:`encode_session`'s form; raise :class:`SessionFormatError` for anything else."""
    if record[:1] != _FORMAT_BYTE:
        raise SessionFormatError(
            f"session record of format {record[0] if record else 'none'}, this version reads {FORMAT_VERSION}"
        )
    try:
        return _decoder.decode(memoryview(record)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise SessionFormatError(f"session record cannot be read: {error}") from error


def session_key(session_id: str) -> bytes:
    """Give the table's key: the prefix keeps every id apart from Faust's own key."""
    return b"s" + session_id.encode()


def gap_exceeded(latest_ms: _Time, time_ms: _Time, gap_ms: int) -> bool | NDArray[np.bool_]:
    """Tell whether a click at ``time_ms`` begins a session afresh; numbers or arrays alike.

    ``latest_ms`` is the greatest click time seen in the session so far, not the previous click's:
    late clicks do not shorten the wait. Worker, trainer and evaluation all cut sessions here.
    """
    return cast("bool | NDArray[np.bool_]", time_ms - latest_ms > gap_ms)


class OpenSession:
    """A session while clicks are folded into it: all but the state, which moves with the batch.

    ``n_applied`` is given apart from the record because a session rebuilt under another snapshot
    counts the items known to that one.
    """

    __slots__ = ("_event_hashes", "_latest_ms", "append_ms", "items", "n_applied", "offset")

    def __init__(self, stored: Session | None, n_applied: int) -> None:
        self.n_applied = n_applied
        self.offset = -1 if stored is None else stored.offset
        self.append_ms = 0 if stored is None else stored.append_ms
        self.items: tuple[SessionItem, ...] = () if stored is None else stored.items
        self._latest_ms = None if stored is None else stored.latest_ms
        self._event_hashes = b"" if stored is None else stored.event_hashes

    def fold(
        self, click: Click, offset: int, append_ms: int, *, known: bool, gap_ms: int
    ) -> tuple[bool, bool]:
        """Fold one click in and tell what the state has to do: (start afresh, then move).

        A click whose event id was seen among the last 20 moves the offset and nothing else.
        """
        self.offset = offset
        self.append_ms = max(self.append_ms, append_ms)
        if click.event_id is not None and self._seen(click.event_id):
            return False, False
        time_ms = click_time_ms(click, append_ms)
        afresh = self._latest_ms is not None and bool(gap_exceeded(self._latest_ms, time_ms, gap_ms))
        if afresh:
            self.items = ()
            self.n_applied = 0
        self._latest_ms = time_ms if self._latest_ms is None else max(self._latest_ms, time_ms)
        kind = None if click.kind == DEFAULT_KIND else click.kind
        self.items = (*self.items[1 - MAX_ITEMS :], SessionItem(click.item_id, kind, time_ms))
        self.n_applied += known
        return afresh, known

    def close(self, snapshot: str, state: bytes) -> Session:
        """Give the record to store, with the state that the batch came to."""
        return Session(
            snapshot=snapshot,
            offset=self.offset,
            latest_ms=self._latest_ms or 0,
            append_ms=self.append_ms,
            n_applied=self.n_applied,
            state=state,
            items=self.items,
            event_hashes=self._event_hashes,
        )

    def _seen(self, event_id: str) -> bool:
        """Tell whether the event id is among the last ones, and remember it."""
        digest = blake2b(event_id.encode(), digest_size=_HASH_BYTES).digest()
        hashes = self._event_hashes
        if any(hashes[at : at + _HASH_BYTES] == digest for at in range(0, len(hashes), _HASH_BYTES)):
            return True
        self._event_hashes = (hashes + digest)[-MAX_EVENT_HASHES * _HASH_BYTES :]
        return False
