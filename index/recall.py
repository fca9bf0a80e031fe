"""What the approximation costs: how much of the exact answer an index finds."""

from __future__ import annotations

from index.protocol import Float32Array, ItemIndex


def recall_against_exact(index: ItemIndex, exact: ItemIndex, queries: Float32Array, k: int) -> float:
    """Share of the exact k best items that `index` finds too, averaged over the queries."""
    best, _ = exact.search(queries, min(k, index.n_items))
    return share_found(index, best, queries)


def share_found(index: ItemIndex, best: Float32Array, queries: Float32Array) -> float:
    """The same where the scores of the exact best are known already; (n, k), best first.

    An item is counted when its score reaches the k-th best one's, so that of two items with the same
    score either is right. Scores are compared with a tolerance for the order of summation.
    """
    if len(queries) == 0:
        return 1.0
    found, _ = index.search(queries, best.shape[1])
    worst_right = best[:, -1:]
    tolerance = 1e-5 * (1.0 + abs(worst_right))
    return float((found >= worst_right - tolerance).mean())
