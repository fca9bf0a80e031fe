"""Training cycles on real Kafka: what they publish, when they do not, and what a kill leaves behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.cli.main import run
from index.approximate import set_threads as set_index_threads
from model.encoder import EncoderConfig
from model.threads import set_threads as set_model_threads
from model.training import TrainingConfig
from streams.announcements import Announcement, announce, read_current
from streams.clickfile import write_click_file
from streams.replaying import send_clicks
from streams.shoppers import generate_columns
from streams.snapshot import (
    Provenance,
    Snapshot,
    list_snapshots,
    load_snapshot,
    save_snapshot,
)
from streams.trainer import run_cycle
from streams.training_plan import TrainerPlan, TrainerStopped
from streams.training_report import Published, Stage, TooFewClicks, TrainerProgress
from tests.conftest import FreshTopics
from tests.tiny import tiny_parts

N_CLICKS = 6_000
TINY = ("--units", "16", "--epochs", "1")


def send_shoppers(topics: FreshTopics, n_clicks: int = N_CLICKS, session_prefix: str = "") -> None:
    start_ms = int(time.time() * 1000) - 3_600_000
    columns = generate_columns(
        1, n_clicks, n_items=60, clicks_per_s=100.0, start_ms=start_ms, session_prefix=session_prefix
    )
    clicks = zip(columns.time_ms.tolist(), columns.session_ids, columns.item_ids, strict=True)
    send_clicks(topics.connection, topics.names.clicks, clicks, None)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads that spin for each other would be most of the time on a busy machine."""
    set_model_threads(1)
    set_index_threads(1)


@pytest.fixture
def plan(topics: FreshTopics, tmp_path: Path) -> TrainerPlan:
    return TrainerPlan(
        connection=topics.connection,
        topics=topics.names,
        location=str(tmp_path / "snapshots"),
        encoder=EncoderConfig(n_units=16, embedding_dim=16),
        training=TrainingConfig(n_epochs=3),
    )


