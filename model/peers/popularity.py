"""Session popularity: what the session itself clicked most often, then what all click most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from model.arrays import Float32Array, Int64Array
from model.ranking import Answers, clicks_with_next
from model.sequences import UNKNOWN, Sequences

TIES_BROKEN = 100
"""Ties are broken by popularity among the most popular only, as in the method that is measured elsewhere."""
LOOKS_AT_ONCE = 20_000


class SessionPopularRanker:
    """The session's own items by how often it clicked them, then the others by popularity."""

    def __init__(self, counts: Int64Array) -> None:
        """Take the clicks per row, falling."""
        self._share = (counts / (counts + 1.0)).astype(np.float32)  # below 1: never worth a click
        self._share[TIES_BROKEN:] = 0.0

    def answers(self, sequences: Sequences, n_candidates: int) -> Iterator[Answers]:
        """See `model.ranking.Ranker`."""
        clicks = clicks_with_next(sequences)
        begins = np.repeat(sequences.starts[:-1], sequences.lengths)[clicks]
        # Each answer looks at its session so far: parts are cut by these looks, so that memory is bounded.
        part_of = np.cumsum(clicks - begins + 1) // LOOKS_AT_ONCE
        for part in np.split(np.arange(len(clicks)), np.flatnonzero(np.diff(part_of)) + 1):
            found = self._answer(sequences.rows, begins[part], clicks[part], n_candidates)
            yield Answers(clicks[part], *found)

    def _answer(
        self, rows: Int64Array, begins: Int64Array, clicks: Int64Array, n: int
    ) -> tuple[Float32Array, Int64Array]:
        """Scores and rows of answers to the clicks of sessions that begin at `begins`; (clicks, n) each."""
        n_items, n_answers = len(self._share), len(clicks)
        scores = np.full((n_answers, n), -np.inf, dtype=np.float32)
        best = np.full((n_answers, n), UNKNOWN, dtype=np.int64)
        lengths = clicks - begins + 1
        ends = np.cumsum(lengths)
        seen = rows[np.arange(lengths.sum()) + np.repeat(begins - (ends - lengths), lengths)]
        keys = np.repeat(np.arange(n_answers), lengths) * n_items + seen
        keys, times = np.unique(keys[seen != UNKNOWN], return_counts=True)
        answers, items = np.divmod(keys, n_items)
        # Its own items first, by clicks.
        ranked = times + self._share[items]
        order = np.lexsort((items, -ranked, answers))
        n_own = np.bincount(answers, minlength=n_answers)
        place = np.arange(len(keys)) - np.repeat(np.cumsum(n_own) - n_own, n_own)
        kept = place < n
        scores[answers[kept], place[kept]] = ranked[order][kept]
        best[answers[kept], place[kept]] = items[order][kept]
        # Then the popular ones that it has not clicked; row 0 is the most popular.
        popular = np.arange(min(n, n_items))
        others = ~np.isin(np.arange(n_answers)[:, None] * n_items + popular, keys)
        place = n_own[:, None] + np.cumsum(others, axis=1) - 1
        at, which = np.nonzero(others & (place < n))
        scores[at, place[at, which]] = self._share[which]
        best[at, place[at, which]] = which
        return scores, best
