"""Links from item to item, and the ranking by the item that was clicked last.

Three ways to weigh a link between two items of a session: association rules and sequential rules
(Kamehkhosh, Jannach, Ludewig 2017) and the item neighbours that GRU4Rec was first compared with (Hidasi et
al. 2016).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from model.arrays import Float32Array, Int64Array
from model.ranking import ANSWERS_AT_ONCE, Answers, clicks_with_next
from model.sequences import UNKNOWN, Sequences

RULES_KEPT = 20
RULE_STEPS = 8
"""How many clicks on a sequential rule still counts."""
NEIGHBOURS_KEPT = 100
DAMPING, BALANCE = 20.0, 0.75
MOST_OF_A_SESSION = 1_000
"""Where all pairs of a session count, they are those of its last clicks: a robot's would be millions."""
PAIRS_AT_ONCE = 2_000_000
"""Pairs are summed for the items of about so many together, which bounds the memory."""

_Float64Array: TypeAlias = npt.NDArray[np.float64]
_Pairs: TypeAlias = tuple[Int64Array, Int64Array, _Float64Array]
"""From, to and weight of each pair once, from and to rising; each (n_pairs,)."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemLinks:
    """The strongest links of every item; those of row i are `targets[starts[i]:starts[i + 1]]`, best first.

    Attributes:
        starts: (n_items + 1,)
        targets: rows that the links lead to; (n_links,)
        weights: (n_links,)
    """

    starts: Int64Array
    targets: Int64Array
    weights: Float32Array

    @classmethod
    def strongest(cls, parts: Iterable[_Pairs], n_items: int, n_kept: int) -> Self:
        """Keep the `n_kept` strongest links of each item; of equal ones those to the more popular.

        The pairs of each item stand in one part, and the items rise from part to part.
        """
        n_links = np.zeros(n_items, dtype=np.int64)
        links: list[tuple[Int64Array, Float32Array]] = [(np.empty(0, np.int64), np.empty(0, np.float32))]
        for sources, targets, weights in parts:
            order = np.lexsort((targets, -weights, sources))
            place = np.arange(len(sources)) - np.searchsorted(sources, sources)  # sources rise already
            kept = order[place < n_kept]
            n_links += np.bincount(sources[kept], minlength=n_items)
            links.append((targets[kept], weights[kept].astype(np.float32)))
        all_targets, all_weights = (np.concatenate(column) for column in zip(*links, strict=True))
        return cls(np.concatenate([[0], np.cumsum(n_links)]).astype(np.int64), all_targets, all_weights)

    def top(self, rows: Int64Array, n: int) -> tuple[Float32Array, Int64Array]:
        """The n strongest links of each row; (n_rows, n) each, padded with -inf and `UNKNOWN`."""
        places = self.starts[rows][:, None] + np.arange(n)
        there = (rows != UNKNOWN)[:, None] & (places < self.starts[rows + 1][:, None])
        places = np.where(there, places, 0)
        scores = np.where(there, self.weights[places], np.float32(-np.inf))
        return scores, np.where(there, self.targets[places], UNKNOWN)


class LinksRanker:
    """The strongest links of the item clicked last."""

    def __init__(self, links: ItemLinks) -> None:
        self._links = links

    def answers(self, sequences: Sequences, n_candidates: int) -> Iterator[Answers]:
        """See `model.ranking.Ranker`."""
        clicks = clicks_with_next(sequences)
        for begin in range(0, len(clicks), ANSWERS_AT_ONCE):
            part = clicks[begin : begin + ANSWERS_AT_ONCE]
            yield Answers(part, *self._links.top(sequences.rows[part], n_candidates))


def association_rules(sequences: Sequences, n_items: int, n_kept: int = RULES_KEPT) -> ItemLinks:
    """Weigh a link by the pairs of clicks in one session, whichever comes first."""

    def weighed(pairs: _SessionPairs) -> _Pairs:
        itself = pairs.sources == pairs.targets
        weights = pairs.of_source * np.where(itself, pairs.of_target - 1, pairs.of_target)
        return _summed(pairs.sources, pairs.targets, weights.astype(np.float64), n_items)

    return ItemLinks.strongest(map(weighed, _pairs_in_sessions(sequences, n_items)), n_items, n_kept)


def sequential_rules(
    sequences: Sequences, n_items: int, n_kept: int = RULES_KEPT, n_steps: int = RULE_STEPS
) -> ItemLinks:
    """Weigh a link by the clicks on its target up to `n_steps` later in the session, each by 1/steps²."""
    known = sequences.drop_unknown()

    def weighed(rows: range) -> _Pairs:
        sources, targets, weights = [], [], []
        for step, (earlier, later) in enumerate(pairs_ahead(known, n_steps), start=1):
            own = (earlier >= rows.start) & (earlier < rows.stop)
            sources.append(earlier[own])
            targets.append(later[own])
            weights.append(np.full(len(sources[-1]), 1.0 / step**2))
        return _summed(np.concatenate(sources), np.concatenate(targets), np.concatenate(weights), n_items)

    n_pairs = np.bincount(known.rows, minlength=n_items) * n_steps
    return ItemLinks.strongest(map(weighed, row_parts(n_pairs, PAIRS_AT_ONCE)), n_items, n_kept)


def pairs_ahead(sequences: Sequences, n_steps: int) -> Iterator[tuple[Int64Array, Int64Array]]:
    """For 1, 2, … `n_steps`: all pairs of known clicks so many steps apart in one session, as rows."""
    known = sequences.drop_unknown()
    sessions = np.repeat(np.arange(len(known)), known.lengths)
    for step in range(1, n_steps + 1):
        together = np.flatnonzero(sessions[step:] == sessions[:-step])
        yield known.rows[together], known.rows[together + step]


def item_neighbours(sequences: Sequences, n_items: int, n_kept: int = NEIGHBOURS_KEPT) -> ItemLinks:
    """Weigh a link by the source's clicks in sessions that hold the target, too, over how often both occur.

    With n clicks on each item the divisor is (n_source + λ)^α (n_target + λ)^(1 - α); the damping λ keeps
    rare items from being everybody's neighbours.
    """
    known = sequences.rows[sequences.rows != UNKNOWN]
    support = np.bincount(known, minlength=n_items) + DAMPING

    def weighed(pairs: _SessionPairs) -> _Pairs:
        apart = pairs.sources != pairs.targets
        clicks = pairs.of_source[apart].astype(np.float64)
        sources, targets, weights = _summed(pairs.sources[apart], pairs.targets[apart], clicks, n_items)
        return sources, targets, weights / (support[sources] ** BALANCE * support[targets] ** (1 - BALANCE))

    return ItemLinks.strongest(map(weighed, _pairs_in_sessions(sequences, n_items)), n_items, n_kept)


def row_parts(weights: Int64Array, most: int) -> list[range]:
    """All rows, in parts of about equal weight and of `most` at most, give or take one row's."""
    sums = np.cumsum(weights)
    n_parts = int(sums[-1]) // most + 1
    inner = np.searchsorted(sums, sums[-1] * np.arange(1, n_parts) / n_parts)
    ends = np.unique(np.concatenate([inner, [len(weights)]])).tolist()
    return [range(first, end) for first, end in zip([0, *ends], ends, strict=False) if first < end]


