"""Losses against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import exp, log

import numpy as np
import pytest
import torch

from model.losses import bpr, bpr_max, cross_entropy, log_q_corrected, top1, top1_max

SCORES = torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, log(2.0)]])
TARGETS = torch.tensor([0, 2])

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_cross_entropy() -> None:
    first = -log(exp(2) / (exp(2) + exp(1) + 1))
    second = -log(2 / 4)
    assert cross_entropy(SCORES, TARGETS).item() == pytest.approx((first + second) / 2)


def test_label_smoothing_spreads_a_share_over_all() -> None:
    log_total = log(1 + 1 + 2)
    plain, uniform = log_total - log(2), log_total - log(2) / 3
    smoothed = cross_entropy(SCORES[1:], TARGETS[1:], label_smoothing=0.1).item()
    assert smoothed == pytest.approx(0.9 * plain + 0.1 * uniform)


def test_bpr() -> None:
    first = -(log(sigmoid(2 - 1)) + log(sigmoid(2 - 0))) / 2
    second = -log(sigmoid(log(2)))  # both negatives alike
    assert bpr(SCORES, TARGETS).item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_top1() -> None:
    # The negatives' scores are neither 0 nor 1, whose squares would say nothing.
    scores = torch.tensor([[2.0, 1.5, -0.5], [0.5, 0.5, 2.0]])
    first = (sigmoid(1.5 - 2) + sigmoid(1.5**2) + sigmoid(-0.5 - 2) + sigmoid(0.5**2)) / 2
    second = sigmoid(0.5 - 2) + sigmoid(0.5**2)
    assert top1(scores, TARGETS).item() == pytest.approx((first + second) / 2, rel=1e-5)


def test_top1_max() -> None:
    scores = torch.tensor([[2.0, 1.5, -0.5]])
    weights = [exp(1.5) / (exp(1.5) + exp(-0.5)), exp(-0.5) / (exp(1.5) + exp(-0.5))]
    terms = [sigmoid(1.5 - 2) + sigmoid(1.5**2), sigmoid(-0.5 - 2) + sigmoid(0.5**2)]
    expected = weights[0] * terms[0] + weights[1] * terms[1]
    assert top1_max(scores, TARGETS[:1]).item() == pytest.approx(expected, rel=1e-5)


def test_bpr_max() -> None:
    scores = torch.tensor([[2.0, 1.5, -0.5]])
    weights = [exp(1.5) / (exp(1.5) + exp(-0.5)), exp(-0.5) / (exp(1.5) + exp(-0.5))]
    inner = weights[0] * sigmoid(2 - 1.5) + weights[1] * sigmoid(2 + 0.5)
    penalty = weights[0] * 1.5**2 + weights[1] * 0.5**2
    assert bpr_max(scores, TARGETS[:1], 1.95).item() == pytest.approx(-log(inner) + 1.95 * penalty, rel=1e-5)


def test_log_q_lowers_what_was_drawn_often() -> None:
    log_q = torch.log(torch.tensor([0.5, 0.25, 0.125]))
    corrected = log_q_corrected(torch.zeros(1, 3), log_q, torch.tensor([[0]]))
    np.testing.assert_allclose(corrected, [[0.0, log(4), log(8)]], rtol=1e-5)
    halved = log_q_corrected(torch.zeros(1, 3), log_q, torch.tensor([[0]]), strength=0.5)
    np.testing.assert_allclose(halved, [[0.0, log(4) / 2, log(8) / 2]], rtol=1e-5)


def test_corrected_sample_estimates_the_full_softmax() -> None:
    """Averaged over many draws, the corrected denominator is that of all items."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, generator=generator)
    odds = torch.rand(200, generator=generator) * 0.5 + 0.1
    odds[0] = 1.0  # the target is a candidate in any case
    totals = []
    for _ in range(4_000):
        drawn = (torch.rand(200, generator=generator) < odds).nonzero().squeeze(1)
        corrected = log_q_corrected(scores[drawn][None], odds[drawn].log(), torch.tensor([[0]]))
        totals.append(corrected.exp().sum().item())
    assert np.mean(totals) == pytest.approx(scores.exp().sum().item(), rel=0.01)


LOSSES = {
    "cross-entropy": cross_entropy,
    "smoothed": lambda scores, targets: cross_entropy(scores, targets, 0.1),
    "bpr": bpr,
    "bpr-max": lambda scores, targets: bpr_max(scores, targets, 1.95),
    "top1": top1,
    "top1-max": top1_max,
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name: str) -> None:
    scores = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2
    targets = torch.tensor([0, 5, 2, 2])
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, targets), scores.requires_grad_())


def test_gradients_of_the_correction() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(2, 5, dtype=torch.float64, generator=generator).requires_grad_()
    log_q = torch.rand(5, dtype=torch.float64, generator=generator).log()
    certain, targets = torch.tensor([[0, 1], [2, 2]]), torch.tensor([0, 2])
    assert torch.autograd.gradcheck(
        lambda x: cross_entropy(log_q_corrected(x, log_q, certain), targets), scores
    )


@pytest.mark.parametrize("name", LOSSES)
def test_a_target_that_scores_higher_loses_less(name: str) -> None:
    low, high = torch.tensor([[0.5, 1.0, -1.0]]), torch.tensor([[1.5, 1.0, -1.0]])
    target = torch.tensor([0])
    assert LOSSES[name](high, target) < LOSSES[name](low, target)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_extreme_scores_stay_finite(name: str, extreme: float) -> None:
    scores = torch.tensor([[extreme, 0.0, 1.0]], requires_grad=True)
    loss = LOSSES[name](scores, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(loss, scores)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    "loss",
    [cross_entropy, bpr, top1, partial(bpr_max, regularization=0.5), top1_max],
    ids=["cross-entropy", "bpr", "top1", "bpr-max", "top1-max"],
)
def test_without_a_negative_there_is_nothing_to_learn(loss: Loss) -> None:
    scores = torch.tensor([[2.0], [-3.0]], requires_grad=True)
    found = loss(scores, torch.tensor([0, 0]))
    (gradient,) = torch.autograd.grad(found, scores)
    assert found.item() == 0.0
    assert not gradient.any()
