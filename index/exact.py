"""Every item is scored. For catalogues of some thousand items nothing is faster, least of all in batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from index.protocol import Float32Array, Int64Array, checked_queries, padded

SCORES_AT_ONCE = 1 << 20
"""Bounds a batch's score matrix to 4 MB, about what a core's cache holds."""
QUERIES_AT_ONCE = 16
"""At least: all vectors pass through the cache for each part of a batch."""


class ExactIndex:
    """Item vectors in one matrix."""

    kind = "exact"

    def __init__(self, vectors: Float32Array) -> None:
        if vectors.ndim != 2 or len(vectors) == 0:
            raise ValueError(f"vectors must be of shape (n_items, dim), not {vectors.shape}")
        self._vectors = np.array(vectors, dtype=np.float32, order="C")
        self._vectors.setflags(write=False)

    @property
    def n_items(self) -> int:
        """Rows are 0..n_items-1."""
        return len(self._vectors)

    @property
    def dim(self) -> int:
        """Coordinates of an item vector and of a query."""
        return int(self._vectors.shape[1])

    def search(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        """Find the k best items of each query; see `ItemIndex.search`."""
        queries = checked_queries(queries, self.dim, k)
        n_found = min(k, self.n_items)
        scores = np.empty((len(queries), n_found), dtype=np.float32)
        rows = np.empty((len(queries), n_found), dtype=np.int64)
        step = max(SCORES_AT_ONCE // self.n_items, QUERIES_AT_ONCE)
        for begin in range(0, len(queries), step):
            part = slice(begin, begin + step)
            scores[part], rows[part] = top_k(queries[part] @ self._vectors.T, n_found)
        return padded(scores, rows, k)

    def save(self, path: Path) -> None:
        """Write the vectors as a flat FAISS index, so that a stored index has one form."""
        from index.approximate import write_flat  # here, because that module builds on this one

        write_flat(self._vectors, path)


def top_k(scores: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
    """The k greatest of each line, best first: (n, m) → scores (n, k), columns (n, k)."""
    m = scores.shape[1]
    if k < m:
        columns = np.argpartition(scores, m - k, axis=1)[:, m - k :]
        chosen = np.take_along_axis(scores, columns, axis=1)
    else:
        columns, chosen = np.broadcast_to(np.arange(m), scores.shape), scores
    order = np.argsort(-chosen, axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1), np.take_along_axis(columns, order, axis=1)
