"""FAISS: look at short codes, or at some cells of the catalogue, instead of at every vector.

The only module that imports faiss. A stored index takes queries as the model gives them and adds the
coordinates that the index inside has more, all 0: they change no inner product.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numpy as np

from index.exact import ExactIndex
from index.protocol import Float32Array, IndexFileError, Int64Array, ItemIndex, checked_queries, padded

INNER_PRODUCT = faiss.METRIC_INNER_PRODUCT


def set_threads(n_threads: int) -> None:
    """Threads that FAISS uses for building and for batches, in the whole process."""
    faiss.omp_set_num_threads(n_threads)


class ApproximateIndex(ABC):
    """A FAISS index behind the `ItemIndex` protocol; its breadth trades time for recall."""

    kind: ClassVar[str]
    BREADTHS: ClassVar[Sequence[int]]
    """The choices for `widen`, rising."""

    def __init__(self, stored: Any) -> None:
        self._stored = stored  # takes queries of `dim` coordinates
        self._inside: Any = faiss.downcast_index(stored.index)  # has some more

    @classmethod
    @abstractmethod
    def build(cls, vectors: Float32Array) -> Self:
        """Build it from item vectors (n_items, dim), the bias folded in."""

    @property
    def n_items(self) -> int:
        """Rows are 0..n_items-1."""
        return int(self._stored.ntotal)

    @property
    def dim(self) -> int:
        """Coordinates of an item vector and of a query."""
        return int(self._stored.d)

    @property
    @abstractmethod
    def breadth(self) -> int:
        """How much a search looks at; what is counted depends on the kind."""

    @abstractmethod
    def widen(self, breadth: int) -> None:
        """Set how much a search looks at; for use while building, before any search elsewhere."""

    def search(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        """Find the k best items of each query, nearly always; see `ItemIndex.search`."""
        queries = checked_queries(queries, self.dim, k)
        n_found = min(k, self.n_items)
        scores, rows = self._stored.search(queries, n_found)
        holes = rows[:, -1] < 0
        if holes.any():
            scores[holes], rows[holes] = self._search_everything(
                _widened(queries[holes], self._inside.d), n_found
            )
        return padded(scores, rows, k)

    @abstractmethod
    def _search_everything(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        """Score all items, where a search found fewer than k."""

    def save(self, path: Path) -> None:
        """Write the FAISS index."""
        faiss.write_index(self._stored, str(path))


class CodeIndex(ApproximateIndex):
    """A short code for every item: all are scored by them, the best once more by their vectors.

    A pair of coordinates becomes one of 16 points, so that a register holds all that a query makes of them
    (André et al., VLDB 2015; in FAISS: PQ FastScan). Built at once; a search's time grows with the catalogue.
    The breadth is how many times k items are scored again; it takes many of items that were hardly trained
    on, whose vectors are all but random.
    """

    kind = "codes"
    BREADTHS = (2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256)

    @classmethod
    def build(cls, vectors: Float32Array) -> Self:
        """Learn the points of each pair from a sample of the items, and encode all."""
        dim = _checked(vectors).shape[1]
        inside = _codes(dim)
        wide = _widened(vectors, inside.d)
        inside.train(np.resize(wide, (max(len(wide), 16), inside.d)))  # 16 points need 16 items: repeated
        inside.add(wide)
        index = cls(_taking(dim, inside))
        index.widen(3)
        return index

    @property
    def breadth(self) -> int:
        """How many times k items are scored again."""
        return int(self._inside.k_factor)

    def widen(self, breadth: int) -> None:
        """Set how many times k items are scored again."""
        self._inside.k_factor = breadth

    def _search_everything(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        found: tuple[Float32Array, Int64Array] = self._inside.refine_index.search(queries, k)
        return found


class CellIndex(ApproximateIndex):
    """Cells around k-means centres (IVF), of which the nearest are searched: its time hardly grows.

    Which cells are near is asked of codes of their centres. The breadth is how many cells are searched.
    Cells are about direction, yet the score is an inner product of vectors of different length (the bias is
    one coordinate). So every vector gets one coordinate more that brings all to the same length: then the
    greatest inner product is the smallest angle (Bachrach et al., RecSys 2014).
    """

    kind = "cells"
    BREADTHS = (8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256, 512, 1024)
    FEW_CELLS = 256
    """So few centres are scored as fast without codes."""
    SAMPLED_PER_CELL = 64
    ROUNDS = 6

    @classmethod
    def build(cls, vectors: Float32Array) -> Self:
        """Find the centres and give every item to its nearest."""
        dim = _checked(vectors).shape[1]
        n_cells = max(round(len(vectors) ** 0.75 / 2), 1)  # centres and items to be scored grow alike
        few = n_cells < cls.FEW_CELLS
        centres: Any = faiss.IndexFlatIP(_even(dim + 1)) if few else _codes(dim + 1)
        long = _widened(same_length(vectors), centres.d)
        inside = faiss.IndexIVFFlat(centres, centres.d, n_cells, INNER_PRODUCT)
        inside.cp.niter = cls.ROUNDS
        inside.cp.max_points_per_centroid = cls.SAMPLED_PER_CELL
        inside.cp.min_points_per_centroid = 1
        if not few:
            centres.k_factor = 8  # an item in a wrong cell is hardly ever found
        inside.train(long)
        inside.add(long)
        if not few:
            centres.k_factor = 4
        index = cls(_taking(dim, inside))
        index.widen(16)
        return index

    @property
    def breadth(self) -> int:
        """How many cells are searched."""
        return int(self._inside.nprobe)

    def widen(self, breadth: int) -> None:
        """Set how many cells are searched."""
        self._inside.nprobe = breadth

    def _search_everything(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        everywhere = faiss.SearchParametersIVF()
        everywhere.nprobe = self._inside.nlist
        found: tuple[Float32Array, Int64Array] = self._inside.search(queries, k, params=everywhere)
        return found


def same_length(vectors: Float32Array) -> Float32Array:
    """Add the coordinate that brings every vector to the length of the longest; (n, d) → (n, d + 1)."""
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    missing = np.sqrt(np.maximum(squares.max() - squares, 0.0))
    return np.concatenate([vectors, missing[:, None].astype(np.float32)], axis=1)


def _codes(dim: int) -> Any:
    """An empty index of codes over vectors of at least ``dim`` coordinates; its ``d`` says of how many."""
    wide = _even(dim)
    codes = faiss.IndexPQFastScan(wide, wide // 2, 4, INNER_PRODUCT)
    codes.pq.cp.min_points_per_centroid = 1
    return faiss.IndexRefineFlat(codes)


def _even(dim: int) -> int:
    """FAISS wants an even number of pairs."""
    return -(-dim // 4) * 4


def _taking(dim: int, inside: Any) -> Any:
    """The index with a step before it that fills queries of ``dim`` coordinates up."""
    filling: Any = faiss.RemapDimensionsTransform
    return faiss.IndexPreTransform(filling(dim, inside.d, False), inside)


def _widened(vectors: Float32Array, dim: int) -> Float32Array:
    wide = np.zeros((len(vectors), dim), dtype=np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide


def _checked(vectors: Float32Array) -> Float32Array:
    if vectors.ndim != 2 or len(vectors) == 0:
        raise ValueError(f"vectors must be of shape (n_items, dim), not {vectors.shape}")
    return vectors


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
    if stored.metric_type != INNER_PRODUCT or stored.ntotal == 0:
        raise IndexFileError(f"{path.name} is empty or not an inner-product index")
    if isinstance(stored, faiss.IndexFlat):
        return ExactIndex(stored.reconstruct_n(0, stored.ntotal))
    make = type(stored).__name__
    if isinstance(stored, faiss.IndexPreTransform):
        inside = faiss.downcast_index(stored.index)
        make = type(inside).__name__
        if isinstance(inside, faiss.IndexIVFFlat):
            return CellIndex(stored)
        if isinstance(inside, faiss.IndexRefineFlat):
            return CodeIndex(stored)
    raise IndexFileError(f"{path.name} holds a {make}, which is none of ours")
