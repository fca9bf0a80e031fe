"""What `bench-accuracy` makes of what `nextclick evaluate` says."""

from typing import Any

from benchmarks import accuracy
from benchmarks.learnt import accuracy as table
from benchmarks.learnt import best_of_each


def a_method(recall: float, mrr: float) -> dict[str, Any]:
    pair = {"recall@20": recall, "mrr@20": mrr}
    return pair | {
        "worst": {"recall@20": recall - 0.01, "mrr@20": mrr - 0.01},
        "intervals": {"recall@20": [recall - 0.02, recall + 0.02], "mrr@20": [mrr - 0.02, mrr + 0.02]},
        "coverage@20": 0.5,
        "popularity_bias@20": 1.1,
        "seconds": 1.0,
    }


def an_answer(recall: float) -> dict[str, Any]:
    """What the command prints of the served ranking, with every item scored as well, and of a peer."""
    exact = {"exact": {"loss": {"recall@20": 0.001, "mrr@20": -0.002}}}
    tested = {"difference": 0.03, "low": 0.01, "high": 0.05, "p": 0.001}
    comparison = {"method": "nextclick", "against": "v-sknn", "recall@20": tested, "mrr@20": tested}
    return {
        "targets": 10_152,
        "sessions": 3_416,
        "items": 2_933,
        "methods": {"nextclick": a_method(recall, 0.4) | exact, "v-sknn": a_method(0.68, 0.37)},
        "comparisons": [comparison],
        "command": "nextclick evaluate",
    }


def test_marks_stand_beside_the_means_of_the_methods_that_have_any() -> None:
    lines = list(accuracy.lines_of("yoochoose100k", an_answer(0.7)))
    found = {what: (measured, held) for what, _, measured, held in accuracy.marks_of(lines)}
    assert found == {
        "yoochoose100k, `nextclick`: Recall@20": (0.7, False),
        "yoochoose100k, `nextclick`: MRR@20": (0.4, True),
        "the largest share of a figure that the index loses": (0.001, True),
    }


def test_every_method_stands_beside_the_first_one_with_its_intervals() -> None:
    one = {
        "figures": list(accuracy.lines_of("yoochoose100k", an_answer(0.7))),
        "started": "2026-11-22T00:00:00Z",
        "load": {"quiet_at_start": True},
        "machine": {"cpu": "a", "cores": 2, "memory_gb": 24},
        "versions": {"kafka": "4", "python": "3.11", "nextclick": "abc"},
        "benchmark": "accuracy",
        "marks": [],
    }
    lines = list(table({"accuracy": [one]}))
    assert lines[2].startswith("| yoochoose100k, 10,152 | `nextclick` | 0.7000 [0.6800, 0.7200] |")
    assert "| +0.0300 [+0.0100, +0.0500] |" in lines[3]
    assert list(best_of_each({"accuracy": [one]}))[2] == (
        "| yoochoose100k | 10,152 | 0.700 / 0.400 | 0.680 / 0.370 |"
    )
