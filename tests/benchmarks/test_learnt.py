"""The table of the model's parts: the whole as it is, the others as differences from it."""

from typing import Any

from benchmarks.learnt import ablation


def a_line(log: str, without: str, seed: int, lstm: float | None, nextclick: float) -> dict[str, Any]:
    figures = {"lstm_recall": lstm, "lstm_mrr": lstm, "nextclick_recall": nextclick, "nextclick_mrr": 0.3}
    return {"log": log, "targets": 1_000, "seed": seed, "without": without} | figures


def test_parts_stand_as_differences_of_means() -> None:
    figures = [
        a_line("a", "nothing", 1, 0.6, 0.7),
        a_line("a", "nothing", 2, 0.62, 0.72),
        a_line("a", "cosine", 1, 0.5, 0.7),
        a_line("a", "cosine", 2, 0.5, 0.7),
        a_line("a", "links", 1, None, 0.65),
        a_line("a", "links", 2, None, 0.65),
        a_line("b", "nothing", 1, 0.4, 0.5),
    ]
    one = {"figures": figures, "conditions": {"seeds": [1, 2]}, "load": {"quiet_at_start": True}}
    lines = list(ablation({"ablation": [one]}))
    assert lines[0] == "| without | a, `lstm` | a, `nextclick` | b, `lstm` | b, `nextclick` |"
    assert lines[2] == "| nothing | 0.6100 / 0.6100 | 0.7100 / 0.3000 | 0.4000 / 0.4000 | 0.5000 / 0.3000 |"
    assert lines[3] == "| cosine | -0.1100 / -0.1100 | -0.0100 / +0.0000 |  |  |"
    assert lines[4] == "| links |  | -0.0600 / +0.0000 |  |  |"


def test_each_log_is_of_the_newest_run_that_looked_at_it() -> None:
    runs = [
        {"figures": [a_line("a", "nothing", 1, 0.1, 0.1), a_line("b", "nothing", 1, 0.2, 0.2)]},
        {"figures": [a_line("a", "nothing", 3, 0.6, 0.7)]},
    ]
    lines = list(ablation({"ablation": runs}))
    assert lines[2] == "| nothing | 0.6000 / 0.6000 | 0.7000 / 0.3000 | 0.2000 / 0.2000 | 0.2000 / 0.3000 |"
    assert "seeds 1, 3;" in lines[-1]
