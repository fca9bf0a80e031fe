"""Negative samples: items drawn by popularity^alpha, and how often each is to be expected among them.

A batch's own items alone are poor negatives: they collapse the scores of everything rare. Samples
beside them, with the logQ correction for how they came, estimate the softmax over the whole catalogue.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.arrays import Int64Array


class NegativeSampler:
    """Draws rows with probability ∝ (count + 1)^alpha; alpha 0 is uniform, 1 is by popularity."""

    def __init__(self, counts: Int64Array, alpha: float, generator: torch.Generator) -> None:
        weights = (np.asarray(counts, dtype=np.float64) + 1.0) ** alpha  # + 1: new items are drawn too
        self.probabilities = torch.from_numpy(weights / weights.sum())
        self._cumulated = torch.cumsum(self.probabilities, 0)
        self._generator = generator

    def draw(self, n: int) -> Tensor:
        """Draw n rows with replacement; (n,)."""
        points = torch.rand(n, dtype=torch.float64, generator=self._generator) * self._cumulated[-1]
        return torch.searchsorted(self._cumulated, points, right=True).clamp_(max=len(self._cumulated) - 1)


class CandidateOdds:
    """How probably a row is among a batch's candidates: its own clicks and the samples beside them."""

    def __init__(self, counts: Int64Array, sampler: NegativeSampler) -> None:
        clicks = torch.from_numpy(np.maximum(np.asarray(counts, dtype=np.float64), 1e-3))
        self._in_batch = clicks / clicks.sum()
        self._sampled = sampler.probabilities

    def log_odds(self, rows: Tensor, n_clicks: int, n_sampled: int) -> Tensor:
        """log(1 - e^-expected) for rows (m,), of `n_clicks` and `n_sampled` rows drawn; float32 (m,)."""
        expected = n_clicks * self._in_batch[rows] + n_sampled * self._sampled[rows]
        return torch.log(-torch.expm1(-expected)).float()