def set_environment(topics: FreshTopics, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in topics.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NEXTCLICK_HOME", str(home))
    monkeypatch.setattr("deploy.cli.trainer.be_considerate", lambda: 1)  # pytest is not to become nice


def test_a_cycle_publishes_and_announces_what_it_trained(topics: FreshTopics, plan: TrainerPlan) -> None:
    send_shoppers(topics)
    stages: list[TrainerProgress] = []
    published = run_cycle(plan, on_progress=stages.append)
    assert isinstance(published, Published)
    assert published.announced
    snapshot = load_snapshot(published.location)
    assert snapshot.ranking is not None
    assert published.n_items == len(snapshot.vocabulary) == 60
    assert read_current(plan.connection, plan.topics.snapshots)["production"].version == published.version
    seen = list(dict.fromkeys(progress.stage for progress in stages))
    assert seen == [stage for stage in Stage if stage is not Stage.REFRESHING]
    reading = [progress for progress in stages if progress.stage is Stage.READING]
    assert (reading[-1].n_done, reading[-1].n_total) == (N_CLICKS, N_CLICKS)
    training = next(p for p in reversed(stages) if p.stage is Stage.TRAINING)
    assert training.epoch == training.n_epochs == 3
    assert training.loss is not None
    assert training.seconds_left == 0


def test_the_manifest_says_what_was_trained_on_and_which_model_the_figures_are_of(
    topics: FreshTopics, plan: TrainerPlan
) -> None:
    send_shoppers(topics)
    first, second = run_cycle(plan), run_cycle(plan)
    assert isinstance(first, Published)
    assert isinstance(second, Published)
    provenance = load_snapshot(second.location).manifest.provenance
    assert provenance.parent == first.version
    assert provenance.window.topic == topics.names.clicks
    assert sum(part.end - part.start for part in provenance.window.offsets) == N_CLICKS
    assert provenance.window.n_clicks == N_CLICKS
    assert "without the newest 10 %" in provenance.metrics_of
    assert provenance.metrics["recall@20"] > provenance.metrics["popular_recall@20"] > 0
    assert provenance.index_recall == 1.0
    announced = read_current(plan.connection, plan.topics.snapshots)["production"]
    assert (announced.version, announced.previous) == (second.version, first.version)


def test_too_few_clicks_are_counted_and_nothing_is_published(topics: FreshTopics, plan: TrainerPlan) -> None:
    send_shoppers(topics, 600)
    outcome = run_cycle(plan)
    assert isinstance(outcome, TooFewClicks)
    assert 400 < outcome.n_clicks <= 600
    assert "training needs 1,000 in 200" in str(outcome)
    assert list_snapshots(plan.location) == []
    assert read_current(plan.connection, plan.topics.snapshots) == {}


def test_once_with_too_few_clicks_is_exit_1_with_that_line(
    topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(topics, tmp_path, monkeypatch)
    assert run(["trainer", "--once"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        "nextclick: nothing trained: 0 clicks in 0 sessions of two clicks or more;"
        " training needs 1,000 in 200"
    )


def test_history_comes_before_the_topics_window(
    topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(topics, tmp_path, monkeypatch)
    history = tmp_path / "history.tsv.gz"
    write_click_file(history, generate_columns(1, 4_000, n_items=60, start_ms=1_396_742_400_000))
    send_shoppers(topics, 500, session_prefix="live-")
    assert run(["trainer", "--once", "--history", str(history), *TINY, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["clicks"] == 4_500
    assert answer["announced"] is True
    assert load_snapshot(answer["location"]).manifest.provenance.window.history == ["history.tsv.gz"]
    assert run(["trainer", "--once", "--history", str(tmp_path / "absent.tsv")]) == 1
    assert "absent.tsv: no such file" in capsys.readouterr().err


def test_another_network_loss_and_context_are_trained_and_published(
    topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(topics, tmp_path, monkeypatch)
    send_shoppers(topics, 3_000)
    flags = ["--cell", "gru", "--loss", "bpr-max", "--negatives", "64"]
    context = ["--click-context", "kind,gap", "--click-context-at", "concat,output"]
    assert run(["trainer", "--once", *TINY, *flags, *context, "--json"]) == 0
    encoder = load_snapshot(json.loads(capsys.readouterr().out)["location"]).encoder
    assert encoder.config.cell == "gru"
    assert (encoder.config.context, encoder.config.context_at) == (("kind", "gap"), ("concat", "output"))
    assert encoder.config.kinds == ("view",)
    assert run(["recommend", "red-running-shoes", "-k", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["items"]) == 3


def test_a_pinned_alias_is_left_alone_and_old_snapshots_go_but_for_those_in_use(
    topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(topics, tmp_path, monkeypatch)
    send_shoppers(topics, 3_000)

    def train() -> str:
        time.sleep(1 - time.time() % 1)  # the same weights within one second would be the same version
        assert run(["trainer", "--once", "--keep-snapshots", "1", *TINY, "--json"]) == 0
        return str(json.loads(capsys.readouterr().out)["snapshot"])

    def announced() -> tuple[str, str | None, bool]:
        current = read_current(topics.connection, topics.names.snapshots)["production"]
        return current.version, current.previous, current.pinned

    first, second = train(), train()
    assert announced() == (second, first, False)
    assert run(["snapshots", "rollback"]) == 0
    assert announced() == (first, None, True)
    capsys.readouterr()
    third = train()
    assert announced() == (first, None, True)
    versions = [manifest.version for manifest in list_snapshots(str(tmp_path / "snapshots"))]
    assert versions == [first, third]  # second is old, and nobody's previous any more
    assert run(["snapshots", "promote", third]) == 0
    assert announced() == (third, first, False)
    assert run(["snapshots", "promote", second]) == 1
    assert f"there is no snapshot {second}" in capsys.readouterr().err
    assert run(["snapshots", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["snapshots"]
    assert [(row["version"], row["serves"]) for row in rows] == [(first, []), (third, ["production"])]
    (tmp_path / "snapshots" / first / "index.faiss").write_bytes(b"damaged")
    assert run(["snapshots", "promote", first]) == 1
    assert "is refused: index.faiss has 7 bytes" in capsys.readouterr().err
    assert announced() == (third, first, False)
    assert run(["recommend", "red-running-shoes", "no-such-thing", "-k", "3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["snapshot"] == third
    assert answer["unknown"] == ["no-such-thing"]
    assert len(answer["items"]) == 3


@pytest.mark.parametrize("pinned", [True, False])
def test_what_is_announced_while_a_snapshot_is_saved_counts(
    topics: FreshTopics, plan: TrainerPlan, monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    """A rollback to the first of two, in the seconds that saving takes; only one snapshot is kept unused."""
    plan = replace(plan, keep_snapshots=1)
    send_shoppers(topics, 3_000)
    first, second = (
        save_snapshot(plan.location, *tiny_parts(seed), Provenance(), created_ms=1_700_000_000_000 + seed)
        for seed in range(2)
    )

    def announce_production(snapshot: Snapshot, *, pinned: bool = False) -> Announcement:
        announcement = Announcement(
            snapshot.version, snapshot.location, snapshot.manifest_sha256, pinned=pinned
        )
        announce(topics.connection, topics.names.snapshots, "production", announcement)
        return announcement

    def save_slowly(*arguments: Any, **options: Any) -> Snapshot:
        saved = save_snapshot(*arguments, **options)
        announce_production(first, pinned=pinned)
        return saved

    announce_production(second)
    monkeypatch.setattr("streams.trainer.save_snapshot", save_slowly)
    published = run_cycle(plan)
    assert isinstance(published, Published)
    announced = read_current(topics.connection, topics.names.snapshots)["production"]
    if pinned:
        assert (published.announced, published.pinned_to) == (False, first.version)
        assert (announced.version, announced.pinned) == (first.version, True)
    else:
        assert (published.announced, published.replaced_by) == (False, first.version)
        assert announced.version == first.version
    assert published.deleted == (second.version,)
    assert load_snapshot(first.location).version == first.version


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.REFRESHING])
def test_a_stop_at_any_stage_publishes_nothing_by_halves(
    topics: FreshTopics, plan: TrainerPlan, stage: Stage
) -> None:
    send_shoppers(topics, 2_000)
    stop = threading.Event()

    def stop_there(progress: TrainerProgress) -> None:
        if progress.stage is stage:
            stop.set()

    if stage in (
        Stage.PUBLISHING,
        Stage.JUDGING,
    ):  # too late to stop: what is being published is published whole
        assert isinstance(run_cycle(plan, stop=stop, on_progress=stop_there), Published)
        return
    with pytest.raises(TrainerStopped):
        run_cycle(plan, stop=stop, on_progress=stop_there)
    assert list_snapshots(plan.location) == []
    assert read_current(plan.connection, plan.topics.snapshots) == {}


def start_trainer(topics: FreshTopics, home: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.cli.main", "trainer", *arguments],
        env={**os.environ, **topics.environment, "NEXTCLICK_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )


def read_until(stream: object, text: bytes) -> bytes:
    read = b""
    while text not in read:
        line = stream.readline()  # type: ignore[attr-defined]
        assert line, read.decode()
        read += line
    return read


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_trainer_is_nice_and_stops_cleanly_when_told(
    topics: FreshTopics, tmp_path: Path, number: signal.Signals
) -> None:
    send_shoppers(topics, 3_000)
    trainer = start_trainer(topics, tmp_path, "--every", "1h", "--epochs", "500")
    read_until(trainer.stderr, b"training without")
    stat = Path(f"/proc/{trainer.pid}/stat").read_text().rsplit(")", 1)[1].split()
    assert int(stat[16]) >= 10  # the nice value
    trainer.send_signal(number)
    out, err = trainer.communicate(timeout=30)
    assert trainer.returncode == 0, err.decode()
    assert b"trainer stopped" in out
    assert list_snapshots(str(tmp_path / "snapshots")) == []


def test_a_round_that_fails_is_one_line_and_the_next_one_comes(topics: FreshTopics, tmp_path: Path) -> None:
    send_shoppers(topics, 3_000)
    (tmp_path / "snapshots").write_text("in the way")
    trainer = start_trainer(topics, tmp_path, "--every", "2s", *TINY)
    said = read_until(trainer.stderr, b"this round failed")
    assert b"cannot write snapshots" in said
    assert b"Traceback" not in said
    (tmp_path / "snapshots").unlink()
    read_until(trainer.stdout, b"announced as production")
    trainer.terminate()
    trainer.communicate(timeout=30)
    assert trainer.returncode == 0
