"""What the benchmarks make of their runs: medians, better forms, ratios."""

from typing import Any

import pytest

from benchmarks import recovery, scale, stream


def a_contest(what: str, name: str, *rates: float) -> list[dict[str, Any]]:
    figures = {"cpu_us_per_click": 100.0, "broker_cpu_us_per_click": 10.0, "rss_mb": 100}
    return [{"what": what, "name": name, "clicks_per_s": rate} | figures for rate in rates]


def test_the_better_form_of_a_peer_counts() -> None:
    found = stream.summary(
        a_contest("forward", "forward, linger 0 ms", 100, 110, 120)
        + a_contest("forward", "forward, linger 5 ms", 200, 190, 210)
        + a_contest("naive", "naive, linger 0 ms", 50, 50, 50)
        + a_contest("worker", "worker", 300, 380, 420)
    )
    assert found["figures"]["forward"]["form"] == "forward, linger 5 ms"
    assert found["ratios"] == {"worker/forward": 1.9, "worker/naive": 7.6, "naive/forward": 0.25}
    assert found["ratios_by_round"]["worker/forward"] == [1.5, 2.0, 2.0]
    assert found["counts"]


def test_a_run_with_a_slow_naive_app_does_not_count() -> None:
    found = stream.summary(a_contest("forward", "f", 1000) + a_contest("naive", "n", 180))
    assert not found["counts"]


def test_recovery_is_what_a_start_takes_longer() -> None:
    seconds = {recovery.EMPTY: 4.0, recovery.LOST: 14.0, recovery.STOPPED: 5.0, recovery.KILLED: 6.0}
    runs = [{"start": start, "ready_s": s, "worker_cpu_s": s} for start, s in seconds.items()]
    found = recovery.summary(runs, 1_000_000)
    assert found["sessions_per_s"] == 100_000
    assert found["sessions_per_s_with_start_up"] == 71_429


def test_size_is_told_by_rates_and_workers_by_cpu() -> None:
    def case(n_items: int, n_workers: int, rate: float, cpu: float) -> list[dict[str, Any]]:
        figures = {"clicks_per_s": rate, "cpu_us_per_click": cpu, "broker_cpu_us_per_click": None}
        return [{"items": n_items, "index": "hnsw", "workers": n_workers, "peak_rss_mb": 900} | figures] * 3

    runs = case(20_000, 1, 10_000, 80) + case(1_000_000, 1, 6_000, 150) + case(20_000, 2, 12_000, 88)
    found = scale.summary(runs)["ratios"]
    assert found[f"clicks_per_s, {scale.MILLION}/{scale.SMALL} items"] == pytest.approx(0.6)
    assert found["cpu_us_per_click, 2/1 workers"] == pytest.approx(1.1)