class _SessionPairs(NamedTuple):
    """Pairs of items of one session, and how often it has either; each (n_pairs,)."""

    sources: Int64Array
    targets: Int64Array
    of_source: Int64Array
    of_target: Int64Array


def _pairs_in_sessions(sequences: Sequences, n_items: int) -> Iterator[_SessionPairs]:
    """All ordered pairs of the different items of each session, in parts whose sources rise."""
    known = sequences.drop_unknown().keep_last(MOST_OF_A_SESSION)
    sessions = np.repeat(np.arange(len(known)), known.lengths)
    n_rows = int(known.rows.max(initial=0)) + 1
    keys, counts = np.unique(sessions * n_rows + known.rows, return_counts=True)
    items, n_different = keys % n_rows, np.bincount(keys // n_rows, minlength=len(known))
    begins = np.repeat(np.cumsum(n_different) - n_different, n_different)
    n_beside = np.repeat(n_different, n_different)  # each item stands beside all of its session's
    n_pairs = np.bincount(items, weights=n_beside, minlength=n_items).astype(np.int64)
    for rows in row_parts(n_pairs, PAIRS_AT_ONCE):
        own = np.flatnonzero((items >= rows.start) & (items < rows.stop))
        first = np.repeat(own, n_beside[own])
        ends = np.cumsum(n_beside[own])
        second = np.arange(len(first)) + np.repeat(begins[own] + n_beside[own] - ends, n_beside[own])
        yield _SessionPairs(items[first], items[second], counts[first], counts[second])


def _summed(sources: Int64Array, targets: Int64Array, weights: _Float64Array, n_items: int) -> _Pairs:
    """Each pair once, with the sum of its weights; none of weight 0."""
    keys, which = np.unique(sources * n_items + targets, return_inverse=True)
    sums: _Float64Array = np.bincount(which, weights=weights, minlength=len(keys)).astype(np.float64)
    there = sums > 0
    return keys[there] // n_items, keys[there] % n_items, sums[there]
