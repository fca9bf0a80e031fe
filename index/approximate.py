"""FAISS: search a graph (HNSW) or some cells (IVF) of the catalogue instead of all of it.

The only module that imports faiss. Graphs and cells are about distance, yet the score is an inner product of
vectors of different length (the bias is one coordinate). So every vector gets one coordinate more that
brings all to the same length, and queries get a 0 there: the inner products stay as they are, and the order
by inner product becomes the order by distance (Bachrach et al., RecSys 2014).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np

from index.exact import ExactIndex
from index.protocol import Float32Array, IndexFileError, Int64Array, ItemIndex, checked_queries, padded

HNSW_NEIGHBOURS = 32
HNSW_BUILD_BREADTH = 200
SEARCH_BREADTHS = (24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""What `efSearch` may be; on trained vectors 32 found .993 of the best 20 of 20,000 items in 20 µs."""
DEFAULT_SEARCH_BREADTH = 64
IVF_CELL_SHARES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Which share of the cells a search may look into."""


def set_threads(n_threads: int) -> None:
    """Threads that FAISS uses for building and for batches, in the whole process."""
    faiss.omp_set_num_threads(n_threads)


class ApproximateIndex:
    """A FAISS index behind the `ItemIndex` protocol; build one with `hnsw` or `ivf`."""

    def __init__(self, kind: str, stored: Any) -> None:
        self.kind = kind
        self._stored = stored

    @classmethod
    def hnsw(cls, vectors: Float32Array) -> Self:
        """A graph of near neighbours: the fastest search, about 260 bytes an item beside the vector."""
        long = same_length(vectors)
        stored = faiss.IndexHNSWFlat(long.shape[1], HNSW_NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        stored.hnsw.efConstruction = HNSW_BUILD_BREADTH
        stored.hnsw.efSearch = DEFAULT_SEARCH_BREADTH
        stored.add(long)
        return cls("hnsw", stored)

    @classmethod
    def ivf(cls, vectors: Float32Array, seed: int = 0) -> Self:
        """Cells around k-means centres: quick to build and small, for very large catalogues."""
        long = same_length(vectors)
        n_cells = max(int(4 * math.sqrt(len(long))), 1)
        n_cells = max(min(n_cells, len(long) // 39), 1)  # FAISS wants 39 vectors for each centre
        quantizer = faiss.IndexFlatIP(long.shape[1])
        stored = faiss.IndexIVFFlat(quantizer, long.shape[1], n_cells, faiss.METRIC_INNER_PRODUCT)
        stored.cp.seed = seed + 1234
        stored.train(long)
        stored.add(long)
        stored.nprobe = max(math.ceil(n_cells * IVF_CELL_SHARES[1]), 1)
        return cls("ivf", stored)

    @property
    def n_items(self) -> int:
        """Rows are 0..n_items-1."""
        return int(self._stored.ntotal)

    @property
    def dim(self) -> int:
        """Coordinates of an item vector and of a query, without the one added here."""
        return int(self._stored.d) - 1

    @property
    def breadth(self) -> int:
        """How much a search looks at: candidates kept (HNSW's efSearch) or cells (IVF's nprobe)."""
        return int(self._stored.hnsw.efSearch if self.kind == "hnsw" else self._stored.nprobe)

    def breadths(self) -> list[int]:
        """The choices for `with_breadth`, rising."""
        if self.kind == "hnsw":
            return list(SEARCH_BREADTHS)
        return sorted({max(math.ceil(self._stored.nlist * share), 1) for share in IVF_CELL_SHARES})

    def widen(self, breadth: int) -> None:
        """Set how much a search looks at; for use while building, before any search elsewhere."""
        if self.kind == "hnsw":
            self._stored.hnsw.efSearch = breadth
        else:
            self._stored.nprobe = breadth

    def search(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        """Find the k best items of each query, nearly always; see `ItemIndex.search`."""
        queries = checked_queries(queries, self.dim, k)
        n_found = min(k, self.n_items)
        long = np.zeros((len(queries), self.dim + 1), dtype=np.float32)
        long[:, :-1] = queries
        scores, rows = self._stored.search(long, n_found)
        holes = rows[:, -1] < 0
        if holes.any():
            scores[holes], rows[holes] = self._search_everything(long[holes], n_found)
        return padded(scores, rows, k)

    def _search_everything(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        """Where a graph or its cells hold fewer than k reachable items: score them all."""
        if self.kind == "hnsw":
            found: tuple[Float32Array, Int64Array] = self._stored.storage.search(queries, k)
        else:
            everywhere = faiss.SearchParametersIVF()
            everywhere.nprobe = self._stored.nlist
            found = self._stored.search(queries, k, params=everywhere)
        return found

    def save(self, path: Path) -> None:
        """Write the FAISS index."""
        faiss.write_index(self._stored, str(path))


def same_length(vectors: Float32Array) -> Float32Array:
    """Add the coordinate that brings every vector to the length of the longest; (n, d) → (n, d + 1)."""
    if vectors.ndim != 2 or len(vectors) == 0:
        raise ValueError(f"vectors must be of shape (n_items, dim), not {vectors.shape}")
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    missing = np.sqrt(np.maximum(squares.max() - squares, 0.0))
    return np.ascontiguousarray(np.concatenate([vectors, missing[:, None]], axis=1), dtype=np.float32)


def write_flat(vectors: Float32Array, path: Path) -> None:
    """Store vectors as a flat FAISS index."""
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(np.ascontiguousarray(vectors, dtype=np.float32))
    faiss.write_index(flat, str(path))


def load_index(path: Path) -> ItemIndex:
    """Read a stored index of any kind.

    FAISS's parser trusts its input, so check size and SHA-256 of the file before.

    Raises:
        IndexFileError: FAISS cannot read it, or it is an index of another make.
    """
    try:
        stored = faiss.read_index(str(path))
    except (RuntimeError, MemoryError) as error:
        # FAISS's texts hold its own source paths and many lines; the last part says what was wrong.
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise IndexFileError(f"{path.name} is not a readable index: {reason}") from error
    if stored.metric_type != faiss.METRIC_INNER_PRODUCT or stored.ntotal == 0:
        raise IndexFileError(f"{path.name} is empty or not an inner-product index")
    if isinstance(stored, faiss.IndexHNSWFlat):
        return ApproximateIndex("hnsw", stored)
    if isinstance(stored, faiss.IndexIVFFlat):
        return ApproximateIndex("ivf", stored)
    if isinstance(stored, faiss.IndexFlat):
        return ExactIndex(stored.reconstruct_n(0, stored.ntotal))
    raise IndexFileError(f"{path.name} holds a {type(stored).__name__}, which is none of ours")
