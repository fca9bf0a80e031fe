"""Recall@k and MRR@k over the full catalogue, ties against the model.

The rank of a target is the number of items that score as high or higher, itself included. A model that
gives everything one score is therefore wrong everywhere, not right by luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.arrays import BoolArray, Float32Array, Int64Array

NOT_FOUND = np.iinfo(np.int64).max
"""The rank of a target that is not among the answers."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well next items were foretold.

    Attributes:
        k: length of the answers that count.
        recall: share of targets among the best k.
        mrr: mean of 1 / rank, 0 beyond k.
        targets: how many there were.
    """

    k: int
    recall: float
    mrr: float
    targets: int

    def as_metrics(self) -> dict[str, float]:
        """Under their usual names: recall@20, mrr@20."""
        return {f"recall@{self.k}": self.recall, f"mrr@{self.k}": self.mrr}


def ranks_against_us(scores: Float32Array, rows: Int64Array, targets: Int64Array) -> Int64Array:
    """Rank of each target among its answers: the number of listed items that score as high or higher.

    A tie that may go on past the end of the list counts only as far as the list goes, so ask for
    more answers than the k that is measured.

    Args:
        scores: (n, m), -inf where an answer is left out
        rows: (n, m)
        targets: (n,)
    """
    target_scores, found = _target_scores(scores, rows, targets)
    ranks: Int64Array = (scores >= target_scores[:, None]).sum(axis=1, dtype=np.int64)
    return np.where(found, ranks, NOT_FOUND)


def ranks_for_us(scores: Float32Array, rows: Int64Array, targets: Int64Array) -> Int64Array:
    """Rank of each target where ties count for the method: the number of items that score higher, plus 1.

    Many published figures are counted so; it is for comparing with those. They also count a method that
    lists nothing at all as one that ties everywhere, which makes the target the first.
    """
    target_scores, found = _target_scores(scores, rows, targets)
    ranks: Int64Array = (scores > target_scores[:, None]).sum(axis=1, dtype=np.int64) + 1
    lists_nothing = ~np.isfinite(scores).any(axis=1) & (targets >= 0)
    return np.where(found | lists_nothing, ranks, NOT_FOUND)


def _target_scores(
    scores: Float32Array, rows: Int64Array, targets: Int64Array
) -> tuple[Float32Array, BoolArray]:
    """The score of each target among its answers, -inf and False where it is not there; (n,) each."""
    is_target = (rows == targets[:, None]) & np.isfinite(scores) & (rows >= 0)
    target_scores: Float32Array = np.where(is_target, scores, -np.inf).max(axis=1, initial=-np.inf)
    return target_scores, is_target.any(axis=1)


def accuracy(ranks: Int64Array, k: int) -> Accuracy:
    """Recall@k and MRR@k of ranks that begin with 1."""
    hits = ranks[ranks <= k]
    n_targets = max(len(ranks), 1)
    return Accuracy(k, len(hits) / n_targets, float((1.0 / hits).sum()) / n_targets, len(ranks))
