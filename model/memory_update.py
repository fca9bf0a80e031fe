"""A memory of items that goes on from an earlier one: its links and the new clicks' together.

The earlier clicks are not counted again, which is what makes a quick refresh quick. Links are stored as
shares, so what they were made of is estimated: an item's forward weight from its clicks and the mean weight
of a click. What the earlier memory had cut off as too weak is lost until all is counted anew.
"""

from __future__ import annotations

import numpy as np

from model.arrays import Int64Array
from model.blend_memory import (
    DAMPING,
    RECENT_SHARE,
    ItemMemory,
    Pairs,
    clicked_after,
    close_pairs,
    newest_to_link,
    parts_of,
)
from model.metrics import Float64Array
from model.sequences import UNKNOWN, Sequences


def go_on(
    memory: ItemMemory, rows_before: Int64Array, counts_before: Int64Array, new: Sequences
) -> ItemMemory:
    """Bring a memory to another catalogue and to later clicks.

    Args:
        memory: what is known.
        rows_before: of each item of the new catalogue the row that it has in the memory, -1 for a new one.
        counts_before: clicks of each row of the memory, of which it was made; (memory.n_items,)
        new: sessions that the memory has not counted, in rows of the new catalogue, oldest first.
    """
    n_items = len(rows_before)
    known = new.rows[new.rows != UNKNOWN]
    added = np.bincount(known, minlength=n_items)
    old = np.where(rows_before >= 0, counts_before[rows_before], 0)
    counts = old + added
    linked = newest_to_link(new)
    after = clicked_after(linked, n_items)
    keys, forward, together = _links(memory, rows_before, old)
    n_linked = int((linked.rows != UNKNOWN).sum())
    mass_before = old * (after.sum() / n_linked if n_linked else 1.0)
    forward *= mass_before[keys // n_items]

    def both(rows: range) -> Pairs:
        own = (keys >= rows.start * n_items) & (keys < rows.stop * n_items)
        new_keys, new_forward, new_together = close_pairs(linked, n_items, rows)
        found, which = np.unique(np.concatenate([keys[own], new_keys]), return_inverse=True)
        sums = _summed(which, forward[own], new_forward, len(found))
        return found, sums, _summed(which, together[own], new_together, len(found))

    recent = _recent(memory, rows_before, counts, known)
    return ItemMemory.of_pairs(map(both, parts_of(linked, n_items)), mass_before + after, counts, recent)


def _summed(which: Int64Array, old: Float64Array, new: Float64Array, n: int) -> Float64Array:
    sums = np.bincount(which, weights=np.concatenate([old, new]), minlength=n)
    return sums.astype(np.float64)


def _links(
    memory: ItemMemory, rows_before: Int64Array, old: Int64Array
) -> tuple[Int64Array, Float64Array, Float64Array]:
    """The memory's links in rows of the new catalogue: keys, forward shares, and sums of closeness."""
    n_items = len(rows_before)
    row_now = np.full(memory.n_items, UNKNOWN, dtype=np.int64)
    row_now[rows_before[rows_before >= 0]] = np.flatnonzero(rows_before >= 0)
    sources = row_now[np.repeat(np.arange(memory.n_items), np.diff(memory.starts))]
    targets = row_now[memory.targets]
    stay = (sources != UNKNOWN) & (targets != UNKNOWN)
    sources, targets = sources[stay], targets[stay]
    together = memory.together[stay].astype(np.float64)
    together *= np.sqrt((old[sources] + DAMPING) * (old[targets] + DAMPING))
    return sources * n_items + targets, memory.forward[stay].astype(np.float64), together


def _recent(memory: ItemMemory, rows_before: Int64Array, counts: Int64Array, known: Int64Array) -> Int64Array:
    """Clicks among the newest tenth of all; where the new clicks are fewer, the rest as it was before."""
    wanted = max(round(int(counts.sum()) * RECENT_SHARE), 1)
    newest = np.bincount(known[max(len(known) - wanted, 0) :], minlength=len(counts))
    missing = wanted - min(len(known), wanted)
    shares = np.where(rows_before >= 0, np.exp(memory.recent[rows_before].astype(np.float64)), 0.0)
    before: Int64Array = np.round(missing * shares).astype(np.int64)
    return newest + before
