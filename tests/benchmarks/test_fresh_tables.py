"""The tables of fresh items: every figure with what it is compared with."""

from benchmarks.fresh_tables import foretold, live

LINE = {
    "log": "a shop",
    "ranking": "nextclick",
    "targets": 10_000,
    "on_new": 800,
    "recall": 0.7,
    "recall_without": 0.65,
    "mrr": 0.38,
    "mrr_without": 0.36,
    "new_recall": 0.5,
    "new_recall_without": 0.0,
    "new_to_session_recall": 0.3,
    "known_recall": 0.711,
    "known_recall_without": 0.708,
    "fresh_share": 0.05,
}


def test_a_log_stands_with_and_without() -> None:
    one = {
        "benchmark": "fresh",
        "started": "2026-11-23T00:00:00Z",
        "replays": [LINE],
        "machine": {"cpu": "a processor", "cores": 2, "memory_gb": 8},
        "versions": {"kafka": "4", "python": "3.12", "nextclick": "abc"},
        "load": {"quiet_at_start": True},
    }
    lines = list(foretold({"fresh": [one]}))
    assert lines[2] == (
        "| a shop | `nextclick` | 10,000, 800 | 0.650 / 0.360 | 0.700 / 0.380 | 0.500 | 0.300"
        " | 0.708, 0.711 | 5.0% |"
    )
    assert "commits abc" in lines[-1]


def test_without_a_result_there_is_no_figure() -> None:
    assert list(foretold({})) == list(live({})) == ["(nothing measured yet)"]
