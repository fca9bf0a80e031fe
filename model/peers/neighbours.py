"""Neighbours of sessions: what was clicked in past sessions that are like this one.

One procedure with four sets of weights. All past sessions that share an item are looked at, the most recent
of them are kept, the most similar of those vote for their items. SKNN (Jannach & Ludewig 2017) counts items
in common; V-SKNN (Ludewig & Jannach 2018) weighs late clicks more and rare items higher; STAN (Garg et al.
2019) weighs by position, by age of the neighbour and by distance from the shared item; VSTAN has both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from model.arrays import Float32Array, Int64Array
from model.ranking import ANSWERS_AT_ONCE, Answers, clicks_with_next
from model.sequences import UNKNOWN, Sequences

DAY_S = 86_400.0

_Float64Array: TypeAlias = npt.NDArray[np.float64]
Decay: TypeAlias = Callable[[_Float64Array, int], _Float64Array]
"""Weights of clicks by their positions 1..n, and n: the last click is the newest."""


def equal(positions: _Float64Array, n: int) -> _Float64Array:
    """Every click alike."""
    return np.ones_like(positions)


def quadratic(positions: _Float64Array, n: int) -> _Float64Array:
    """(position / n)²."""
    return (positions / n) ** 2


def inverse_quadratic(positions: _Float64Array, n: int) -> _Float64Array:
    """1 for the last click, 1/4 for the one before, 1/9."""
    return 1.0 / (n - positions + 1) ** 2


def exponential(clicks: float) -> Decay:
    """Falling by 1/e in so many clicks."""
    return lambda positions, n: np.exp((positions - n) / clicks)


@dataclass(frozen=True, slots=True)
class NeighbourWeights:
    """What makes a past session similar, and what its items count.

    Attributes:
        n_sampled: the most recent sessions that are looked at.
        n_neighbours: the most similar of these that vote.
        click: weight of each click of this session in the similarity.
        by_length: divide the similarity by the root of the neighbour's number of items.
        age_days: the similarity falls by 1/e in so many days; None: age does not matter.
        match: a vote's weight by the newest click that the neighbour shares.
        distance: a vote falls by 1/e in so many clicks between the item and the last shared item in the
            neighbour; None: place does not matter.
        rarity: a vote grows by (1 + rarity · idf); 0: it does not.
    """

    n_sampled: int
    n_neighbours: int
    click: Decay
    by_length: bool
    age_days: float | None = None
    match: Decay = equal
    distance: float | None = None
    rarity: float = 0.0


SKNN = NeighbourWeights(1_000, 100, equal, by_length=True)
V_SKNN = NeighbourWeights(1_000, 100, quadratic, by_length=False, match=inverse_quadratic, rarity=10.0)
STAN = NeighbourWeights(5_000, 1_500, exponential(0.905), by_length=True, age_days=100.0, distance=0.905)
VSTAN = NeighbourWeights(
    5_000,
    1_500,
    exponential(0.905),
    by_length=True,
    age_days=100.0,
    match=exponential(1.0),
    distance=0.905,
    rarity=5.0,
)


class NeighbourRanker:
    """Ranks by the votes of past sessions."""

    def __init__(
        self, sequences: Sequences, ends_s: _Float64Array, n_items: int, weights: NeighbourWeights
    ) -> None:
        """Lay the past sessions out by session and by item.

        Args:
            sequences: past sessions in the order in which they ended.
            ends_s: when that was, in seconds; (n_sessions,)
            n_items: size of the vocabulary.
            weights: which of the four it is.
        """
        self._weights = weights
        self._n_items = n_items
        rows = sequences.rows
        sessions = np.repeat(np.arange(len(sequences)), sequences.lengths)
        places = np.arange(len(rows)) - np.repeat(sequences.starts[:-1], sequences.lengths) + 1.0
        known = rows != UNKNOWN
        keys, which = np.unique(sessions[known] * n_items + rows[known], return_inverse=True)
        last = np.zeros(len(keys))
        np.maximum.at(last, which, places[known])
        # By session: its different items, and where each was clicked last.
        self._items, self._last = keys % n_items, last
        of_session = keys // n_items
        self._begins = np.searchsorted(of_session, np.arange(len(sequences) + 1))
        # By item: its sessions, oldest first, and where each clicked it last.
        by_item = np.argsort(self._items, kind="stable")
        self._sessions, self._last_in = of_session[by_item], last[by_item]
        self._item_begins = np.searchsorted(self._items[by_item], np.arange(n_items + 1))
        age_weight = np.ones(len(sequences))
        if weights.age_days is not None:
            age_weight = np.exp((ends_s - ends_s.max(initial=0.0)) / (weights.age_days * DAY_S))
        n_different = np.diff(self._begins)
        length_weight = 1.0 / np.sqrt(np.maximum(n_different, 1)) if weights.by_length else 1.0
        self._session_weight = age_weight * length_weight
        support = np.bincount(rows[known], minlength=n_items)
        idf = np.log(max(len(sequences), 1) / np.maximum(support, 1))
        self._item_weight = 1.0 + weights.rarity * idf

    def answers(self, sequences: Sequences, n_candidates: int) -> Iterator[Answers]:
        """See `model.ranking.Ranker`. A click is answered by itself: its neighbours are thousands."""
        clicks = clicks_with_next(sequences)
        begins = np.repeat(sequences.starts[:-1], sequences.lengths)[clicks]
        for begin in range(0, len(clicks), ANSWERS_AT_ONCE):
            part = clicks[begin : begin + ANSWERS_AT_ONCE]
            scores = np.full((len(part), n_candidates), -np.inf, dtype=np.float32)
            best = np.full((len(part), n_candidates), UNKNOWN, dtype=np.int64)
            for n, (first, click) in enumerate(zip(begins[begin:], part, strict=False)):
                clicked = sequences.rows[first : click + 1]
                clicked = clicked[clicked != UNKNOWN]
                if len(clicked):
                    self._vote(clicked, scores[n], best[n])
            yield Answers(part, scores, best)

    def _vote(self, clicked: Int64Array, scores: Float32Array, best: Int64Array) -> None:
        """Fill one answer, best first."""
        weights = self._weights
        neighbours, similarity, newest_match, last_shared = self._neighbours(clicked)
        votes = similarity * weights.match(newest_match, len(clicked))
        counts = self._begins[neighbours + 1] - self._begins[neighbours]
        ends = np.cumsum(counts)
        places = np.arange(ends[-1]) + np.repeat(self._begins[neighbours] - (ends - counts), counts)
        items = self._items[places]
        each = np.repeat(votes, counts)
        if weights.distance is not None:
            apart = np.abs(self._last[places] - np.repeat(last_shared, counts))
            each = each * np.exp(-apart / weights.distance)
        sums = np.bincount(items, weights=each, minlength=self._n_items) * self._item_weight
        n = min(len(scores), len(sums))
        top = np.argpartition(-sums, n - 1)[:n]
        top = top[np.lexsort((top, -sums[top]))]
        top = top[sums[top] > 0]
        scores[: len(top)], best[: len(top)] = sums[top], top

    def _neighbours(
        self, clicked: Int64Array
    ) -> tuple[Int64Array, _Float64Array, _Float64Array, _Float64Array]:
        """The sessions that vote; of each its similarity, the newest click shared, the last shared place."""
        weights = self._weights
        positions = np.arange(1, len(clicked) + 1, dtype=np.float64)
        # Of an item that was clicked again the last click counts.
        items, from_end = np.unique(clicked[::-1], return_index=True)
        positions = positions[::-1][from_end]
        click_weights = weights.click(positions, len(clicked))
        counts = self._item_begins[items + 1] - self._item_begins[items]
        ends = np.cumsum(counts)
        places = np.arange(ends[-1]) + np.repeat(self._item_begins[items] - (ends - counts), counts)
        sessions, which = np.unique(self._sessions[places], return_inverse=True)
        similarity = np.bincount(which, weights=np.repeat(click_weights, counts), minlength=len(sessions))
        similarity = similarity * self._session_weight[sessions]
        newest, last = np.zeros(len(sessions)), np.zeros(len(sessions))
        np.maximum.at(newest, which, np.repeat(positions, counts))
        np.maximum.at(last, which, self._last_in[places])
        recent = np.arange(len(sessions))[-weights.n_sampled :]
        chosen = recent[np.lexsort((-recent, -similarity[recent]))][: weights.n_neighbours]
        return sessions[chosen], similarity[chosen], newest[chosen], last[chosen]
