"""Links from item to item, and the ranking by the item that was clicked last.

Three ways to weigh a link between two items of a session: association rules and sequential rules
(Kamehkhosh, Jannach, Ludewig 2017) and the item neighbours that GRU4Rec was first compared with (Hidasi et
al. 2016).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self, TypeAlias

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

_Float64Array: TypeAlias = npt.NDArray[np.float64]
_Pairs: TypeAlias = tuple[Int64Array, Int64Array, _Float64Array]
"""From, to and weight; each (n_pairs,)."""


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
    def strongest(cls, pairs: _Pairs, n_items: int, n_kept: int) -> Self:
        """Keep the `n_kept` strongest links of each item; of equal ones those to the more popular."""
        sources, targets, weights = pairs
        order = np.lexsort((targets, -weights, sources))
        sources, targets, weights = sources[order], targets[order], weights[order]
        place = np.arange(len(sources)) - np.searchsorted(sources, sources)
        kept = place < n_kept
        counts = np.bincount(sources[kept], minlength=n_items)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(starts, targets[kept], weights[kept].astype(np.float32))

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
    (sources, targets), (from_counts, to_counts) = _pairs_in_sessions(sequences)
    itself = sources == targets
    weights = (from_counts * np.where(itself, to_counts - 1, to_counts)).astype(np.float64)
    return ItemLinks.strongest(_summed(sources, targets, weights, n_items), n_items, n_kept)


def sequential_rules(
    sequences: Sequences, n_items: int, n_kept: int = RULES_KEPT, n_steps: int = RULE_STEPS
) -> ItemLinks:
    """Weigh a link by the clicks on its target up to `n_steps` later in the session, each by 1/steps²."""
    sources, targets, weights = [], [], []
    for step, (earlier, later) in enumerate(pairs_ahead(sequences, n_steps), start=1):
        sources.append(earlier)
        targets.append(later)
        weights.append(np.full(len(earlier), 1.0 / step**2))
    summed = _summed(np.concatenate(sources), np.concatenate(targets), np.concatenate(weights), n_items)
    return ItemLinks.strongest(summed, n_items, n_kept)


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
    (sources, targets), (from_counts, _) = _pairs_in_sessions(sequences)
    apart = sources != targets
    sources, targets, weights = _summed(
        sources[apart], targets[apart], from_counts[apart].astype(np.float64), n_items
    )
    known = sequences.rows[sequences.rows != UNKNOWN]
    support = np.bincount(known, minlength=n_items) + DAMPING
    weights = weights / (support[sources] ** BALANCE * support[targets] ** (1 - BALANCE))
    return ItemLinks.strongest((sources, targets, weights), n_items, n_kept)


def _pairs_in_sessions(
    sequences: Sequences,
) -> tuple[tuple[Int64Array, Int64Array], tuple[Int64Array, Int64Array]]:
    """All ordered pairs of the different items of each session, and how often the session has either."""
    known = sequences.drop_unknown()
    sessions = np.repeat(np.arange(len(known)), known.lengths)
    n_rows = int(known.rows.max(initial=0)) + 1
    keys, counts = np.unique(sessions * n_rows + known.rows, return_counts=True)
    items, n_different = keys % n_rows, np.bincount(keys // n_rows, minlength=len(known))
    # Each item stands beside all of its session's: the i-th of them repeated, the whole session run through.
    begins = np.cumsum(n_different) - n_different
    per_item = np.repeat(n_different, n_different)
    first = np.repeat(np.arange(len(keys)), per_item)
    ends = np.cumsum(per_item)
    within = np.arange(len(first)) - np.repeat(ends - per_item, per_item)
    second = np.repeat(np.repeat(begins, n_different), per_item) + within
    return (items[first], items[second]), (counts[first], counts[second])


def _summed(sources: Int64Array, targets: Int64Array, weights: _Float64Array, n_items: int) -> _Pairs:
    """Each pair once, with the sum of its weights; none of weight 0."""
    keys, which = np.unique(sources * n_items + targets, return_inverse=True)
    sums: _Float64Array = np.bincount(which, weights=weights, minlength=len(keys)).astype(np.float64)
    there = sums > 0
    return keys[there] // n_items, keys[there] % n_items, sums[there]
