"""Session popularity: what the session itself clicked most often, then what all click most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from model.arrays import Int64Array
from model.ranking import Answers, PopularRanker
from model.sequences import UNKNOWN, Sequences

TIES_BROKEN = 100
"""Ties are broken by popularity among the most popular only, as in the method that is measured elsewhere."""


class SessionPopularRanker:
    """The session's own items by how often it clicked them, then the others by popularity."""

    def __init__(self, counts: Int64Array) -> None:
        """Take the clicks per row, falling."""
        self._share = (counts / (counts + 1.0)).astype(np.float32)  # below 1: never worth a click
        self._share[TIES_BROKEN:] = 0.0
        self._popular = PopularRanker(counts)

    def answers(self, sequences: Sequences, n_candidates: int) -> Iterator[Answers]:
        """See `model.ranking.Ranker`."""
        popular = self._popular.best(n_candidates)[1]
        for number in range(len(sequences)):
            rows = sequences.session(number)
            n_answers = len(rows) - 1
            if n_answers < 1:
                continue
            scores = np.full((n_answers, n_candidates), -np.inf, dtype=np.float32)
            best = np.full((n_answers, n_candidates), UNKNOWN, dtype=np.int64)
            for n in range(1, n_answers + 1):
                own, times = np.unique(rows[:n][rows[:n] != UNKNOWN], return_counts=True)
                others = popular[(popular != UNKNOWN) & ~np.isin(popular, own)]
                items = np.concatenate([own, others])
                ranked = np.concatenate([times + self._share[own], self._share[others]])
                top = np.lexsort((items, -ranked))[:n_candidates]
                scores[n - 1, : len(top)], best[n - 1, : len(top)] = ranked[top], items[top]
            yield Answers(sequences.starts[number] + np.arange(n_answers), scores, best)
