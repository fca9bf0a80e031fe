from __future__ import annotations

import numpy as np
import pytest

from model.metrics import NOT_FOUND, Accuracy, accuracy, ranks_against_us, ranks_for_us

INF = float("inf")


def ranks(scores: list[float], rows: list[int], target: int) -> int:
    found = ranks_against_us(np.array([scores], dtype=np.float32), np.array([rows]), np.array([target]))
    return int(found[0])


def test_rank_is_the_place_where_no_scores_tie() -> None:
    assert [ranks([3, 2, 1], [7, 8, 9], target) for target in (7, 8, 9)] == [1, 2, 3]
    assert ranks([3, 2, 1], [7, 8, 9], 5) == NOT_FOUND


def test_ties_count_against_us() -> None:
    assert [ranks([3, 2, 2, 2, 1], [7, 8, 9, 4, 5], target) for target in (8, 9, 4)] == [4, 4, 4]


def test_an_answer_left_out_is_neither_found_nor_counted() -> None:
    assert ranks([-INF, 2, 1], [7, 8, 9], 7) == NOT_FOUND
    assert ranks([-INF, 2, 1], [7, 8, 9], 8) == 1


def test_empty_places_are_no_items() -> None:
    assert ranks([3, -INF], [7, -1], -1) == NOT_FOUND


def test_recall_mrr_and_ndcg_by_hand() -> None:
    measured = accuracy(np.array([1, 4, 21, NOT_FOUND]), k=20)
    assert measured == Accuracy(
        k=20, recall=0.5, mrr=(1 + 1 / 4) / 4, ndcg=(1 + 1 / np.log2(5)) / 4, targets=4
    )
    assert measured.as_metrics() == pytest.approx(
        {"recall@20": 0.5, "mrr@20": 0.3125, "ndcg@20": 0.35767}, abs=1e-5
    )


@pytest.mark.parametrize("k", [1, 20])
def test_no_targets(k: int) -> None:
    assert accuracy(np.array([], dtype=np.int64), k) == Accuracy(k, 0.0, 0.0, 0.0, 0)


def test_ties_for_the_method_as_others_count_them() -> None:
    scores = np.array([[3, 2, 2], [3, 2, 2], [3, 2, 2], [-np.inf] * 3, [-np.inf] * 3], dtype=np.float32)
    rows = np.array([[5, 6, 7], [5, 6, 7], [5, 6, 7], [-1] * 3, [-1] * 3])
    targets = np.array([7, 5, 9, 5, -1])
    # Not listed is a miss, unless nothing is listed at all; an unknown target is always one.
    assert ranks_for_us(scores, rows, targets).tolist() == [2, 1, NOT_FOUND, 1, NOT_FOUND]
    assert ranks_against_us(scores, rows, targets).tolist() == [3, 1, NOT_FOUND, NOT_FOUND, NOT_FOUND]
