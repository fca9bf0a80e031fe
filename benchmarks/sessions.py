"""A table of many open sessions, written straight into the changelog as a worker would have left them.

Answering a million clicks only to have a million sessions would take minutes in each benchmark, and leave a
changelog that is not compacted. The records are the real ones: real sessions of the log, the encoder's own
states, ``encode_session``, through the worker's outbox.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rocksdict import AccessType, Options, Rdict

from benchmarks.backlog import Backlog
from benchmarks.running import BenchmarkError
from benchmarks.site import Run
from benchmarks.vectors import SEED, Catalogue, Rows, Say, Trained
from model.sequences import Sequences
from streams.kafka import murmur2
from streams.outbox import Outbox, Outgoing
from streams.session import (
    MAX_EVENT_HASHES,
    MAX_ITEMS,
    STATE_DTYPE,
    Session,
    SessionItem,
    encode_session,
    session_key,
)
from streams.table import IDENTITY_KEY, SESSION_PREFIX
from streams.topics import require_topics

OFFSET = 0
"""Of every record: the clicks that come afterwards, on an empty topic, are no replays of it."""
OFFSET_BYTES = 4
"""That an offset takes more once a partition has seen a hundred thousand clicks."""
EVENT_HASH_BYTES = 8
BETWEEN_CLICKS_MS = 30_000
IDLE_AT_MOST_MS = 20 * 60_000
_CHUNK = 20_000  # records delivered together


@dataclass(frozen=True, slots=True)
class Filled:
    """What was written: how many sessions, and the bytes of each one's record."""

    n_sessions: int
    record_bytes: NDArray[np.int64]
    with_event_ids: NDArray[np.int64]
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Sizes for JSON."""
        return {
            "sessions": self.n_sessions,
            "record_bytes": _sizes(self.record_bytes),
            "record_bytes_with_event_ids": _sizes(self.with_event_ids),
        }


def _sizes(found: NDArray[np.int64]) -> dict[str, int]:
    return {
        "mean": round(float(found.mean())),
        "p99": int(np.quantile(found, 0.99)),
        "max": int(found.max()),
    }


class OpenSessions:
    """Sessions 0..n-1, each the last clicks of one of the log's; more than the log has repeat its."""

    def __init__(self, trained: Trained, catalogue: Catalogue, version: str, n_sessions: int) -> None:
        self.n_sessions = n_sessions
        self._version = version
        self._catalogue = catalogue
        found = catalogue.sessions(trained.all_sessions).drop_unknown()
        self._sequences = last_clicks(found.select(0, min(n_sessions, len(found))), MAX_ITEMS)
        self._states = states_of(catalogue, self._sequences)

    def records(self, now_ms: int, seed: int = SEED) -> Iterator[tuple[str, Session]]:
        """Session ids and sessions; the last click of each was within the last twenty minutes."""
        ids = self._catalogue.vocabulary.item_ids
        starts, rows = self._sequences.starts.tolist(), self._sequences.rows.tolist()
        idle_ms = np.random.default_rng(seed).integers(IDLE_AT_MOST_MS, size=self.n_sessions).tolist()
        for number in range(self.n_sessions):
            origin = number % len(self._sequences)
            begin, end = starts[origin], starts[origin + 1]
            last_ms = now_ms - idle_ms[number]
            items = tuple(
                SessionItem(ids[rows[at]], None, last_ms - (end - 1 - at) * BETWEEN_CLICKS_MS)
                for at in range(begin, end)
            )
            state = self._states[origin].tobytes()
            yield (
                f"s-{number}",
                Session(self._version, OFFSET, last_ms, last_ms, end - begin, state, items),
            )

    def clicks(self, n_clicks: int, seed: int = SEED) -> Backlog:
        """Clicks of random ones of the sessions, on the items that the log clicks on."""
        rng = np.random.default_rng(seed)
        rows = self._sequences.rows[rng.integers(len(self._sequences.rows), size=n_clicks)]
        return Backlog(rng.integers(self.n_sessions, size=n_clicks), rows, self._catalogue)


