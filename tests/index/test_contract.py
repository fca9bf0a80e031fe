"""What every index must do; each runs through the same suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from index.approximate import CellIndex, CodeIndex, load_index
from index.exact import ExactIndex
from index.protocol import NO_ROW, Float32Array, ItemIndex

Build = Callable[[Float32Array], ItemIndex]
BUILDERS: dict[str, Build] = {
    "exact": ExactIndex,
    "codes": CodeIndex.build,
    "cells": CellIndex.build,
}


@pytest.fixture(params=sorted(BUILDERS))
def build(request: pytest.FixtureRequest) -> Build:
    return BUILDERS[request.param]


@pytest.fixture(params=[False, True], ids=["built", "stored"])
def indexed(build: Build, request: pytest.FixtureRequest, tmp_path: Path) -> Build:
    """Builds an index, or builds, stores and reads one."""

    def stored(vectors: Float32Array) -> ItemIndex:
        index = build(vectors)
        index.save(tmp_path / "index.faiss")
        return load_index(tmp_path / "index.faiss")

    return stored if request.param else build


def clustered(n: int, dim: int = 16, seed: int = 0) -> Float32Array:
    """Vectors as a trained model has them: in groups, and of different length because of the bias."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(n // 20, 1), dim))
    vectors = centres[rng.integers(0, len(centres), n)] + 0.5 * rng.normal(size=(n, dim))
    vectors[:, -1] *= rng.uniform(0, 3, size=n)
    return vectors.astype(np.float32)


def test_knows_its_size(indexed: Build) -> None:
    index = indexed(clustered(50))
    assert (index.n_items, index.dim) == (50, 16)
    assert index.kind in BUILDERS


def test_finds_the_provably_best(indexed: Build) -> None:
    index = indexed(np.diag(np.arange(1, 6)).astype(np.float32))
    scores, rows = index.search(np.array([[9, 0, 0, 0, 1], [0, 1, 1, 0, 0]], dtype=np.float32), 2)
    assert rows.tolist() == [[0, 4], [2, 1]]
    assert scores.tolist() == [[9, 5], [3, 2]]


def test_scores_are_inner_products_best_first(indexed: Build) -> None:
    vectors, queries = clustered(500), clustered(40, seed=1)
    scores, rows = indexed(vectors).search(queries, 20)
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64
    np.testing.assert_allclose(scores, np.einsum("nd,nkd->nk", queries, vectors[rows]), rtol=1e-4, atol=1e-4)
    assert np.all(np.diff(scores, axis=1) <= 1e-5)
    assert all(len(set(line)) == 20 for line in rows.tolist())


@pytest.mark.parametrize("k", [1, 7, 30])
def test_more_than_there_is_leaves_places_empty(indexed: Build, k: int) -> None:
    scores, rows = indexed(clustered(7)).search(clustered(3, seed=1), k)
    assert scores.shape == rows.shape == (3, k)
    n_found = min(k, 7)
    assert np.all(rows[:, :n_found] >= 0)
    assert np.all(rows[:, n_found:] == NO_ROW)
    assert np.all(np.isneginf(scores[:, n_found:]))


def test_no_holes_up_to_the_whole_catalogue(indexed: Build) -> None:
    vectors = clustered(1_500)
    vectors[100:120] = 0.0  # in no direction, and all alike
    _, rows = indexed(vectors).search(clustered(5, seed=1), 1_500)
    assert all(sorted(line) == list(range(1_500)) for line in rows.tolist())


def test_one_item(indexed: Build) -> None:
    scores, rows = indexed(np.ones((1, 3), dtype=np.float32)).search(np.ones((1, 3), dtype=np.float32), 1)
    assert (scores.tolist(), rows.tolist()) == ([[3.0]], [[0]])


def test_no_queries(indexed: Build) -> None:
    scores, rows = indexed(clustered(30)).search(np.empty((0, 16), dtype=np.float32), 5)
    assert scores.shape == rows.shape == (0, 5)


def test_a_query_alone_is_answered_as_in_a_batch(indexed: Build) -> None:
    index, queries = indexed(clustered(2_000)), clustered(300, seed=1)
    scores, _ = index.search(queries, 20)
    alone = np.concatenate([index.search(query[None], 20)[0] for query in queries[:50]])
    np.testing.assert_allclose(alone, scores[:50], rtol=1e-5, atol=1e-5)


def test_later_changes_of_the_array_do_not_reach_the_index(build: Build) -> None:
    vectors = np.eye(4, dtype=np.float32)
    index = build(vectors)
    vectors[:] = 0
    scores, _ = index.search(np.ones((1, 4), dtype=np.float32), 4)
    assert scores.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize("shape", [(3, 15), (3,)])
def test_refuses_queries_of_another_shape(build: Build, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="queries must be of shape"):
        build(clustered(20)).search(np.zeros(shape, dtype=np.float32), 3)


def test_refuses_k_below_one(build: Build) -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        build(clustered(20)).search(clustered(1), 0)


def test_refuses_an_empty_catalogue(build: Build) -> None:
    with pytest.raises(ValueError, match="vectors must be of shape"):
        build(np.empty((0, 4), dtype=np.float32))
