"""Which clicks a swap delays, and by how much."""

import numpy as np
import pytest

from benchmarks.exchange import WARM_UP_S
from benchmarks.running import BenchmarkError
from benchmarks.swap import REBUILDING_S, Swaps, summary


def test_a_delay_is_the_longest_wait_over_the_usual_one() -> None:
    due_s = np.arange(0.0, 40.0, 0.1)
    waited = np.full(len(due_s), 4.0)
    waited[due_s < WARM_UP_S] = 900.0  # left out
    waited[np.searchsorted(due_s, 10.0)] = 9.0  # calm
    waited[np.searchsorted(due_s, 20.5)] = 34.0  # while it loads
    waited[np.searchsorted(due_s, 31.5)] = 54.0  # while sessions are rebuilt
    waited[np.searchsorted(due_s, 31.0 + REBUILDING_S + 1)] = 500.0  # no swap's
    found = summary(due_s, waited, Swaps([20.0, 30.0], [21.0, 31.0]))
    assert found["delays_ms"] == [30.0, 50.0]
    assert (found["calm_p50"], found["calm_delay"], found["swap_delay_max"]) == (4.0, 5.0, 50.0)
    assert found["load_s"] == 1.0


def test_clicks_that_end_before_the_swaps_do() -> None:
    due_s = np.arange(0.0, 20.0, 0.1)
    with pytest.raises(BenchmarkError, match="ended before"):
        summary(due_s, np.ones(len(due_s)), Swaps([10.0, 30.0], [11.0, 31.0]))
