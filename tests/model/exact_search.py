"""A search over an encoder's items without an index."""

from __future__ import annotations

import numpy as np

from model.arrays import Float32Array, Int64Array
from model.encoder import SessionEncoder
from model.evaluation import Search


def exact_search(encoder: SessionEncoder) -> Search:
    """Scores every item; for tests, which may not reach into the index's package."""
    vectors = encoder.item_vectors()

    def search(queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        scores = queries @ vectors.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(scores, rows, axis=1)
        missing = ((0, 0), (0, max(k - found.shape[1], 0)))
        return np.pad(found, missing, constant_values=-np.inf), np.pad(rows, missing, constant_values=-1)

    return search
