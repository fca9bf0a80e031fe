from pathlib import Path
from typing import Any

import pytest

LATENCY: dict[str, Any] = {
    "figures": [
        {"items": n, "what": what, "rate": rate, "p50": 3.0, "p99": 9.0}
        for n in (20_000, 100_000)
        for what in ("worker", "forward")
        for rate in (0.0, 200.0, 1_000.0)
    ]
}
SCALE: dict[str, Any] = {
    "figures": [
        {"items": 20_000, "workers": 1, "cpu_us_per_click": 80.0, "broker_cpu_us_per_click": 9.0},
        {"items": 20_000, "workers": 2, "cpu_us_per_click": 85.0, "broker_cpu_us_per_click": None},
    ]
}


def test_the_picture_is_drawn_without_a_background(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="only of the extra [pictures]")
    from benchmarks.chart import costs_of, draw, lines_of

    assert lines_of(LATENCY)[20_000] == [(200.0, 3.0, 9.0), (1_000.0, 3.0, 9.0)]  # the idle click is no load
    assert costs_of(SCALE) == [("20,000", 80.0, 9.0), ("20,000\n2 workers", 85.0, 0.0)]
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    draw(LATENCY, SCALE, first)
    draw(LATENCY, SCALE, second)
    assert first.read_bytes() == second.read_bytes()
    assert "100,000 items" in first.read_text(encoding="utf-8")
