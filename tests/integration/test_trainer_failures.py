"""What a trainer does about a training that cannot succeed and about a damaged snapshot."""

from dataclasses import replace
from pathlib import Path

import pytest

from model.training import TrainingConfig
from streams.announcements import Announcement, announce, read_current
from streams.manifest import SnapshotUnreachable
from streams.snapshot import Snapshot
from streams.snapshot_store import manifest_sha256
from streams.trainer import run_cycle
from streams.training_plan import TrainerError, TrainerPlan
from streams.training_report import Kind, Outcome, Published, Stage, TrainerProgress
from tests.conftest import FreshTopics
from tests.integration.test_trainer import plan, send_shoppers

__all__ = ["plan"]


def announced(plan: TrainerPlan) -> str:
    return read_current(plan.connection, plan.topics.snapshots)[plan.alias].version


def trained(outcome: Outcome) -> Published:
    assert isinstance(outcome, Published)
    return outcome


def announce_again(plan: TrainerPlan, snapshot: Published) -> None:
    """As a rollback does that pins nothing."""
    sha256 = manifest_sha256(snapshot.location)
    announcement = Announcement(snapshot.version, snapshot.location, sha256)
    announce(plan.connection, plan.topics.snapshots, plan.alias, announcement)


def test_a_refresh_of_what_was_rolled_back_meanwhile_is_not_announced(
    topics: FreshTopics, plan: TrainerPlan
) -> None:
    send_shoppers(topics, 3_000)
    first, second = trained(run_cycle(plan)), trained(run_cycle(plan))
    send_shoppers(topics, 3_000, session_prefix="later-")

    def roll_back(progress: TrainerProgress) -> None:
        if progress.stage is Stage.REFRESHING and announced(plan) == second.version:
            announce_again(plan, first)

    refreshed = trained(run_cycle(plan, Kind.REFRESH, on_progress=roll_back))
    assert refreshed.verdict.serving == second.version
    assert (refreshed.announced, refreshed.replaced_by) == (False, first.version)
    assert announced(plan) == first.version


def test_a_full_training_is_judged_beside_what_serves_when_it_has_ended(
    topics: FreshTopics, plan: TrainerPlan
) -> None:
    send_shoppers(topics, 3_000)
    first, second = trained(run_cycle(plan)), trained(run_cycle(plan))

    def roll_back(progress: TrainerProgress) -> None:
        if progress.stage is Stage.TRAINING and announced(plan) == second.version:
            announce_again(plan, first)

    third = trained(run_cycle(plan, on_progress=roll_back))
    assert third.verdict.serving == first.version
    assert third.verdict.targets > 0
    assert third.metrics["recall@20"] > 0


def test_what_serves_out_of_reach_fails_the_round_and_nothing_is_announced_uncompared(
    topics: FreshTopics, plan: TrainerPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_shoppers(topics, 3_000)
    first = trained(run_cycle(plan))
    n_tries = 0

    def away(*_: object, **__: object) -> Snapshot:
        nonlocal n_tries
        n_tries += 1
        raise SnapshotUnreachable("the store does not answer")

    monkeypatch.setattr("streams.trainer.UNREACHABLE_WAITS_S", (0.0, 0.0))
    monkeypatch.setattr("streams.trainer.load_snapshot", away)
    with pytest.raises(TrainerError, match="cannot be reached, and nothing is announced uncompared"):
        run_cycle(plan)
    assert n_tries == 3
    assert announced(plan) == first.version


def test_old_snapshots_that_cannot_be_deleted_do_not_fail_the_round(
    topics: FreshTopics, plan: TrainerPlan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forbidden(*_: object) -> list[str]:
        raise PermissionError("somebody else's folder")

    send_shoppers(topics, 2_000)
    monkeypatch.setattr("streams.publishing.delete_old", forbidden)
    published = trained(run_cycle(plan))
    assert (published.announced, published.deleted) == (True, ())
    assert "somebody else's folder" in caplog.text


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
