"""Which snapshot serves: the announced one, else one that is known to be good; never a damaged one."""

import hashlib
import logging
import shutil
from pathlib import Path

import pytest

from streams.announcements import Announcement
from streams.kafka import KafkaConnection
from streams.metrics import WorkerMetrics
from streams.recommender import Recommender
from streams.serving import Serving
from streams.snapshot import Provenance, Snapshot, save_snapshot
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


def make_serving(metrics: WorkerMetrics, folder: Path) -> Serving:
    return Serving(
        KafkaConnection("nowhere:1"),
        "snapshots",
        "production",
        make_recommender=Recommender,
        last_good_file=folder / "last-good",
        metrics=metrics,
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
