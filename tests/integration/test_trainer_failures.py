"""What a trainer does about a training that cannot succeed and about a damaged snapshot."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.training import TrainingConfig
from streams.announcements import read_current
from streams.trainer import run_cycle
from streams.training_plan import TrainerError, TrainerPlan
from streams.training_report import Kind, Published
from tests.conftest import FreshTopics
from tests.integration.test_trainer import plan, send_shoppers

__all__ = ["plan"]


def test_a_training_that_fails_is_not_gone_on_with(
    topics: FreshTopics, plan: TrainerPlan, tmp_path: Path
) -> None:
    send_shoppers(topics, 2_000)
    folder = tmp_path / "unfinished"
    hopeless = replace(plan, unfinished=folder, training=TrainingConfig(n_epochs=2, learning_rate=1e38))
    with pytest.raises(TrainerError, match="training failed: the loss is no longer finite"):
        run_cycle(hopeless)
    assert list(folder.iterdir()) == []


def test_a_damaged_snapshot_is_replaced_by_a_full_training(topics: FreshTopics, plan: TrainerPlan) -> None:
    send_shoppers(topics, 2_000)
    first = run_cycle(plan)
    assert isinstance(first, Published)
    manifest = Path(first.location) / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:-100])
    with pytest.raises(TrainerError, match=f"cannot be refreshed.*{first.version} is refused"):
        run_cycle(plan, Kind.REFRESH)
    second = run_cycle(plan)
    assert isinstance(second, Published)
    announced = read_current(plan.connection, plan.topics.snapshots)[plan.alias]
    assert announced.version == second.version
