import io

import pytest

from deploy.progress import ProgressLine, show_seconds


def test_away_from_a_terminal_progress_is_a_line_now_and_then() -> None:
    stream = io.StringIO()
    with ProgressLine(stream, every_s=3600) as line:
        line.show("reading clicks")
        line.show("training", 0, 200, "epoch 1/8")
        for done in range(1, 200):
            line.show("training", done, 200)
        line.show("publishing", note="v1")
    assert stream.getvalue() == "reading clicks\ntraining: 0 %, epoch 1/8\npublishing: v1\n"


def test_on_a_terminal_progress_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with ProgressLine(stream) as line:
        line.show("reading clicks")
        line.show("training", 50, 200, "epoch 1/8")
    assert "training" in stream.getvalue()
    assert "epoch 1/8" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.2, "0 s"), (48, "48 s"), (185, "3 min 5 s"), (7800, "2 h 10 min"), (-1, "0 s")],
)
def test_lengths_of_time(seconds: float, shown: str) -> None:
    assert show_seconds(seconds) == shown
