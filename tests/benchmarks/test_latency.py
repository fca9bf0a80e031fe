from typing import Any

import numpy as np
import pytest

from benchmarks.exchange import latencies_ms
from benchmarks.latency import forward
from benchmarks.running import BenchmarkError

# Clicks due at 0, 1, 2 and 3 s; the second was sent late, and counts from when it was due.
SENT = {
    "partition": np.array([0, 1, 0, 1]),
    "offset": np.array([7, 7, 8, 8]),
    "due": np.array([10.0, 11.0, 12.0, 13.0]),
    "sent": np.array([10.0, 11.5, 12.0, 13.0]),
}


def answers(*rows: tuple[int, int, float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


def test_latency_is_from_the_moment_a_click_was_due() -> None:
    found = latencies_ms(SENT, answers((0, 7, 10.1), (1, 7, 11.6), (0, 8, 12.001), (1, 8, 13.002)), 0.5)
    assert found["clicks"] == 3  # the first is warm-up
    assert found["max"] == 600.0
    assert found["p50"] == 2.0
    assert found["sent_late_p99"] == pytest.approx(490.0)


def test_the_first_of_two_answers_counts() -> None:
    rows = ((0, 7, 10.001), (1, 7, 11.001), (0, 8, 12.001), (1, 8, 13.001), (1, 8, 99.0))
    assert latencies_ms(SENT, answers(*rows), 0.0)["max"] == 1.0


def test_a_click_without_an_answer_ends_the_benchmark() -> None:
    with pytest.raises(BenchmarkError, match="1 of 4 clicks have no answer"):
        latencies_ms(SENT, answers((0, 7, 10.1), (1, 7, 11.6), (0, 8, 12.001)), 0.0)


def test_the_forwarding_agent_stands_beside_in_its_better_form() -> None:
    def a_line(what: str, p99: float, rate: float = 1_000) -> dict[str, Any]:
        return {"what": what, "rate": rate, "p99": p99}

    lines = [a_line("forward, linger 0 ms", p99) for p99 in (20.0, 30.0, 300.0)]
    lines += [a_line("forward, linger 5 ms", 40.0), a_line("worker", 1.0), a_line("forward", 2.0, rate=200)]
    assert forward(lines, "p99") == 30.0
    assert forward([a_line("worker", 1.0)], "p99") is None
