"""What the approximation costs: how much of the exact answer an index finds."""

from __future__ import annotations

from index.protocol import Float32Array, ItemIndex


def recall_against_exact(index: ItemIndex, exact: ItemIndex, queries: Float32Array, k: int) -> float:
    """Share of the exact k best items that `index` finds too, averaged over the queries.

    An item is counted when its score reaches the k-th best one's, so that of two items with the same
    score either is right. Scores are compared with a tolerance for the order of summation.
    """
    k = min(k, index.n_items)
    if len(queries) == 0:
        return 1.0
    best, _ = exact.search(queries, k)
    found, _ = index.search(queries, k)
    worst_right = best[:, -1:]
    tolerance = 1e-5 * (1.0 + abs(worst_right))
    return float((found >= worst_right - tolerance).mean())
