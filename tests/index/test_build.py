from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from index.approximate import ApproximateIndex, CellIndex, CodeIndex, load_index, same_length
from index.build import RECALL_AT, build_index, widen_until
from index.exact import ExactIndex
from index.protocol import IndexFileError
from index.recall import recall_against_exact
from tests.index.test_contract import clustered


def test_size_chooses_the_kind() -> None:
    vectors = clustered(300)
    assert build_index(vectors).kind == "exact"
    assert build_index(vectors, exact_up_to=100).kind == "codes"
    assert build_index(vectors, exact_up_to=100, codes_up_to=200).kind == "cells"


@pytest.mark.parametrize("codes_up_to", [10_000, 1_000], ids=["codes", "cells"])
def test_approximation_finds_99_percent(codes_up_to: int) -> None:
    vectors, queries = clustered(5_000, dim=32), clustered(600, dim=32, seed=1)
    index = build_index(vectors, queries, exact_up_to=100, codes_up_to=codes_up_to)
    unseen = clustered(300, dim=32, seed=2)
    assert recall_against_exact(index, ExactIndex(vectors), queries, RECALL_AT) >= 0.99
    assert recall_against_exact(index, ExactIndex(vectors), unseen, 20) >= 0.98


@pytest.mark.parametrize("kind", [CodeIndex, CellIndex])
def test_breadth_survives_storage(kind: type[ApproximateIndex], tmp_path: Path) -> None:
    index = kind.build(clustered(200))
    index.widen(12)
    index.save(tmp_path / "index.faiss")
    stored = load_index(tmp_path / "index.faiss")
    assert isinstance(stored, kind)
    assert stored.breadth == 12


def test_many_cells_are_found_by_codes_of_their_centres(tmp_path: Path) -> None:
    """From 256 cells on, which takes some thousand items."""
    vectors, queries = clustered(6_000), clustered(200, seed=1)
    index = CellIndex.build(vectors)
    index.widen(64)
    index.save(tmp_path / "index.faiss")
    stored = load_index(tmp_path / "index.faiss")
    assert recall_against_exact(stored, ExactIndex(vectors), queries, 20) >= 0.97


def test_widening_stops_as_soon_as_it_suffices() -> None:
    vectors = clustered(400)
    index = CodeIndex.build(vectors)
    assert widen_until(index, vectors, vectors[:50], recall_wished=0.5) >= 0.5
    assert index.breadth == index.BREADTHS[0]


def test_added_coordinate_changes_no_inner_product() -> None:
    vectors, queries = clustered(50), clustered(5, seed=1)
    longer = same_length(vectors)
    np.testing.assert_allclose(
        np.linalg.norm(longer, axis=1), np.linalg.norm(vectors, axis=1).max(), rtol=1e-5
    )
    np.testing.assert_array_equal(longer[:, :-1] @ queries.T, vectors @ queries.T)


def test_recall_counts_what_is_missing() -> None:
    vectors = np.eye(4, dtype=np.float32)
    other = ExactIndex(np.roll(vectors, 1, axis=0) * np.array([[1], [1], [1], [0]], dtype=np.float32))
    queries = np.array([[4, 3, 2, 1]], dtype=np.float32)
    # The other index scores its items 1, 4, 3, 0: of the exact 4, 3, 2 it reaches two.
    assert recall_against_exact(other, ExactIndex(vectors), queries, 3) == pytest.approx(2 / 3)
    assert recall_against_exact(ExactIndex(vectors), ExactIndex(vectors), queries, 3) == 1.0
    assert recall_against_exact(other, other, queries[:0], 3) == 1.0


def test_equal_scores_are_interchangeable() -> None:
    vectors = np.ones((6, 2), dtype=np.float32)
    assert recall_against_exact(CodeIndex.build(vectors), ExactIndex(vectors), vectors[:1], 3) == 1.0


@pytest.mark.parametrize("content", [b"", b"IxFI", b"not an index at all"])
def test_refuses_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index.faiss"
    path.write_bytes(content)
    with pytest.raises(IndexFileError, match=r"index\.faiss is not a readable index") as caught:
        load_index(path)
    assert "\n" not in str(caught.value)


def test_refuses_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(IndexFileError):
        load_index(tmp_path / "index.faiss")


OTHERS = [
    faiss.IndexFlatL2(4),
    faiss.IndexLSH(4, 8),
    faiss.IndexFlatIP(4),
    faiss.IndexHNSWFlat(4, 8, faiss.METRIC_INNER_PRODUCT),
    faiss.IndexPreTransform(faiss.PCAMatrix(4, 4), faiss.IndexFlatIP(4)),
]


@pytest.mark.parametrize("stored", OTHERS)
def test_refuses_an_index_of_another_make(tmp_path: Path, stored: faiss.Index) -> None:
    if not isinstance(stored, faiss.IndexFlatIP):  # that one stays empty
        stored.train(np.eye(4, dtype=np.float32))
        stored.add(np.ones((3, 4), dtype=np.float32))
    faiss.write_index(stored, str(tmp_path / "index.faiss"))
    with pytest.raises(IndexFileError):
        load_index(tmp_path / "index.faiss")
