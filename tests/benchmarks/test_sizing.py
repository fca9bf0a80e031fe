from typing import Any

import pytest

from benchmarks.kept import Results
from benchmarks.sizing import Cost, Load, Measured, lines, measured, plan
from streams.errors import NextclickError

FOUND = Measured(
    costs=[Cost(20_000, 10_000, 80, 10, 900), Cost(1_000_000, 5_000, 160, 10, 2_000)],
    record_bytes=500,
    disk_bytes=1_000,
    cache_mb=500,
    click_bytes=100,
    answer_bytes=1_000,
    changelog_records=0.8,
    recovered_per_s=100_000,
    start_s=5,
)


def test_workers_run_at_half_of_what_they_can() -> None:
    assert plan(Load(20_000, items=20_000), FOUND).workers == 4
    assert plan(Load(20_000, items=20_001), FOUND).workers == 8  # the next larger catalogue's figure
    assert plan(Load(1, items=20_000), FOUND).partitions == 8


def test_more_items_than_were_measured_are_not_guessed() -> None:
    with pytest.raises(NextclickError, match="more than were measured"):
        plan(Load(100, items=2_000_000), FOUND)


def test_sessions_are_shared_and_read_again() -> None:
    load = Load(10_000, items=20_000, expiry_hours=1, clicks_per_session=4)
    found = plan(load, FOUND)
    assert load.sessions == 9_000_000
    assert found.workers == 2
    assert found.disk_gb == pytest.approx(4.5 * 1.5)
    assert found.recovery_s == pytest.approx(5 + 45)
    assert found.memory_mb == pytest.approx(900 + 500 + 22.5)


def test_kafka_takes_clicks_answers_and_states_with_their_copies() -> None:
    found = plan(Load(100_000, items=20_000, replication=3), FOUND)
    assert found.produced_mb_s == pytest.approx(10 + 100 + 40)
    assert found.written_mb_s == pytest.approx(450)
    assert found.read_mb_s == pytest.approx(20 + 100)
    assert found.answers_tb == pytest.approx(100 * 86_400 * 3 / 1e6)
    assert found.brokers == 3


def test_a_load_is_a_column() -> None:
    found = lines([Load(1_000, items=20_000), Load(20_000, items=20_000)], FOUND)
    assert found[0] == {"": "items", "1,000 clicks/s": "20,000", "20,000 clicks/s": "20,000"}


def test_figures_come_from_the_newest_results() -> None:
    kept: dict[str, Any] = {"load": {"quiet_at_start": True}}
    case = {"clicks_per_s": 1.0, "cpu_us_per_click": 2.0, "broker_cpu_us_per_click": None, "peak_rss_mb": 900}
    scale = [
        {"items": 100_000, "workers": 1},
        {"items": 20_000, "workers": 1},
        {"items": 20_000, "workers": 2},
    ]
    table = {
        "record_bytes": {"mean": 500},
        "bytes_of_a_click": 100,
        "bytes_of_an_answer": 1_000,
        "changelog_records_per_click": 1.0,
    }
    results: Results = {
        "scale": [kept | {"figures": [case | line for line in scale]}],
        "memory": [
            kept
            | {
                "figures": [
                    table | {"sessions": 1_000, "disk_mb": 1, "peak_rss_mb": 800},
                    table | {"sessions": 10_000, "disk_mb": 8, "peak_rss_mb": 1_300},
                ]
            }
        ],
        "recovery": [
            kept | {"sessions_per_s": 50_000, "figures": [{"start": "no sessions", "ready_s": 4.0}]}
        ],
    }
    found = measured(results)
    assert found is not None
    assert [cost.items for cost in found.costs] == [20_000, 100_000]
    assert found.cache_mb == 500
    assert found.disk_bytes == 800
    assert measured({key: value for key, value in results.items() if key != "memory"}) is None
