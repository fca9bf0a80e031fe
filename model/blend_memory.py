"""What the served ranking remembers of items besides the encoder: sparse links from item to item, and clicks.

Two weights to a link, both from clicks that lie close to each other in a session. `forward` is a sequential
rule (Kamehkhosh, Jannach & Ludewig 2017): the share of what was clicked soon after the source. `together`
counts clicks in either order over how often both items occur, so that a popular item is not everybody's
neighbour. Only the strongest links of an item stay, so that the memory grows with the catalogue and never
with its square. A closed-form linear model beside them (SLIST, Choi et al. 2021) was tried and brought
nothing: docs/model.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from model.arrays import BoolArray, Float32Array, Int64Array
from model.peers.links import RULE_STEPS, pairs_ahead, row_parts
from model.sequences import UNKNOWN, Sequences

LINKS_KEPT = 30
"""Of each item, by either weight."""
DAMPING = 5.0
RECENT_SHARE = 0.1
"""The newest share of the clicks is what an item's recent popularity is counted in."""
MOST_CLICKS = 5_000_000
"""Links are counted in so many of the newest clicks, which bounds the time that takes."""
CLICKS_IN_PART = 1_000_000
"""And for the items of about so many clicks together, which bounds the memory."""

_Float64Array: TypeAlias = npt.NDArray[np.float64]
Pairs: TypeAlias = tuple[Int64Array, _Float64Array, _Float64Array]
"""Pairs of items and their sums of weights, see `close_pairs`; each (n_pairs,)."""


@dataclass(frozen=True, slots=True, eq=False)
class ItemMemory:
    """Links and popularity of every item; the links of row i stand in `starts[i]:starts[i + 1]`.

    Attributes:
        starts: (n_items + 1,)
        targets: rows that the links lead to, rising for each item; (n_links,)
        forward: share of the target among what was clicked after the source, close clicks counting more.
        together: closeness in either order; (n_links,)
        popularity: log of the item's share of all clicks; (n_items,)
        recent: the same of the newest clicks; (n_items,)
    """

    starts: Int64Array
    targets: npt.NDArray[np.int32]
    forward: Float32Array
    together: Float32Array
    popularity: Float32Array
    recent: Float32Array

    def __post_init__(self) -> None:
        """Check what no reading of the arrays would notice."""
        starts, n_links = self.starts, len(self.targets)
        n_items = len(starts) - 1
        if n_items < 1 or starts[0] != 0 or starts[-1] != n_links or np.any(np.diff(starts) < 0):
            raise ValueError("the starts of the links do not rise from 0 to their number")
        if len(self.forward) != n_links or len(self.together) != n_links:
            raise ValueError(f"{n_links} links do not have as many weights")
        if len(self.popularity) != n_items or len(self.recent) != n_items:
            raise ValueError(f"{n_items} items do not have as many popularities")
        if n_links and not 0 <= int(self.targets.min()) <= int(self.targets.max()) < n_items:
            raise ValueError("links lead to rows outside the catalogue")

    @property
    def n_items(self) -> int:
        """Rows are 0..n_items-1."""
        return len(self.starts) - 1

    @classmethod
    def remember(cls, sequences: Sequences, n_items: int) -> Self:
        """Count the links and the popularity in sessions, oldest first."""
        known = sequences.rows[sequences.rows != UNKNOWN]
        counts = np.bincount(known, minlength=n_items)
        newest = known[len(known) - round(len(known) * RECENT_SHARE) :]
        linked = newest_to_link(sequences)
        pairs = (close_pairs(linked, n_items, rows) for rows in parts_of(linked, n_items))
        ahead = clicked_after(linked, n_items)
        return cls.of_pairs(pairs, ahead, counts, np.bincount(newest, minlength=n_items))

    @classmethod
    def of_pairs(
        cls, parts: Iterable[Pairs], ahead: _Float64Array, counts: Int64Array, recent: Int64Array
    ) -> Self:
        """Weigh pairs as ``close_pairs`` gives them, and keep the strongest; their sums are written over.

        Args:
            parts: the pairs, those of each item in one part and the items rising from part to part.
            ahead: sum of the forward weights of each item, to which its pairs are shares; (n_items,)
            counts: clicks of each item; (n_items,)
            recent: the newest of them; (n_items,)
        """
        n_items = len(counts)
        n_links = np.zeros(n_items, dtype=np.int64)
        links: list[tuple[npt.NDArray[np.int32], Float32Array, Float32Array]] = []
        for keys, forward, together in parts:
            sources, targets = keys // n_items, keys % n_items
            forward /= np.maximum(ahead, 1e-9)[sources]
            together /= np.sqrt((counts[sources] + DAMPING) * (counts[targets] + DAMPING))
            kept = _strongest(sources, forward) | _strongest(sources, together)
            n_links += np.bincount(sources[kept], minlength=n_items)
            links.append(
                (
                    targets[kept].astype(np.int32),
                    forward[kept].astype(np.float32),
                    together[kept].astype(np.float32),
                )
            )
        all_targets, all_forward, all_together = (
            np.concatenate(column) for column in zip(*links, strict=True)
        )
        return cls(
            starts=np.concatenate([[0], np.cumsum(n_links)]).astype(np.int64),
            targets=all_targets,
            forward=all_forward,
            together=all_together,
            popularity=_log_share(counts),
            recent=_log_share(recent),
        )


