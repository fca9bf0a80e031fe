"""Which snapshot serves: the announced one, else one that is known to be good; never a damaged one."""

import hashlib
import logging
import shutil
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from streams import serving as serving_module
from streams import snapshot as snapshot_module
from streams.announcements import Announcement, announce
from streams.kafka import KafkaConnection
from streams.metrics import WorkerMetrics
from streams.recommender import Recommender
from streams.serving import RETRY_S, Serving
from streams.snapshot import Provenance, Snapshot, save_snapshot
from tests.conftest import FreshTopics
from tests.tiny import tiny_parts


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> list[Snapshot]:
    """Three good snapshots."""
    folder = str(tmp_path_factory.mktemp("snapshots"))
    return [
        save_snapshot(folder, *tiny_parts(seed), Provenance(), created_ms=1_700_000_000_000 + seed * 60_000)
        for seed in range(3)
    ]


@pytest.fixture
def snapshots(published: list[Snapshot], tmp_path: Path) -> list[tuple[str, Path]]:
    """Version and folder of each, in a place where they may be damaged."""
    folders = [tmp_path / "snapshots" / one.version for one in published]
    for one, folder in zip(published, folders, strict=True):
        shutil.copytree(one.location, folder)
    return [(folder.name, folder) for folder in folders]


@pytest.fixture
def metrics() -> WorkerMetrics:
    return WorkerMetrics()


def make_serving(
    metrics: WorkerMetrics,
    folder: Path,
    connection: KafkaConnection = KafkaConnection("nowhere:1"),  # noqa: B008 - frozen
    topic: str = "snapshots",
    retry_s: float = RETRY_S,
) -> Serving:
    return Serving(
        connection,
        topic,
        "production",
        make_recommender=Recommender,
        last_good_file=folder / "last-good",
        metrics=metrics,
        retry_s=retry_s,
    )


@pytest.fixture
def serving(metrics: WorkerMetrics, tmp_path: Path) -> Serving:
    return make_serving(metrics, tmp_path)


def announcement(
    snapshot: tuple[str, Path], previous: tuple[str, Path] | None = None, sha256: str | None = None
) -> Announcement:
    version, folder = snapshot
    if sha256 is None:
        sha256 = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    return Announcement(version, str(folder), sha256, previous[0] if previous else None)


def damage(snapshot: tuple[str, Path]) -> None:
    with (snapshot[1] / "index.faiss").open("r+b") as file:
        file.truncate(100)


def serves(serving: Serving) -> str | None:
    return serving.current.snapshot.version if serving.current is not None else None


def refused(metrics: WorkerMetrics) -> float:
    return metrics.registry.get_sample_value("nextclick_snapshots_refused_total") or 0


def test_nothing_is_announced(serving: Serving) -> None:
    serving._on_announcement(None)
    assert serves(serving) is None
    assert not serving.wait_for_snapshot(0)


def test_the_announced_snapshot_serves(
    serving: Serving, metrics: WorkerMetrics, snapshots: list[tuple[str, Path]], tmp_path: Path
) -> None:
    serving._on_announcement(announcement(snapshots[0]))
    assert serves(serving) == snapshots[0][0]
    assert serving.wait_for_snapshot(0)
    assert (tmp_path / "last-good").read_text() == str(snapshots[0][1])
    assert refused(metrics) == 0
    value = metrics.registry.get_sample_value
    assert value("nextclick_snapshot_info", {"version": snapshots[0][0]}) == 1
    assert value("nextclick_snapshot_created_seconds") == 1_700_000_000
    assert value("nextclick_snapshot_swaps_total") == 0


