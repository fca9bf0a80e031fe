"""What training minimises: pure functions of scores and targets.

Scores are plain (no softmax has been applied to them); targets are columns of the scores, and every other
column is a negative. Each returns the mean over its rows, and 0 where there is no negative. r_i is a target's
score, r_j a negative's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(scores: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """−log softmax(scores)[target]; scores (n, m), targets (n,).

    Of the label, a share `label_smoothing` is spread over all columns.
    """
    return F.cross_entropy(scores, targets, label_smoothing=label_smoothing)


def log_q_corrected(scores: Tensor, log_q: Tensor, certain: Tensor, strength: float = 1.0) -> Tensor:
    """Scores less strength · log q, so that sampled columns stand for all they were drawn from.

    Args:
        scores: (n, m)
        log_q: log of the odds that a column is among the candidates; (m,)
        certain: per row the columns that are there in any case (its target, its own session's items)
            and stand for themselves only; (n, s), may repeat
        strength: 1 for the full correction, 0 for none.
    """
    correction = (log_q * -strength).expand(len(scores), -1).clone()
    correction.scatter_(1, certain, 0.0)
    return scores + correction


def bpr(scores: Tensor, targets: Tensor) -> Tensor:
    """−mean_j log σ(r_i − r_j) over the negatives j (Rendle et al. 2009); scores (n, m), targets (n,)."""
    target_scores, is_target = _split(scores, targets)
    return -_mean_over_negatives(F.logsigmoid(target_scores - scores), is_target).mean()


def top1(scores: Tensor, targets: Tensor) -> Tensor:
    """mean_j [σ(r_j − r_i) + σ(r_j²)] over the negatives j (Hidasi et al. 2016); scores (n, m), targets (n,).

    The second term keeps the scores of negatives near zero.
    """
    target_scores, is_target = _split(scores, targets)
    return _mean_over_negatives(_top1_terms(scores, target_scores), is_target).mean()


def bpr_max(scores: Tensor, targets: Tensor, regularization: float) -> Tensor:
    """−log Σ_j s_j σ(r_i − r_j) + λ Σ_j s_j r_j², s = softmax over the negatives only.

    Hidasi & Karatzoglou 2018. Scores (n, m), targets (n,); every column but the target is a negative.
    Computed with logarithms throughout, so that no log(0) can occur.
    """
    if scores.shape[1] == 1:
        return _nothing_to_learn(scores)
    target_scores, is_target = _split(scores, targets)
    log_weights = _log_weights(scores, is_target)
    preferred = torch.logsumexp(log_weights + F.logsigmoid(target_scores - scores), dim=1)
    penalty = (log_weights.exp() * scores.square()).sum(dim=1)
    return (regularization * penalty - preferred).mean()


def top1_max(scores: Tensor, targets: Tensor) -> Tensor:
    """Σ_j s_j [σ(r_j − r_i) + σ(r_j²)], s = softmax over the negatives only (Hidasi & Karatzoglou 2018)."""
    if scores.shape[1] == 1:
        return _nothing_to_learn(scores)
    target_scores, is_target = _split(scores, targets)
    weights = _log_weights(scores, is_target).exp()
    return (weights * _top1_terms(scores, target_scores)).sum(dim=1).mean()


def _nothing_to_learn(scores: Tensor) -> Tensor:
    """A loss of 0 with a gradient of 0: weights over no negatives would be no numbers."""
    return (scores * 0.0).sum()


def _split(scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The targets' scores (n, 1), and where they stand among the scores (n, m)."""
    column = targets.unsqueeze(1)
    is_target = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, column, True)
    return scores.gather(1, column), is_target


def _log_weights(scores: Tensor, is_target: Tensor) -> Tensor:
    """Logarithm of the softmax over the negatives, −∞ at the target; (n, m)."""
    return F.log_softmax(scores.masked_fill(is_target, float("-inf")), dim=1)


def _top1_terms(scores: Tensor, target_scores: Tensor) -> Tensor:
    return torch.sigmoid(scores - target_scores) + torch.sigmoid(scores.square())


def _mean_over_negatives(terms: Tensor, is_target: Tensor) -> Tensor:
    return terms.masked_fill(is_target, 0.0).sum(dim=1) / max(terms.shape[1] - 1, 1)
