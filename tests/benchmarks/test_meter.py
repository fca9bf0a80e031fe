import pytest

from benchmarks.meter import Sample, steady
from benchmarks.running import BenchmarkError

# 100 clicks a second with half a core; nothing happens in the first second.
SAMPLES = [Sample(float(at), max(0, at - 1) * 100, (at * 0.5,), at * 0.1, 0.0) for at in range(12)]


def test_start_and_end_are_left_out() -> None:
    found = steady(SAMPLES)
    assert found.clicks == pytest.approx(850)
    assert found.clicks_per_s == pytest.approx(100)
    assert found.cpu_us[0] == pytest.approx(5_000)
    assert found.broker_cpu_us == pytest.approx(1_000)


def test_more_of_the_start_may_be_left_out() -> None:
    assert steady(SAMPLES, after_clicks=500, last_share=0.2).clicks == pytest.approx(300)


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(BenchmarkError, match="too few"):
        steady(SAMPLES, after_clicks=990)


def test_brokers_elsewhere_have_no_cpu() -> None:
    assert steady(SAMPLES, has_broker=False).as_dict()["broker_cpu_us_per_click"] is None
