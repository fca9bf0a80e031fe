"""The test that may be looked at any time: its formula, its false alarms, and how soon it sees a drop."""

from math import log, sqrt
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from streams.sequential_test import Difference, Sums, difference

ALPHA: Final = 0.05
RUNS: Final = 400
CANARY_CLICKS: Final = 10  # between two looks
OTHER_CLICKS: Final = 90
FIRST_LOOK: Final = 50  # after so many of the canary's clicks


def hits(n: int, total: int) -> Sums:
    return Sums(n, total, total)


def test_sums_add_up() -> None:
    assert Sums(2, 1.5, 1.25) + Sums(1, 0.5, 0.25) == Sums(3, 2.0, 1.5)
    assert (Sums(4, 1.0, 0.5).mean, Sums().mean) == (0.25, 0.0)


def test_the_interval_is_the_formulas() -> None:
    """99 of 198 on either side and the 0 and 1 more: a variance of exactly a quarter."""
    found = difference(hits(198, 99), hits(198, 99), alpha=0.01, typical=0.1)
    variance = 0.25 * 2 / 198
    reach = sqrt(variance * (variance + 0.01) / 0.01 * 2 * log(sqrt((variance + 0.01) / variance) / 0.01))
    assert (found.found, found.low, found.high) == pytest.approx((0.0, -reach, reach))
    wider = difference(hits(198, 99), hits(198, 99), alpha=0.01, typical=0.1, clustering=2.0)
    assert wider.high > 1.3 * found.high


def test_nothing_is_known_of_a_side_without_clicks() -> None:
    assert difference(hits(100, 50), Sums(), alpha=ALPHA) == Difference(0.5, -1.0, 1.0)
    assert difference(Sums(), hits(100, 50), alpha=ALPHA) == Difference(-0.5, -1.0, 1.0)


def test_no_hit_at_all_is_no_proof() -> None:
    few = difference(hits(5, 0), hits(50, 25), alpha=ALPHA)
    assert few.low < -0.5 < 0 < few.high
    none = difference(hits(1000, 0), hits(1000, 0), alpha=ALPHA)
    assert none.low < 0 < none.high < 0.02


def draw(runs: int, looks: int, rate: float, clicks_per_look: int, seed: int) -> NDArray[np.int64]:
    """Hits up to each look; (runs, looks)"""
    random = np.random.default_rng(seed)
    return random.binomial(clicks_per_look, rate, (runs, looks)).cumsum(axis=1)


def first_seen_worse(
    canary: NDArray[np.int64], production: NDArray[np.int64], clustering: float = 1.0
) -> NDArray[np.int64]:
    """After how many of its clicks the canary is found to be worse, -1 for never; looked at every tenth."""
    seen = np.full(len(canary), -1)
    for run in range(len(canary)):
        for look in range(FIRST_LOOK // CANARY_CLICKS - 1, canary.shape[1]):
            first = hits(CANARY_CLICKS * (look + 1), int(canary[run, look]))
            second = hits(OTHER_CLICKS * (look + 1), int(production[run, look]))
            if difference(first, second, alpha=ALPHA, clustering=clustering).high < 0:
                seen[run] = first.n
                break
    return seen


@pytest.mark.parametrize("rate", [0.03, 0.4])
def test_false_alarms_stay_below_what_is_promised(rate: float) -> None:
    canary, production = (
        draw(RUNS, 100, rate, n, seed) for n, seed in ((CANARY_CLICKS, 1), (OTHER_CLICKS, 2))
    )
    alarms = (first_seen_worse(canary, production) >= 0).mean()
    assert alarms <= ALPHA / 2 + 0.01  # half of the errors are to the other side


def test_an_ordinary_interval_would_raise_many_more() -> None:
    """What the test is for: looks of the same kind with 1.96 standard errors."""
    counts = CANARY_CLICKS * np.arange(1, 101)
    means = draw(RUNS, 100, 0.4, CANARY_CLICKS, 1) / counts
    ever = (means - 0.4 < -1.96 * np.sqrt(0.4 * 0.6 / counts))[:, FIRST_LOOK // CANARY_CLICKS - 1 :]
    assert ever.any(axis=1).mean() > 3 * ALPHA / 2


def test_clicks_that_come_in_sessions_raise_no_more_alarms_once_that_is_told() -> None:
    """Sessions of five clicks, each click its session's with odds of a half: a design effect of 2."""

    def draw_sessions(sessions_per_look: int, seed: int) -> NDArray[np.int64]:
        random = np.random.default_rng(seed)
        shape = (RUNS, 100, sessions_per_look, 5)
        as_the_session = random.random(shape) < 0.5
        session, click = random.random((*shape[:3], 1)) < 0.4, random.random(shape) < 0.4
        found: NDArray[np.int64] = np.where(as_the_session, session, click).sum(axis=(2, 3)).cumsum(axis=1)
        return found

    canary, production = draw_sessions(CANARY_CLICKS // 5, 5), draw_sessions(OTHER_CLICKS // 5, 6)
    alarms = (first_seen_worse(canary, production, clustering=2.0) >= 0).mean()
    assert alarms <= ALPHA / 2 + 0.01
    assert (first_seen_worse(canary, production) >= 0).mean() > alarms


def test_a_broken_model_is_seen_within_a_hundred_clicks() -> None:
    seen = first_seen_worse(draw(RUNS, 20, 0.05, CANARY_CLICKS, 3), draw(RUNS, 20, 0.4, OTHER_CLICKS, 4))
    assert (seen > 0).all()
    assert np.quantile(seen, 0.95) <= 100


def test_a_loss_of_a_tenth_is_seen_within_some_thousand_clicks() -> None:
    seen = first_seen_worse(draw(60, 1_200, 0.36, CANARY_CLICKS, 5), draw(60, 1_200, 0.4, OTHER_CLICKS, 6))
    assert (seen > 0).mean() > 0.9
    assert np.median(seen) < 6_000
