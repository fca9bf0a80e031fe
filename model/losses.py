"""What training minimises: pure functions of scores and targets.

Scores are plain (no softmax has been applied to them); targets are columns of the scores. Each returns
the mean over its rows.
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


def bpr_max(scores: Tensor, targets: Tensor, regularization: float) -> Tensor:
    """−log Σ_j s_j σ(r_i − r_j) + λ Σ_j s_j r_j², s = softmax over the negatives only.

    Hidasi & Karatzoglou 2018. Scores (n, m), targets (n,); every column but the target is a negative.
    Computed with logarithms throughout, so that no log(0) can occur.
    """
    target_scores = scores.gather(1, targets.unsqueeze(1))  # (n, 1)
    is_target = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, targets.unsqueeze(1), True)
    log_weights = F.log_softmax(scores.masked_fill(is_target, float("-inf")), dim=1)
    preferred = torch.logsumexp(log_weights + F.logsigmoid(target_scores - scores), dim=1)
    penalty = (log_weights.exp() * scores.square()).sum(dim=1)
    return (regularization * penalty - preferred).mean()
