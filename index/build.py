"""Choose the index by the size of the catalogue; docs/decisions/0004 has the figures that the rule follows.

Up to 1,000 items every item is scored, up to 100,000 every item's code, beyond that the nearest cells. How
broadly an approximate index searches is tuned on queries: as broadly as they need.
"""

from __future__ import annotations

from index.approximate import ApproximateIndex, CellIndex, CodeIndex
from index.exact import ExactIndex
from index.protocol import Float32Array, ItemIndex
from index.recall import share_found

EXACT_UP_TO = 1_000
"""Up to here codes are no faster, and scoring every item misses nothing."""
CODES_UP_TO = 100_000
"""Here codes and cells cost the same for what they find, 70 µs a query."""
RECALL_WISHED = 0.994
"""Over the .99 that is promised: it is measured on a sample, and what cells miss may be the very best."""
RECALL_AT = 21
"""A worker asks for its 20 and for the item just clicked, which it leaves out."""
SAMPLE_QUERIES = 500


def build_index(
    vectors: Float32Array,
    sample_queries: Float32Array | None = None,
    *,
    exact_up_to: int = EXACT_UP_TO,
    codes_up_to: int = CODES_UP_TO,
) -> ItemIndex:
    """Build the index that suits the number of items.

    Args:
        vectors: item vectors, the bias folded in; (n_items, dim)
        sample_queries: queries as they come in service; (n, dim). An approximate index searches as
            broadly as these need to find 99 % of the exact answer, and a little over; without them,
            as broadly as the vectors themselves need when asked for their neighbours.
        exact_up_to: up to this many items every item is scored.
        codes_up_to: up to this many items every item's code is scored, beyond it the nearest cells.
    """
    n_items = len(vectors)
    if n_items <= exact_up_to:
        return ExactIndex(vectors)
    kind: type[ApproximateIndex] = CodeIndex if n_items <= codes_up_to else CellIndex
    approximate = kind.build(vectors)
    if sample_queries is None:
        sample_queries = vectors
    step = max(len(sample_queries) // SAMPLE_QUERIES, 1)
    widen_until(approximate, vectors, sample_queries[::step][:SAMPLE_QUERIES], RECALL_WISHED)
    return approximate


def widen_until(
    index: ApproximateIndex, vectors: Float32Array, queries: Float32Array, recall_wished: float
) -> float:
    """Search as broadly as `recall_wished` needs; returns the recall reached, less only at the broadest."""
    best, _ = ExactIndex(vectors).search(queries, min(RECALL_AT, index.n_items))
    recall = 0.0
    for breadth in index.BREADTHS:
        index.widen(breadth)
        recall = share_found(index, best, queries)
        if recall >= recall_wished:
            break
    return recall
