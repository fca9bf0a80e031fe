"""What an index of items can do: find the rows whose vectors have the greatest inner product with a query.

An item's bias is one more coordinate of its vector, so the inner product is the model's whole score.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Float32Array: TypeAlias = npt.NDArray[np.float32]
Int64Array: TypeAlias = npt.NDArray[np.int64]

NO_ROW = -1
"""Fills the places of an answer for which there is no item (k greater than the catalogue)."""


class IndexFileError(ValueError):
    """A stored index that cannot be used; the text says why."""


class ItemIndex(Protocol):
    """Item vectors, immutable once built; searches may run in several threads at once."""

    @property
    def kind(self) -> str:
        """How it searches: exact, codes or cells."""

    @property
    def n_items(self) -> int:
        """Rows are 0..n_items-1."""

    @property
    def dim(self) -> int:
        """Coordinates of an item vector and of a query."""

    def search(self, queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        """Find the k best items of each query.

        Args:
            queries: (n, dim)
            k: how many; at least 1.

        Returns:
            scores (n, k) and rows (n, k), best first. There are always min(k, n_items) items; places
            beyond the catalogue hold -inf and `NO_ROW`.
        """

    def save(self, path: Path) -> None:
        """Write the index as one file, which `index.approximate.load_index` reads."""


def checked_queries(queries: Float32Array, dim: int, k: int) -> Float32Array:
    """The queries as contiguous float32, or ValueError where they do not fit the index."""
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ValueError(f"queries must be of shape (n, {dim}), not {queries.shape}")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    return np.ascontiguousarray(queries, dtype=np.float32)


def padded(scores: Float32Array, rows: Int64Array, k: int) -> tuple[Float32Array, Int64Array]:
    """Fill an answer up to k places."""
    missing = k - scores.shape[1]
    if missing == 0:
        return scores, rows
    widths = ((0, 0), (0, missing))
    return (
        np.pad(scores, widths, constant_values=np.float32(-np.inf)),
        np.pad(rows, widths, constant_values=NO_ROW),
    )
