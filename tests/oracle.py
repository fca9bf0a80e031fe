"""The oracle: clicks folded one by one, in offset order, straight through the encoder.

It shares no code with the recommender, the session's fold or the decoding, so that it can contradict them.
The slow, obvious way: one click, one step of the encoder, one session. What a worker stored after any
crash, swap or rebalance must equal what comes out here.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from streams.snapshot import Snapshot

N_REMEMBERED = 20
TOLERANCE = 1e-3


class OracleClick(NamedTuple):
    """A valid click and where it stands."""

    partition: int
    offset: int
    append_ms: int
    session_id: str
    item_id: str
    timestamp_ms: int | None = None
    kind: str | None = None
    event_id: str | None = None


@dataclass
class OracleSession:
    """What must be remembered of a session after its last click."""

    version: str = ""
    offset: int = -1
    append_ms: int = 0
    latest_ms: int | None = None
    items: list[tuple[str, str, int]] = field(default_factory=list)  # item id, kind, time
    event_ids: list[str] = field(default_factory=list)
    state: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty(0, dtype=np.float32))


def read_click(partition: int, offset: int, append_ms: int, value: bytes) -> OracleClick:
    """Read a click that is known to be valid from its JSON."""
    fields: dict[str, Any] = json.loads(value)
    return OracleClick(
        partition,
        offset,
        append_ms,
        fields["session_id"],
        fields["item_id"],
        fields.get("timestamp_ms"),
        fields.get("kind"),
        fields.get("event_id"),
    )


def fold_one_by_one(
    clicks: Iterable[OracleClick],
    snapshots: Mapping[str, Snapshot],
    versions: Mapping[tuple[int, int], str],
    *,
    gap_ms: int = 30 * 60 * 1000,
) -> dict[tuple[int, str], OracleSession]:
    """Give the final session of every (partition, session id); the arguments are ``each_fold``'s."""
    return {
        (click.partition, click.session_id): session
        for click, session in each_fold(clicks, snapshots, versions, gap_ms=gap_ms)
    }


def each_fold(
    clicks: Iterable[OracleClick],
    snapshots: Mapping[str, Snapshot],
    versions: Mapping[tuple[int, int], str],
    *,
    gap_ms: int = 30 * 60 * 1000,
) -> Iterator[tuple[OracleClick, OracleSession]]:
    """Give every click with its session after it, which the session's next click changes.

    ``clicks`` hold each offset of a partition at most once, rising. ``versions`` says which snapshot
    answered the click at (partition, offset), its last answer where there are several; a click without an
    answer raises KeyError.
    """
    sessions: dict[tuple[int, str], OracleSession] = {}
    for click in clicks:
        version = versions[click.partition, click.offset]
        session = sessions.setdefault((click.partition, click.session_id), OracleSession())
        assert click.offset > session.offset, "the clicks are not in offset order"
        _fold(session, click, snapshots[version], version, gap_ms)
        yield click, session


def _fold(session: OracleSession, click: OracleClick, snapshot: Snapshot, version: str, gap_ms: int) -> None:
    if session.version != version:
        session.version = version
        session.state = snapshot.encoder.initial_states(1)[0]
        before_ms: int | None = None
        for item in session.items:
            _move(session, item, before_ms, snapshot)
            before_ms = item[2]
    session.offset = click.offset
    session.append_ms = max(session.append_ms, click.append_ms)
    if click.event_id is not None:
        if click.event_id in session.event_ids:
            return
        session.event_ids = [*session.event_ids, click.event_id][-N_REMEMBERED:]
    time_ms = click.append_ms if click.timestamp_ms is None else min(click.timestamp_ms, click.append_ms)
    if session.latest_ms is not None and time_ms - session.latest_ms > gap_ms:
        session.items = []
        session.state = snapshot.encoder.initial_states(1)[0]
    session.latest_ms = time_ms if session.latest_ms is None else max(session.latest_ms, time_ms)
    before_ms = session.items[-1][2] if session.items else None
    item = (click.item_id, click.kind or "view", time_ms)
    session.items = [*session.items, item][-N_REMEMBERED:]
    _move(session, item, before_ms, snapshot)


def _move(
    session: OracleSession, item: tuple[str, str, int], before_ms: int | None, snapshot: Snapshot
) -> None:
    item_id, kind, time_ms = item
    if item_id in snapshot.vocabulary.item_ids:
        row = snapshot.vocabulary.item_ids.index(item_id)
        coder = snapshot.encoder.context_coder()
        codes = None if coder is None else np.array([coder.code(kind, time_ms, before_ms)])
        after = snapshot.encoder.advance(session.state[None, :], np.array([row], dtype=np.int64), codes)
        session.state = after[0].astype(np.float16).astype(np.float32)


def difference(expected: OracleSession, record: bytes) -> str | None:
    """Say how a stored record (format 1) differs from what it must be; None where it does not."""
    assert record[0] == 1
    version, offset, latest_ms, append_ms, _, state, items, *rest = msgspec.msgpack.decode(record[1:])
    found = {
        "version": version,
        "offset": offset,
        "latest_ms": latest_ms,
        "append_ms": append_ms,
        "items": [(item_id, kind or "view", time_ms) for item_id, kind, time_ms in items],
        "event ids": len(rest[0]) // 8 if rest else 0,
    }
    wanted = {
        "version": expected.version,
        "offset": expected.offset,
        "latest_ms": expected.latest_ms,
        "append_ms": expected.append_ms,
        "items": expected.items,
        "event ids": len(expected.event_ids),
    }
    for name in wanted:
        if found[name] != wanted[name]:
            return f"{name}: {found[name]!r}, expected {wanted[name]!r}"
    values = np.frombuffer(state, dtype=np.float16).astype(np.float32)
    if values.shape != expected.state.shape:
        return f"state of {values.shape}, expected {expected.state.shape}"
    # A hidden state lies within ±1, a cell state need not, and half precision is coarser out there: one
    # rounding that falls the other way moves a number by up to 1/1024 of its size.
    size = np.maximum(1.0, np.abs(expected.state))
    distance = float((np.abs(values - expected.state) / size).max(initial=0.0))
    return f"state differs by {distance:.2e}" if distance > TOLERANCE else None


def differences(
    expected: Mapping[tuple[int, str], OracleSession], records: Mapping[tuple[int, str], bytes]
) -> list[str]:
    """Say what is missing, too many or different among stored records by (partition, session id)."""
    problems = [f"{key}: not stored" for key in expected.keys() - records.keys()]
    problems += [f"{key}: nobody clicked in it" for key in records.keys() - expected.keys()]
    for key in sorted(expected.keys() & records.keys()):
        if (problem := difference(expected[key], records[key])) is not None:
            problems.append(f"{key}: {problem}")
    return problems
