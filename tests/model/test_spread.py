from __future__ import annotations

import numpy as np
import pytest

from model.spread import coverage, popularity_bias


def test_coverage_is_the_share_that_was_ever_listed() -> None:
    assert coverage(np.array([9, 0, 1, 0])) == 0.5
    assert coverage(np.array([], dtype=np.int64)) == 0.0


def test_popularity_bias_by_hand() -> None:
    popularity = np.array([6, 2, 1])
    clicked = np.array([1, 1, 1])  # 3 on average
    assert popularity_bias(np.array([5, 0, 0]), clicked, popularity) == 2.0
    assert popularity_bias(clicked * 7, clicked, popularity) == 1.0
    assert popularity_bias(np.array([0, 0, 2]), clicked, popularity) == pytest.approx(1 / 3)
    assert popularity_bias(np.array([0, 0, 2]), np.zeros(3, dtype=np.int64), popularity) == 0.0
