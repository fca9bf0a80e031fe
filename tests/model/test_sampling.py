from __future__ import annotations

import numpy as np
import pytest
import torch

from model.sampling import CandidateOdds, NegativeSampler


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.0, [1 / 3, 1 / 3, 1 / 3]), (1.0, [0.7, 0.2, 0.1]), (0.5, None)]
)
def test_draws_by_popularity_to_the_power_of_alpha(alpha: float, expected: list[float] | None) -> None:
    sampler = NegativeSampler(np.array([69, 19, 9]), alpha, torch.Generator().manual_seed(0))
    shares = torch.bincount(sampler.draw(40_000), minlength=3) / 40_000
    if expected is None:
        roots = np.sqrt([70, 20, 10])
        expected = (roots / roots.sum()).tolist()
    np.testing.assert_allclose(shares, expected, atol=0.01)


def test_new_items_are_drawn_too() -> None:
    sampler = NegativeSampler(np.array([5, 0, 0]), 0.75, torch.Generator().manual_seed(0))
    assert set(sampler.draw(1_000).tolist()) == {0, 1, 2}


def test_odds_are_how_often_a_row_is_there() -> None:
    counts = np.array([60, 30, 9, 1])
    generator = torch.Generator().manual_seed(0)
    sampler = NegativeSampler(counts, 0.5, generator)
    clicks = NegativeSampler(counts - 1, 1.0, generator)  # draws in proportion to the counts
    seen = np.zeros(4)
    for _ in range(5_000):
        seen[np.unique(np.concatenate([clicks.draw(3).numpy(), sampler.draw(2).numpy()]))] += 1
    odds = CandidateOdds(counts, sampler).log_odds(torch.arange(4), 3, 2).exp()
    np.testing.assert_allclose(seen / 5_000, odds, atol=0.1)  # the formula takes draws as independent
    assert (odds <= 1).all()
