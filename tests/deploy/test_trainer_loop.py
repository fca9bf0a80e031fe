"""The trainer's loop: what becomes of a training that drift asks for while Kafka is away."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from deploy import trainer_loop
from deploy.cli.options import Output
from streams.drift import DriftLimits
from streams.kafka import KafkaConnection
from streams.schedule import Schedule
from streams.topics import TopicNames
from streams.training_plan import TrainerPlan
from streams.training_report import Kind, Published
from streams.training_wanted import TrainingWanted
from tests.streams.test_training_wanted import refreshed


class LeaseLostInAnOutage:
    """Lost during the first round; Kafka does not answer whoever takes it again, and then it does."""

    def __init__(self) -> None:
        self.held = True
        self.tries = 0

    def take(self, stop: threading.Event, **_: Any) -> bool:
        self.tries += 1
        if self.tries == 1:
            raise OSError("Kafka is away")
        self.held = True
        return True


def test_a_training_that_drift_asks_for_outlives_an_outage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lease, stop, kinds = LeaseLostInAnOutage(), threading.Event(), list[Kind]()

    def train(plan: TrainerPlan, kind: Kind, *_: Any) -> Published | None:
        kinds.append(kind)
        if len(kinds) > 1:
            stop.set()
            return None
        lease.held = False
        return refreshed(unknown=0.5)

    monkeypatch.setattr(trainer_loop, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(trainer_loop, "_look_at_what_serves", lambda plan, schedule: None)
    monkeypatch.setattr(trainer_loop, "train", train)
    monkeypatch.setattr(trainer_loop, "report", lambda *_: None)
    schedule = Schedule(full_every_s=1e9, refresh_every_s=1e9)
    schedule.something_serves(time.monotonic(), 0.0)
    plan = TrainerPlan(KafkaConnection("nowhere:1"), TopicNames(), str(tmp_path))
    drift = TrainingWanted(DriftLimits(), dict)
    trainer_loop.TrainerLoop(plan, schedule, drift, Output(json=False), stop, lease).run()  # type: ignore[arg-type]
    assert kinds == [Kind.REFRESH, Kind.FULL]
    assert lease.tries == 2
    assert "training from the start: many clicks are on items that" in capsys.readouterr().out
