"""Intervals and tests against what theory says of samples that are simple enough."""

from __future__ import annotations

import numpy as np
import pytest

from model.bootstrap import compare, draw_means, interval
from model.metrics import Float64Array

CHANCE = np.random.default_rng(5)


def width(sums: Float64Array, targets: int = 1, **arguments: int) -> float:
    low, high = interval(draw_means(sums[:, None], np.full(len(sums), targets), 1, **arguments)[:, 0])
    return high - low


def test_the_interval_of_a_share_is_that_of_the_normal_law() -> None:
    hits = (CHANCE.random(2_000) < 0.3).astype(np.float64)
    share = hits.mean()
    assert width(hits) == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 2_000), rel=0.06)


def test_targets_of_one_session_are_one_trial() -> None:
    hits = (CHANCE.random(200) < 0.3).astype(np.float64)
    # Ten targets that are all hit or all missed tell as much as one.
    assert width(hits * 10, targets=10) == pytest.approx(width(hits), rel=1e-9)


def test_means_weigh_targets_and_not_sessions() -> None:
    draws = draw_means(np.array([[9.0], [0.0]]), np.array([9, 1]), seed=0)
    assert set(np.round(draws[:, 0], 6).tolist()) == {0.0, 0.9, 1.0}


def test_putting_many_sessions_together_keeps_the_interval() -> None:
    hits = (CHANCE.random(8_000) < 0.3).astype(np.float64)
    assert width(hits, max_units=1_000) == pytest.approx(width(hits), rel=0.1)


def test_the_seed_decides() -> None:
    sums, targets = CHANCE.random((50, 2)), np.ones(50, dtype=np.int64)
    np.testing.assert_array_equal(draw_means(sums, targets, 7, 100), draw_means(sums, targets, 7, 100))
    assert not np.array_equal(draw_means(sums, targets, 7, 100), draw_means(sums, targets, 8, 100))


def test_a_pair_is_compared_session_by_session() -> None:
    hard = CHANCE.random(500)
    better = hard + 0.01 + 0.02 * CHANCE.standard_normal(500)
    draws = draw_means(np.column_stack([better, hard]), np.ones(500, dtype=np.int64), seed=3)
    ends = [interval(draws[:, i]) for i in range(2)]
    assert ends[0][0] < ends[1][1]  # each by itself is much less sure than the difference
    found = compare(draws[:, 0], draws[:, 1], float((better - hard).mean()))
    assert 0 < found.low < found.difference < found.high < 0.02
    assert found.p == pytest.approx(2 / 2_001)


def test_no_difference_is_not_found() -> None:
    draws = draw_means(CHANCE.random((100, 1)), np.ones(100, dtype=np.int64), seed=3)[:, 0]
    same = compare(draws, draws, 0.0)
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_chance_alone_is_seldom_called_a_difference() -> None:
    found = 0
    for _ in range(60):
        sums = CHANCE.random((100, 2))
        draws = draw_means(sums, np.ones(100, dtype=np.int64), seed=0, n_draws=400)
        found += compare(draws[:, 0], draws[:, 1], 0.0).p < 0.05
    assert found <= 8


def test_nothing_to_resample() -> None:
    assert (
        draw_means(np.zeros((3, 2)), np.zeros(3, dtype=np.int64), seed=0, n_draws=5).tolist() == [[0, 0]] * 5
    )
