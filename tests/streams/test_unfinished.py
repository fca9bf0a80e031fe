"""What a training leaves to go on with: only for the same plan, and nothing once it has ended."""

import logging
from pathlib import Path

import pytest

from streams.manifest import OffsetRange, TrainingWindow
from streams.unfinished import MAX_AGE_MS, Unfinished


def test_the_same_plan_goes_on_with_its_window(tmp_path: Path) -> None:
    folder = tmp_path / "production"
    assert Unfinished(folder, "plan").found() is None
    Unfinished(folder, "plan").begin(5, {0: 10, 1: 7})
    run = Unfinished(folder, "plan").found()
    assert run is not None
    assert (run.from_ms, run.ends) == (5, {0: 10, 1: 7})
    assert Unfinished(folder, "another").found() is None
    assert Unfinished(None, "plan").found() is None


def test_it_does_not_go_back_behind_what_serves(tmp_path: Path) -> None:
    unfinished = Unfinished(tmp_path, "plan")
    unfinished.begin(5, {0: 10, 1: 7})
    older = TrainingWindow(offsets=[OffsetRange(0, 0, 10), OffsetRange(1, 0, 6)])
    newer = TrainingWindow(offsets=[OffsetRange(0, 0, 9), OffsetRange(1, 0, 8)])
    assert unfinished.found(older) is not None
    assert unfinished.found(newer) is None


def test_what_is_too_old_or_damaged_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished = Unfinished(tmp_path, "plan")
    with monkeypatch.context() as earlier:
        earlier.setattr("streams.unfinished.time.time", lambda: 0.0)
        unfinished.begin(5, {0: 10})
        earlier.setattr("streams.unfinished.time.time", lambda: MAX_AGE_MS / 1000 - 1)
        assert unfinished.found() is not None
    assert unfinished.found() is None
    (tmp_path / "run.json").write_bytes(b'{"plan": "')
    assert unfinished.found() is None


def test_what_has_ended_is_gone_and_its_note_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished = Unfinished(tmp_path, "plan")
    unfinished.begin(5, {0: 10})
    for name in ("rehearsal.safetensors", "training.unfinished", "of-somebody-else"):
        (tmp_path / name).write_bytes(b"x")
    removed: list[str] = []
    unlink = Path.unlink

    def noted(path: Path, missing_ok: bool = False) -> None:
        removed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", noted)
    unfinished.end()
    assert removed[0] == "run.json"
    assert [path.name for path in tmp_path.iterdir()] == ["of-somebody-else"]


def test_a_folder_that_cannot_be_used_costs_nothing_but_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("")
    unfinished = Unfinished(tmp_path / "taken", "plan")
    with caplog.at_level(logging.WARNING):
        unfinished.begin(5, {0: 10})
        assert unfinished.found() is None
        unfinished.end()
    assert [line.split(":")[0] for line in caplog.messages] == [
        f"cannot write to {tmp_path / 'taken'}",
        f"what is in {tmp_path / 'taken'} cannot be gone on with",
        f"cannot remove what a training left in {tmp_path / 'taken'}",
    ]
    Unfinished(tmp_path / "absent", "plan").end()