def test_the_snapshot_before_is_freed_soon_and_elsewhere(
    serving: Serving, snapshots: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that began with it may still run; it must not be what frees it."""
    monkeypatch.setattr(serving_module, "RELEASE_AFTER_S", 0.1)
    serving._on_announcement(announcement(snapshots[0]))
    assert serving.current is not None
    freed_in: list[tuple[float, threading.Thread]] = []
    weakref.finalize(serving.current, lambda: freed_in.append((time.monotonic(), threading.current_thread())))
    announced_s = time.monotonic()
    serving._on_announcement(announcement(snapshots[1]))
    deadline = time.monotonic() + 10
    while not freed_in and time.monotonic() < deadline:
        time.sleep(0.01)
    ((freed_s, thread),) = freed_in
    assert freed_s >= announced_s + 0.1
    assert thread is not threading.main_thread()


def test_a_swap_is_one_assignment_and_is_counted(
    serving: Serving, metrics: WorkerMetrics, snapshots: list[tuple[str, Path]]
) -> None:
    serving._on_announcement(announcement(snapshots[0]))
    before = serving.current
    serving._on_announcement(announcement(snapshots[0]))  # the same again
    assert serving.current is before
    serving._on_announcement(announcement(snapshots[1], previous=snapshots[0]))
    assert serves(serving) == snapshots[1][0]
    value = metrics.registry.get_sample_value
    assert value("nextclick_snapshot_swaps_total") == 1
    assert value("nextclick_snapshot_info", {"version": snapshots[0][0]}) is None
    assert value("nextclick_snapshot_info", {"version": snapshots[1][0]}) == 1


def test_a_bad_snapshot_is_refused_and_the_old_one_serves_on(
    serving: Serving,
    metrics: WorkerMetrics,
    snapshots: list[tuple[str, Path]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    serving._on_announcement(announcement(snapshots[0]))
    before = serving.current
    damage(snapshots[2])
    serving._on_announcement(announcement(snapshots[2], previous=snapshots[1]))
    assert serving.current is before  # never a third one, that nobody announced for now
    assert refused(metrics) == 1
    assert "index.faiss has 100 bytes" in caplog.text
    assert (tmp_path / "last-good").read_text() == str(snapshots[0][1])
    serving._on_announcement(announcement(snapshots[1], sha256="0" * 64))
    assert serving.current is before
    assert "is not the announced one" in caplog.text


def test_a_worker_that_starts_after_a_bad_announcement_takes_the_previous_one(
    serving: Serving, metrics: WorkerMetrics, snapshots: list[tuple[str, Path]], tmp_path: Path
) -> None:
    damage(snapshots[2])
    (tmp_path / "last-good").write_text(str(snapshots[0][1]))
    serving._on_announcement(announcement(snapshots[2], previous=snapshots[1]))
    assert serves(serving) == snapshots[1][0]
    assert refused(metrics) == 1
    serving._on_announcement(announcement(snapshots[0]))
    assert serves(serving) == snapshots[0][0]


def test_then_its_own_last_good_one(
    serving: Serving, metrics: WorkerMetrics, snapshots: list[tuple[str, Path]], tmp_path: Path
) -> None:
    damage(snapshots[2])
    damage(snapshots[1])
    (tmp_path / "last-good").write_text(f"{snapshots[0][1]}\n")
    serving._on_announcement(announcement(snapshots[2], previous=snapshots[1]))
    assert serves(serving) == snapshots[0][0]
    assert refused(metrics) == 2


@pytest.mark.parametrize("last_good", ["", None, "announced"])
def test_nothing_good_is_known(
    serving: Serving,
    metrics: WorkerMetrics,
    snapshots: list[tuple[str, Path]],
    tmp_path: Path,
    last_good: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(snapshots[2])
    if last_good is not None:
        (tmp_path / "last-good").write_text(str(snapshots[2][1]) if last_good else "")
    with caplog.at_level(logging.ERROR):
        serving._on_announcement(announcement(snapshots[2]))
    assert serves(serving) is None
    assert refused(metrics) == 1  # the same place is not tried twice
    assert "waiting for the next announcement" in caplog.text
    serving._on_announcement(announcement(snapshots[1]))
    assert serves(serving) == snapshots[1][0]


def test_a_restarted_worker_serves_what_it_served(
    serving: Serving, metrics: WorkerMetrics, snapshots: list[tuple[str, Path]], tmp_path: Path
) -> None:
    serving._on_announcement(announcement(snapshots[0]))
    damage(snapshots[1])
    again = make_serving(WorkerMetrics(), tmp_path)
    again._on_announcement(announcement(snapshots[1]))
    assert serves(again) == snapshots[0][0]


def repair(snapshot: tuple[str, Path], published: list[Snapshot]) -> None:
    (good,) = (one for one in published if one.version == snapshot[0])
    shutil.copytree(good.location, snapshot[1], dirs_exist_ok=True)


def test_what_is_announced_is_tried_until_it_serves(
    serving: Serving, published: list[Snapshot], snapshots: list[tuple[str, Path]]
) -> None:
    assert not serving._on_announcement(None)
    assert not serving._on_announcement(announcement(snapshots[0]))
    damage(snapshots[1])
    bad = announcement(snapshots[1], previous=snapshots[0])
    assert serving._on_announcement(bad)
    assert serving._on_announcement(bad)
    assert serves(serving) == snapshots[0][0]
    repair(snapshots[1], published)
    assert not serving._on_announcement(bad)
    assert serves(serving) == snapshots[1][0]


def test_a_fallback_serves_until_the_announced_snapshot_can_be_read(
    serving: Serving, published: list[Snapshot], snapshots: list[tuple[str, Path]]
) -> None:
    damage(snapshots[2])
    bad = announcement(snapshots[2], previous=snapshots[1])
    assert serving._on_announcement(bad)
    assert serves(serving) == snapshots[1][0]
    repair(snapshots[2], published)
    assert not serving._on_announcement(bad)
    assert serves(serving) == snapshots[2][0]


def test_a_refusal_is_counted_once_per_announcement_and_logged_once_per_reason(
    serving: Serving,
    metrics: WorkerMetrics,
    snapshots: list[tuple[str, Path]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(snapshots[1])
    bad = announcement(snapshots[1])
    for _ in range(3):
        assert serving._on_announcement(bad)
    assert [record.getMessage() for record in caplog.records] == [
        next(text for text in caplog.messages if "index.faiss has 100 bytes" in text),
        "none of the snapshots known can be served; trying again every 30 s and"
        " waiting for the next announcement",
    ]
    (snapshots[1][1] / "index.faiss").unlink()
    for _ in range(2):
        assert serving._on_announcement(bad)
    assert len(caplog.messages) == 3
    assert "index.faiss is missing" in caplog.messages[-1]
    assert refused(metrics) == 1
    assert serving._on_announcement(announcement(snapshots[1], previous=("gone", Path())))
    assert refused(metrics) == 3  # it, and its previous one


def test_an_error_of_any_kind_leads_to_the_previous_snapshot(
    serving: Serving, snapshots: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = snapshot_module._check_agreement

    def stale(*parts: Any) -> None:
        if parts[-1].version == snapshots[2][0]:
            raise OSError("stale file handle")
        check(*parts)

    with monkeypatch.context() as patched:
        patched.setattr(snapshot_module, "_check_agreement", stale)
        assert serving._on_announcement(announcement(snapshots[2], previous=snapshots[1]))
    assert serves(serving) == snapshots[1][0]
    assert not serving._on_announcement(announcement(snapshots[2], previous=snapshots[1]))
    assert serves(serving) == snapshots[2][0]


def test_a_worker_with_nothing_loaded_serves_as_soon_as_the_snapshot_can_be_read(
    topics: FreshTopics,
    metrics: WorkerMetrics,
    published: list[Snapshot],
    snapshots: list[tuple[str, Path]],
    tmp_path: Path,
) -> None:
    damage(snapshots[0])
    announce(topics.connection, topics.names.snapshots, "production", announcement(snapshots[0]))
    serving = make_serving(metrics, tmp_path, topics.connection, topics.names.snapshots, retry_s=0.1)
    serving.start()
    try:
        assert not serving.wait_for_snapshot(2)
        repair(snapshots[0], published)
        assert serving.wait_for_snapshot(20)
        assert serves(serving) == snapshots[0][0]
        assert refused(metrics) == 1
    finally:
        serving.stop()
    assert "announcements-production" not in [thread.name for thread in threading.enumerate()]


@pytest.fixture
def canary(metrics: WorkerMetrics) -> Serving:
    connection = KafkaConnection("nowhere:1")
    return Serving(
        connection,
        "snapshots",
        "canary",
        make_recommender=Recommender,
        last_good_file=None,
        metrics=metrics,
    )


def test_a_canary_serves_what_is_announced_until_it_is_given_back(
    canary: Serving, metrics: WorkerMetrics, snapshots: list[tuple[str, Path]]
) -> None:
    value = metrics.registry.get_sample_value
    assert not canary._on_announcement(None)
    assert not canary._on_announcement(announcement(snapshots[0]))
    assert not canary._on_announcement(announcement(snapshots[1]))
    assert serves(canary) == snapshots[1][0]
    assert value("nextclick_canary_info", {"version": snapshots[1][0]}) == 1
    assert value("nextclick_canary_info", {"version": snapshots[0][0]}) is None
    assert value("nextclick_snapshot_info", {"version": snapshots[1][0]}) is None
    assert not canary._on_announcement(None)
    assert serves(canary) is None
    assert value("nextclick_canary_info", {"version": snapshots[1][0]}) is None
    assert not canary._on_announcement(announcement(snapshots[1]))  # the same again
    assert serves(canary) == snapshots[1][0]
    assert (value("nextclick_snapshot_swaps_total"), refused(metrics)) == (0, 0)


def test_nothing_stands_in_for_a_bad_canary(
    canary: Serving, metrics: WorkerMetrics, snapshots: list[tuple[str, Path]], published: list[Snapshot]
) -> None:
    assert not canary._on_announcement(announcement(snapshots[0]))
    damage(snapshots[2])
    bad = announcement(snapshots[2], previous=snapshots[1])
    assert canary._on_announcement(bad)
    assert serves(canary) is None  # neither the one before nor the previous one: production answers
    assert refused(metrics) == 1
    repair(snapshots[2], published)
    assert not canary._on_announcement(bad)
    assert serves(canary) == snapshots[2][0]


def test_a_canary_that_was_given_up_stays_out_until_another_announcement(
    canary: Serving, metrics: WorkerMetrics, snapshots: list[tuple[str, Path]]
) -> None:
    first = announcement(snapshots[0])
    canary._on_announcement(first)
    canary.give_up(snapshots[0][0], "ZeroDivisionError")
    canary.give_up(snapshots[0][0], "ZeroDivisionError")
    assert serves(canary) is None
    assert refused(metrics) == 1
    assert not canary._on_announcement(first)
    assert serves(canary) is None
    canary._on_announcement(announcement(snapshots[1]))
    canary.give_up(snapshots[0][0], "a batch that was under way")
    assert serves(canary) == snapshots[1][0]
    canary._on_announcement(announcement(snapshots[0], previous=snapshots[1]))  # somebody means it
    assert serves(canary) == snapshots[0][0]