def last_clicks(sequences: Sequences, n: int) -> Sequences:
    """The last ``n`` clicks of each session."""
    lengths = sequences.lengths
    from_end = np.repeat(sequences.starts[1:], lengths) - np.arange(sequences.n_clicks)
    return Sequences.from_lengths(sequences.rows[from_end <= n], np.minimum(lengths, n))


def states_of(catalogue: Catalogue, sequences: Sequences) -> NDArray[np.float16]:
    """The encoder's state after each session, rounded after every click as a worker does; (n, state_dim)."""
    encoder, lengths = catalogue.encoder, sequences.lengths
    states = encoder.initial_states(len(sequences))
    for turn in range(int(lengths.max(initial=0))):
        moving: Rows = np.flatnonzero(lengths > turn)
        for part in np.array_split(moving, len(moving) // 1_000 + 1):
            rows = sequences.rows[sequences.starts[part] + turn]
            states[part] = encoder.advance(states[part], rows).astype(STATE_DTYPE)
    return states.astype(STATE_DTYPE)


def fill_changelog(run: Run, sessions: OpenSessions, say: Say) -> Filled:
    """Write the sessions and each partition's identity to the run's changelog; waits for every delivery."""
    return asyncio.run(_fill(run, sessions, say))


async def _fill(run: Run, sessions: OpenSessions, say: Say) -> Filled:
    began = time.monotonic()
    topic = run.topics.sessions_changelog
    clicks = require_topics(run.site.connection, run.topics.clicks)[run.topics.clicks]
    identity = f"{clicks.topic_id} {clicks.n_partitions}".encode()
    sizes, n_items = [], []
    waiting = [Outgoing(topic, n, IDENTITY_KEY, identity) for n in range(clicks.n_partitions)]
    outbox = Outbox(run.site.connection, "benchmark")
    await outbox.start()
    try:
        for session_id, session in sessions.records(int(time.time() * 1000)):
            value = encode_session(session)
            partition = (murmur2(session_id.encode()) & 0x7FFFFFFF) % clicks.n_partitions
            waiting.append(Outgoing(topic, partition, session_key(session_id), value))
            sizes.append(len(value))
            n_items.append(len(session.items))
            if len(waiting) >= _CHUNK:
                await outbox.deliver(waiting)
                waiting.clear()
                say(f"{len(sizes):,} of {sessions.n_sessions:,} sessions written to the changelog")
        await outbox.deliver(waiting)
    finally:
        await outbox.stop()
    found = np.array(sizes) + OFFSET_BYTES
    hashes = np.minimum(np.array(n_items), MAX_EVENT_HASHES) * EVENT_HASH_BYTES + 2
    return Filled(sessions.n_sessions, found, found + hashes, time.monotonic() - began)


def databases(home: Path, name: str) -> list[Path]:
    """The folders of a worker's RocksDB databases, one for each partition."""
    return sorted({path.parent for path in (home / "workers" / name).rglob("CURRENT")})


def count_stored(home: Path, name: str) -> int:
    """How many sessions are in the databases of a worker that has stopped."""
    total = 0
    for folder in databases(home, name):
        database = Rdict(str(folder), Options(raw_mode=True), access_type=AccessType.read_only())
        total += sum(1 for key in database.keys() if key.startswith(SESSION_PREFIX))  # noqa: SIM118
        database.close()
    return total


def require_stored(home: Path, name: str, n_sessions: int) -> None:
    """Raise BenchmarkError unless a stopped worker holds exactly so many sessions: no figure without it."""
    if (found := count_stored(home, name)) != n_sessions:
        raise BenchmarkError(f"the worker recovered {found:,} sessions of {n_sessions:,}")


def disk_mb(folder: Path) -> dict[str, float]:
    """What the databases below a folder take: in all, and their write-ahead logs; files may go meanwhile."""
    total = logs = 0
    for path in folder.rglob("*"):
        try:
            size = path.stat().st_blocks * 512 if path.is_file() else 0
        except OSError:
            continue
        total += size
        logs += size if path.suffix == ".log" else 0
    return {"disk_mb": round(total / 1e6, 1), "of_it_log_mb": round(logs / 1e6, 1)}
