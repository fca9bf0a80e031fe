"""Which items are best for a session: the encoder's nearest, or what the blend makes of more."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.blend_candidates import Entries
from model.fresh_candidates import describe_fresh, nearest_fresh
from streams.fresh import FreshItems
from streams.session import MAX_ITEMS, STATE_DTYPE, SessionItem
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
        self._serving = snapshot.encoder.serving()
        self._blended = snapshot.ranking if ranking is Ranking.NEXTCLICK else None

    def best(
        self,
        states: NDArray[np.float32],
        items: Sequence[tuple[SessionItem, ...]],
        n: int,
        fresh: FreshItems | None = None,
        stand_ins: NDArray[np.int64] | None = None,
    ) -> tuple[Scores, Rows]:
        """Give scores and rows of the n best items after states and last items of sessions, best first.

        A fresh item's row is its number past the end of the catalogue. With none that is good enough, the
        answer is the one without ``fresh``, to the bit. ``stand_ins`` are rows of known items to be taken for
        the last items of sessions that hold no known one, -1 for the other sessions.
        """
        if stand_ins is not None:
            states = self._stepped(states, stand_ins)
        search, queries = self._snapshot.index.search, self._serving.queries(states)
        if self._blended is None:
            scores, rows = search(queries, n)
            if not fresh:
                return scores, rows
            return merged(scores, rows, *self._near_fresh(queries, scores, fresh))
        recent = self._recent_rows(items)
        if not fresh:
            return self._blended.find(search, queries, recent, n)
        mentions = fresh.mentions(items, recent)
        if stand_ins is not None:
            recent[:, 0] = np.maximum(recent[:, 0], stand_ins)
        scores, rows = search(queries, self._blended.n_nearest(n))
        best = self._blended.best(scores, rows, recent, n)
        found, features = describe_fresh(
            queries, scores, recent, fresh.vectors, fresh.placed, fresh.popularity, *mentions
        )
        return merged(*best, self._past_the_end(found), self._blended.blend.scores(features))

    def _stepped(self, states: NDArray[np.float32], stand_ins: NDArray[np.int64]) -> NDArray[np.float32]:
        """The states as if the items that stand in had been clicked, for this answer only."""
        states, stepping = states.copy(), np.flatnonzero(stand_ins != _UNKNOWN)
        moved = self._serving.advance(states[stepping], stand_ins[stepping])
        states[stepping] = moved.astype(STATE_DTYPE)
        return states

    def _near_fresh(
        self, queries: NDArray[np.float32], scores: Scores, fresh: FreshItems
    ) -> tuple[Entries, NDArray[np.float32]]:
        """Candidates among the fresh items by their vectors alone: the rows of the entries, and scores."""
        near, found = nearest_fresh(queries, fresh.vectors, fresh.placed, scores)
        return self._past_the_end(near), found[near.clicks, near.rows]

    def _past_the_end(self, found: Entries) -> Entries:
        return Entries(found.clicks, found.rows + len(self._snapshot.vocabulary))

    def _recent_rows(self, items: Sequence[tuple[SessionItem, ...]]) -> Rows:
        """Rows of the last items, newest first; (sessions, ``MAX_ITEMS``)."""
        find = self._snapshot.vocabulary.rows
        rows = find(item.item_id for session in items for item in reversed(session))
        there = np.arange(MAX_ITEMS) < np.array([len(session) for session in items])[:, None]
        recent = np.full(there.shape, _UNKNOWN, dtype=np.int64)
        recent[there] = rows
        return recent


def merged(
    scores: Scores, rows: Rows, found: Entries, found_scores: NDArray[np.float32]
) -> tuple[Scores, Rows]:
    """The best of both: n for each click, best first, and of further ones, in the order of the clicks."""
    better = found_scores > scores[found.clicks, -1]
    if not better.any():
        return scores, rows
    clicks, further, further_scores = found.clicks[better], found.rows[better], found_scores[better]
    changed, at, counts = np.unique(clicks, return_inverse=True, return_counts=True)
    places = np.arange(len(clicks)) - np.repeat(np.cumsum(counts) - counts, counts)
    n, width = scores.shape[1], int(counts.max())
    both_scores = np.full((len(changed), n + width), -np.inf, dtype=np.float32)
    both_rows = np.full((len(changed), n + width), _UNKNOWN, dtype=np.int64)
    both_scores[:, :n], both_rows[:, :n] = scores[changed], rows[changed]
    both_scores[at, n + places], both_rows[at, n + places] = further_scores, further
    order = np.argsort(-both_scores, axis=1, kind="stable")[:, :n]
    scores[changed] = np.take_along_axis(both_scores, order, axis=1)
    rows[changed] = np.take_along_axis(both_rows, order, axis=1)
    return scores, rows
