"""Intervals and paired tests by resampling sessions (Efron 1979), the same ones for every method.

A session's targets are no independent trials, so whole sessions are drawn, with replacement, as many as there
are; a figure is the ratio of two sums over the drawn ones, so that it always weighs targets alike. Because
every method is looked at on the same draws, the difference of two methods is compared session by session:
what makes a session hard is hard for both and cancels out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.arrays import Int64Array
from model.metrics import Float64Array

N_DRAWS = 2_000
MAX_UNITS = 20_000
"""More sessions than this are first put together at random in so many groups, which are drawn instead: the
intervals stay the same but for a hundredth of their width, and the cost stops growing."""
LEVEL = 0.95
_DRAWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much one method is better than another on the same sessions.

    Attributes:
        difference: figure of the first less that of the second.
        low, high: ends of the 95 % interval of the difference.
        p: two-sided, for there being no difference; 2 / (draws + 1) at least.
    """

    difference: float
    low: float
    high: float
    p: float


def draw_means(
    sums: Float64Array, targets: Int64Array, seed: int, n_draws: int = N_DRAWS, max_units: int = MAX_UNITS
) -> Float64Array:
    """Means per target over resampled sessions; (n_draws, n_columns).

    Args:
        sums: of each session, one column for each method and metric; (n_sessions, n_columns)
        targets: of each session; (n_sessions,)
        seed: the same seed gives the same draws.
        n_draws: how often to resample.
        max_units: see `MAX_UNITS`.
    """
    random = np.random.default_rng(seed)
    unit_of = np.arange(len(targets))
    if len(targets) > max_units:
        unit_of = random.integers(max_units, size=len(targets))
    n_groups = min(len(targets), max_units)
    columns = (targets.astype(np.float64), *sums.T)
    units = np.column_stack([np.bincount(unit_of, column, n_groups) for column in columns])
    units = units[units[:, 0] > 0]
    means = np.zeros((n_draws, sums.shape[1]))
    n_units = len(units)
    for begin in range(0, n_draws if n_units else 0, _DRAWS_AT_ONCE):
        n = min(_DRAWS_AT_ONCE, n_draws - begin)
        drawn = random.integers(n_units, size=(n, n_units)) + np.arange(n)[:, None] * n_units
        times = np.bincount(drawn.ravel(), minlength=n * n_units).reshape(n, n_units)
        totals = times.astype(np.float64) @ units
        means[begin : begin + n] = totals[:, 1:] / np.maximum(totals[:, :1], 1.0)
    return means


def interval(draws: Float64Array) -> tuple[float, float]:
    """The 95 % percentile interval of a figure; draws (n_draws,)."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def compare(first: Float64Array, second: Float64Array, difference: float) -> Comparison:
    """Test two methods on the same draws.

    Args:
        first, second: a figure of each; (n_draws,)
        difference: of the figures themselves, over all sessions.
    """
    apart = first - second
    beyond = min(int((apart <= 0).sum()), int((apart >= 0).sum()))
    return Comparison(difference, *interval(apart), min(2 * (beyond + 1) / (len(apart) + 1), 1.0))