def newest_to_link(sequences: Sequences) -> Sequences:
    """The newest sessions, of not more clicks than links are counted in."""
    first = int(np.searchsorted(sequences.starts, sequences.n_clicks - MOST_CLICKS))
    return sequences.select(min(first, len(sequences)), len(sequences))


def parts_of(sequences: Sequences, n_items: int) -> list[range]:
    """All rows, in parts of about `CLICKS_IN_PART` clicks each."""
    clicks = np.bincount(sequences.rows[sequences.rows != UNKNOWN], minlength=n_items)
    return row_parts(clicks, CLICKS_IN_PART)


def clicked_after(sequences: Sequences, n_items: int) -> _Float64Array:
    """Sum of the forward weights of each item's pairs; (n_items,)"""
    sums = np.zeros(n_items)
    for step, (sources, _) in enumerate(pairs_ahead(sequences, RULE_STEPS), start=1):
        sums += np.bincount(sources, minlength=n_items) / step**2
    return sums


def close_pairs(sequences: Sequences, n_items: int, rows: range) -> Pairs:
    """Each pair of items once, as source · n_items + target, rising, and its two sums of weights.

    Of the pairs whose source is one of the rows. A pair of clicks n steps apart counts 1/n² forward, and 1/n
    together in both directions.
    """
    keys: list[Int64Array] = [np.empty(0, dtype=np.int64)]
    forward: list[_Float64Array] = [np.empty(0)]
    together: list[_Float64Array] = [np.empty(0)]
    for step, (first, second) in enumerate(pairs_ahead(sequences, RULE_STEPS), start=1):
        for sources, targets, ahead in ((first, second, 1 / step**2), (second, first, 0.0)):
            own = (sources >= rows.start) & (sources < rows.stop)
            pairs, counts = np.unique(sources[own] * n_items + targets[own], return_counts=True)
            keys.append(pairs)
            forward.append(counts * ahead)
            together.append(counts / step)
    found, which = np.unique(np.concatenate(keys), return_inverse=True)

    def summed(weights: list[_Float64Array]) -> _Float64Array:
        sums = np.bincount(which, weights=np.concatenate(weights), minlength=len(found))
        return sums.astype(np.float64)

    return found, summed(forward), summed(together)


def _strongest(sources: Int64Array, weights: _Float64Array) -> BoolArray:
    """Whether a link is among the `LINKS_KEPT` strongest of its source; of equal ones to the more popular."""
    order = np.lexsort((-weights, sources))
    place = np.arange(len(order)) - np.searchsorted(sources, sources)  # sources are in order already
    kept = np.zeros(len(order), dtype=np.bool_)
    kept[order[place < LINKS_KEPT]] = True
    return kept & (weights > 0)


def _log_share(counts: Int64Array) -> Float32Array:
    """Log of each item's share of all clicks, one more counted for each so that none is 0."""
    shares: Float32Array = np.log((counts + 1) / (counts.sum() + len(counts))).astype(np.float32)
    return shares
