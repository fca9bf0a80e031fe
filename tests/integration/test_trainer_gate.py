"""The gate, refreshes, the lease and kills on real Kafka."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.cli.main import run
from streams.announcements import read_current
from streams.gate import Bounds
from streams.snapshot import TEMPORARY_PREFIX, list_snapshots, load_snapshot
from streams.trainer import run_cycle
from streams.training_plan import TrainerError, TrainerPlan
from streams.training_report import Kind, NothingNew, Published, Stage, TrainerProgress
from tests.conftest import FreshTopics
from tests.integration.test_trainer import (
    TINY,
    one_thread,
    plan,
    read_until,
    send_shoppers,
    set_environment,
    start_trainer,
)

__all__ = ["one_thread", "plan"]  # fixtures

LENIENT = Bounds(max_loss=0.2, max_loss_of_length=0.5)
"""For what a refresh does, not how well: tiny models on a few clicks differ by more than real ones."""


def announced(topics: FreshTopics) -> str:
    return read_current(topics.connection, topics.names.snapshots)["production"].version


def test_a_refresh_goes_on_from_what_serves(topics: FreshTopics, plan: TrainerPlan) -> None:
    plan = replace(plan, bounds=LENIENT)
    send_shoppers(topics, 4_000)
    first = run_cycle(plan)
    assert isinstance(first, Published)
    nothing = run_cycle(plan, Kind.REFRESH)
    assert isinstance(nothing, NothingNew)
    assert "a refresh needs 400 in 60 sessions" in str(nothing)
    # A send arrives in a few moments: the newest half of what is new must have moments of its own.
    send_shoppers(topics, 2_000, session_prefix="later-")
    send_shoppers(topics, 1_000, session_prefix="latest-")
    stages: list[TrainerProgress] = []
    second = run_cycle(plan, Kind.REFRESH, on_progress=stages.append)
    assert isinstance(second, Published)
    assert second.announced, second.verdict.reasons
    assert announced(topics) == second.version
    assert Stage.REFRESHING in {progress.stage for progress in stages}
    assert second.verdict.serving == first.version
    assert second.verdict.targets >= 200
    manifest = load_snapshot(second.location).manifest
    assert (manifest.provenance.kind, manifest.provenance.parent) == ("refresh", first.version)
    window = manifest.provenance.window
    assert window.learnt_until_ms is not None
    assert window.until_ms is not None
    assert window.learnt_until_ms < window.until_ms  # the newest were kept for the gate
    send_shoppers(topics, 3_000, session_prefix="later-still-")
    third = run_cycle(plan, Kind.REFRESH)
    assert isinstance(third, Published)
    assert third.verdict.serving == second.version
    full = run_cycle(plan)
    assert isinstance(full, Published)
    assert full.announced, full.verdict.reasons
    assert full.verdict.compared_on.startswith("sessions that both")


def test_what_is_refused_is_kept_not_announced_and_told(
    topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(topics, tmp_path, monkeypatch)
    send_shoppers(topics, 3_000)
    assert run(["trainer", "--once", *TINY, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)["snapshot"]
    refused = [*TINY, "--gate-latency-ms", "0.000001", "--json"]
    assert run(["trainer", "--once", *refused]) == 1
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert (answer["announced"], answer["refused"]) == (False, True)
    assert f"{answer['snapshot']} is refused: one recommendation takes" in printed.err
    assert announced(topics) == first
    manifests = {manifest.version: manifest for manifest in list_snapshots(str(tmp_path / "snapshots"))}
    assert manifests[answer["snapshot"]].refused
    another = ("--seed", "2")  # the same weights within one second would be the same version
    assert run(["trainer", "--once", "--force", *refused, *another]) == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert announced(topics) == answer["snapshot"]
    assert "announced although the gate refuses it" in printed.err
    assert answer["gate"]["forced"]


def test_one_trainer_at_a_time_and_a_killed_one_is_no_obstacle(topics: FreshTopics, tmp_path: Path) -> None:
    """The second at the same home, the third as from another machine; one waits until the first dies."""
    send_shoppers(topics, 3_000)
    first = start_trainer(topics, tmp_path, "--every", "1h", "--epochs", "500")
    read_until(first.stderr, b"training without")
    second = start_trainer(topics, tmp_path, "--once")
    third = start_trainer(topics, tmp_path / "elsewhere", "--once")
    waiting = start_trainer(topics, tmp_path, "--every", "1h", *TINY)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 1
    assert f"process {first.pid} on this machine trains production; one trainer at a time" in err.decode()
    _, err = third.communicate(timeout=60)
    assert third.returncode == 1
    assert f"process {first.pid} on " in err.decode()
    read_until(waiting.stdout, b"waiting until it ends")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    read_until(waiting.stdout, b"announced as production")
    waiting.terminate()
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0


def test_a_killed_training_goes_on_with_the_same_clicks(
    topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(topics, tmp_path, monkeypatch)
    send_shoppers(topics, 3_000)
    flags = ("--once", "--units", "16", "--epochs", "10")
    killed = start_trainer(topics, tmp_path, *flags)
    read_until(killed.stderr, b"learning the order")  # the first of both trainings has ended
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    kept = {path.name for path in (tmp_path / "trainers" / "production").iterdir()}
    assert {"run.json", "rehearsal.safetensors"} <= kept
    send_shoppers(topics, 1_000, session_prefix="later-")
    assert run(["trainer", *flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clicks"] == 3_000
    assert not list((tmp_path / "trainers" / "production").iterdir())
    assert not list((tmp_path / "snapshots").glob(f"{TEMPORARY_PREFIX}*"))
    run(["trainer", "--once", *TINY, "--json"])  # whether the gate accepts so little is of no matter
    assert json.loads(capsys.readouterr().out)["clicks"] == 4_000


def test_a_trainer_that_lost_its_lease_announces_nothing(topics: FreshTopics, plan: TrainerPlan) -> None:
    send_shoppers(topics, 3_000)
    with pytest.raises(TrainerError, match="another trainer has taken over"):
        run_cycle(replace(plan), may_announce=lambda: False)
    assert read_current(topics.connection, topics.names.snapshots) == {}
