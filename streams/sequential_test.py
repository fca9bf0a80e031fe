"""How sure a difference of two means is, by a test that may be looked at after every click.

Whoever looks again and again at an ordinary confidence interval, and stops when it leaves out zero, is wrong
far more often than it says. The interval here covers the true difference at all times at once with
probability 1 − α: it is the confidence sequence of the sequential probability ratio test with a normal
mixture (Robbins 1970; Johari, Pekelis, Walsh 2017, "Always valid inference"). With θ the difference of the
means and V its variance, the likelihood ratio of "θ drawn from N(0, τ²)" against "θ is zero" is

    Λ = √(V / (V + τ²)) · exp(τ² θ² / (2 V (V + τ²)))

which by Ville's inequality ever passes 1/α with probability α at most if there is no difference. Solved
for θ, the interval reaches, to both sides of the difference that was found,

    √(V (V + τ²) / τ² · 2 ln(√((V + τ²) / V) / α))

Means of hits and of reciprocal ranks are normal only in the limit, and V is estimated; with the first look
after some clicks, asymptotically it holds all the same (Bibaut, Kallus, Lindon 2022, arXiv 2212.14411).
`tests/streams/test_sequential_test.py` counts false alarms and the clicks that a drop takes to be seen.
"""

from dataclasses import dataclass
from math import log, sqrt
from typing import Final

import msgspec

TYPICAL_DIFFERENCE: Final = 0.1
"""τ: differences of about this size are found soonest."""


class Sums(msgspec.Struct, frozen=True):
    """What is known of some numbers from 0 to 1: how many, their sum, the sum of their squares."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def mean(self) -> float:
        """Their mean, 0 of none."""
        return self.total / self.n if self.n else 0.0


@dataclass(frozen=True, slots=True)
class Difference:
    """The first mean less the second, and between what it lies with probability 1 − α whenever one looks."""

    found: float
    low: float
    high: float


def difference(
    first: Sums,
    second: Sums,
    *,
    alpha: float,
    clustering: float = 1.0,
    typical: float = TYPICAL_DIFFERENCE,
) -> Difference:
    """Compare two means; of numbers that come in groups, which resemble each other, less is learnt.

    ``clustering`` is by how much that makes the variance of the mean larger than that of numbers drawn one by
    one (the design effect). Without numbers on one side nothing is known: the interval is −1 to 1.
    """
    found = first.mean - second.mean
    if not first.n or not second.n:
        return Difference(found, -1.0, 1.0)
    # Pooled, with a 0 and a 1 more: a side that had no hit yet must not look as if it could have none.
    n, total = first.n + second.n + 2, first.total + second.total + 1
    variance_of_one = max(0.0, (first.squares + second.squares + 1) / n - (total / n) ** 2)
    variance = clustering * variance_of_one * (1 / first.n + 1 / second.n)
    both = variance + typical**2
    reach = sqrt(variance * both / typical**2 * 2 * log(sqrt(both / variance) / alpha))
    return Difference(found, max(-1.0, found - reach), min(1.0, found + reach))
