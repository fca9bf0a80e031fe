"""What a cycle tells of its stages."""

import pytest

from streams.training_report import Stage, StageTimes


def test_stages_take_until_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    times = StageTimes()
    assert times.seconds() == {}
    for stage, seconds in ((Stage.READING, 2.0), (Stage.READING, 1.0), (Stage.TRAINING, 5.0)):
        times.at(stage)
        now += seconds
    assert times.seconds() == {Stage.READING: 3.0, Stage.TRAINING: 5.0}
    now += 1.0
    assert times.seconds()[Stage.TRAINING] == 6.0
