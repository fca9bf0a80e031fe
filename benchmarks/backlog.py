"""Clicks for a benchmark: real sessions in a catalogue of any size, all of them open side by side.

The public logs have one session after the other, or times of a second; in a shop tens of thousands are open
together. So every click of a session gets a random moment, in the session's order, and the clicks go out in
the order of these moments.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.vectors import SEED, Catalogue, Rows, Trained
from streams.kafka import KafkaConnection
from streams.replaying import send_clicks


@dataclass(frozen=True, slots=True)
class Backlog:
    """Clicks in order: number of the session and row of the item for each."""

    sessions: Rows
    rows: Rows
    catalogue: Catalogue

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_sessions(self) -> int:
        """How many different sessions."""
        return len(np.unique(self.sessions))

    def part(self, begin: int, end: int) -> "Backlog":
        """Clicks begin..end-1."""
        return Backlog(self.sessions[begin:end], self.rows[begin:end], self.catalogue)

    def clicks(self) -> Iterator[tuple[int, str, str]]:
        """Time, session id, item id; all of them now, which the sender cuts to the moment of sending."""
        ids = self.catalogue.vocabulary.item_ids
        for session, row in zip(self.sessions.tolist(), self.rows.tolist(), strict=True):
            yield _FAR_MS, f"s-{session}", ids[row]

    def produce(self, connection: KafkaConnection, topic: str) -> float:
        """Send all of them as fast as it goes; gives the seconds that took."""
        return send_clicks(connection, topic, self.clicks(), None).seconds


_FAR_MS = 4_000_000_000_000


def make_backlog(trained: Trained, catalogue: Catalogue, n_clicks: int, seed: int = SEED) -> Backlog:
    """The first sessions of the log, so many that they have ``n_clicks``; repeated where there are fewer."""
    sessions = catalogue.sessions(trained.all_sessions)
    numbers = np.repeat(np.arange(len(sessions)), sessions.lengths)
    known = np.flatnonzero(sessions.rows >= 0)
    repeats = -(-n_clicks // len(known))
    rows = np.tile(sessions.rows[known], repeats)[:n_clicks]
    numbers = np.concatenate([numbers[known] + turn * len(sessions) for turn in range(repeats)])[:n_clicks]
    moments = np.random.default_rng(seed).random(n_clicks)
    # Within each session the moments rise: sorted by session and moment, they are given out in order.
    moments = moments[np.lexsort((moments, numbers))]
    order = np.argsort(moments, kind="stable")
    return Backlog(numbers[order], rows[order], catalogue)
