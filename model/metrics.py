"""Recall@k, MRR@k and NDCG@k over the full catalogue, ties against the model.

The rank of a target is the number of items that score as high or higher, itself included. A model that
gives everything one score is therefore wrong everywhere, not right by luck.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from model.arrays import BoolArray, Float32Array, Int64Array

NOT_FOUND = np.iinfo(np.int64).max
"""The rank of a target that is not among the answers."""
METRICS = ("recall", "mrr", "ndcg")
"""In the order in which `gains` has them."""

Float64Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well next items were foretold.

    Attributes:
        k: length of the answers that count.
        recall: share of targets among the best k.
        mrr: mean of 1 / rank, 0 beyond k.
        ndcg: mean of 1 / log2(rank + 1), 0 beyond k.
        targets: how many there were.
    """

    k: int
    recall: float
    mrr: float
    ndcg: float
    targets: int

    @classmethod
    def of_sums(cls, sums: Float64Array, n_targets: int, k: int) -> Accuracy:
        """From the `gains` of all targets together; all 0 where there is no target."""
        recall, mrr, ndcg = (float(gain) for gain in sums / max(n_targets, 1))
        return cls(k, recall, mrr, ndcg, n_targets)

    def as_metrics(self) -> dict[str, float]:
        """Under their usual names: recall@20, mrr@20, ndcg@20."""
        return {f"{name}@{self.k}": getattr(self, name) for name in METRICS}


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


def gains(ranks: Int64Array, k: int) -> Float64Array:
    """What each target adds to the sums that Recall@k, MRR@k and NDCG@k are means of; (n, 3).

    With one target there is one relevant item, whose ideal place is the first: the gain 1 / log2(rank + 1)
    is NDCG without any division.
    """
    hit = ranks <= k
    place = np.where(hit, ranks, 1).astype(np.float64)
    return np.column_stack([hit, hit / place, hit / np.log2(place + 1.0)]).astype(np.float64)


def accuracy(ranks: Int64Array, k: int) -> Accuracy:
    """Recall@k, MRR@k and NDCG@k of ranks that begin with 1."""
    return Accuracy.of_sums(gains(ranks, k).sum(axis=0), len(ranks), k)
