"""Which items are best for a session: the encoder's nearest, or what the blend makes of more."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.session import MAX_ITEMS, SessionItem
from streams.snapshot import Snapshot

_UNKNOWN: Final = -1

Scores = NDArray[np.float32]  # (sessions, items)
Rows = NDArray[np.int64]  # (sessions, items)


class Ranking(StrEnum):
    """What orders the items of an answer."""

    NEXTCLICK = "nextclick"  # the snapshot's blend; the encoder alone where the snapshot has none
    LSTM = "lstm"  # the encoder alone: fewer microseconds a click


class ItemRanking:
    """Finds the best items for many sessions at once."""

    def __init__(self, snapshot: Snapshot, ranking: Ranking) -> None:
        self._snapshot = snapshot
        self._blended = snapshot.ranking if ranking is Ranking.NEXTCLICK else None

    def best(
        self, states: NDArray[np.float32], items: Sequence[tuple[SessionItem, ...]], n: int
    ) -> tuple[Scores, Rows]:
        """Give scores and rows of the n best items after states and last items of sessions, best first."""
        search, queries = self._snapshot.index.search, self._snapshot.encoder.queries(states)
        if self._blended is None:
            return search(queries, n)
        return self._blended.find(search, queries, self._recent_rows(items), n)

    def _recent_rows(self, items: Sequence[tuple[SessionItem, ...]]) -> Rows:
        """Rows of the last items, newest first; (sessions, ``MAX_ITEMS``)."""
        find = self._snapshot.vocabulary.rows
        rows = find(item.item_id for session in items for item in reversed(session))
        there = np.arange(MAX_ITEMS) < np.array([len(session) for session in items])[:, None]
        recent = np.full(there.shape, _UNKNOWN, dtype=np.int64)
        recent[there] = rows
        return recent
