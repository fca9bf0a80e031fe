"""Choose the index by the size of the catalogue."""

from __future__ import annotations

from index.approximate import ApproximateIndex
from index.exact import ExactIndex
from index.protocol import Float32Array, ItemIndex
from index.recall import recall_against_exact

EXACT_UP_TO = 6_000
"""Up to here scoring every item is as fast as HNSW in batches (25 µs against 50-100) and misses nothing."""
HNSW_UP_TO = 1_000_000
"""Beyond, building the graph takes longer than a training window may."""
RECALL_WISHED = 0.992
"""A little over the .99 that is promised: it is measured on a sample."""
RECALL_AT = 21
"""A worker asks for its 20 and for the item just clicked, which it leaves out."""
SAMPLE_QUERIES = 500


def build_index(
    vectors: Float32Array,
    sample_queries: Float32Array | None = None,
    *,
    exact_up_to: int = EXACT_UP_TO,
    hnsw_up_to: int = HNSW_UP_TO,
) -> ItemIndex:
    """Build the index that suits the number of items.

    Args:
        vectors: item vectors, the bias folded in; (n_items, dim)
        sample_queries: queries as they come in service; (n, dim). An approximate index searches as
            broadly as these need to find 99 % of the exact answer, and a little over; without them,
            as broadly as the vectors themselves need when asked for their neighbours.
        exact_up_to: up to this many items every item is scored.
        hnsw_up_to: up to this many items a graph is built, beyond it cells.
    """
    n_items = len(vectors)
    if n_items <= exact_up_to:
        return ExactIndex(vectors)
    approximate = ApproximateIndex.hnsw(vectors) if n_items <= hnsw_up_to else ApproximateIndex.ivf(vectors)
    if sample_queries is None:
        sample_queries = vectors
    step = max(len(sample_queries) // SAMPLE_QUERIES, 1)
    widen_until(approximate, vectors, sample_queries[::step][:SAMPLE_QUERIES], RECALL_WISHED)
    return approximate


def widen_until(
    index: ApproximateIndex, vectors: Float32Array, queries: Float32Array, recall_wished: float
) -> float:
    """Search as broadly as `recall_wished` needs; returns the recall reached, less only at the broadest."""
    recall = 0.0
    exact = ExactIndex(vectors)
    for breadth in index.breadths():
        index.widen(breadth)
        recall = recall_against_exact(index, exact, queries, RECALL_AT)
        if recall >= recall_wished:
            break
    return recall
