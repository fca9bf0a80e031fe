"""Snapshots in an object store: a real S3 server keeps, lists, gives and loses them."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from streams.announcements import Announcement
from streams.metrics import WorkerMetrics
from streams.retention import delete_pruned, to_prune
from streams.snapshot import (
    INDEX_FILE,
    MANIFEST_FILE,
    Provenance,
    Snapshot,
    SnapshotError,
    list_snapshots,
    load_snapshot,
    save_snapshot,
    snapshot_location,
)
from streams.snapshot_store import manifest_sha256
from tests.object_store import s3_server
from tests.streams.test_serving import make_serving, serves
from tests.tiny import tiny_parts, tiny_ranking

LOCATION = "s3://nextclick/shop/snapshots"


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    with s3_server() as environment:
        yield environment


@pytest.fixture(autouse=True)
def credentials(store: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def published(store: dict[str, str]) -> list[Snapshot]:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in store.items():
            patched.setenv(name, value)
        return [
            save_snapshot(
                LOCATION,
                *tiny_parts(seed),
                Provenance(),
                ranking=tiny_ranking(seed),
                created_ms=1_700_000_000_000 + seed * 60_000,
            )
            for seed in range(4)
        ]


def test_what_was_saved_is_listed_and_loaded(published: list[Snapshot]) -> None:
    assert [manifest.version for manifest in list_snapshots(LOCATION)] == [one.version for one in published]
    location = snapshot_location(LOCATION, published[1].version)
    assert location == published[1].location == f"{LOCATION}/{published[1].version}"
    loaded = load_snapshot(location, manifest_sha256=published[1].manifest_sha256)
    assert manifest_sha256(location) == loaded.manifest_sha256
    assert loaded.manifest == published[1].manifest
    assert loaded.ranking is not None
    assert (loaded.encoder.item_vectors() == published[1].encoder.item_vectors()).all()
    with pytest.raises(SnapshotError, match="is not the announced one"):
        load_snapshot(location, manifest_sha256="0" * 64)


def announcement_of(snapshot: Snapshot) -> Announcement:
    return Announcement(snapshot.version, snapshot.location, snapshot.manifest_sha256)


def test_a_worker_swaps_what_is_there_and_refuses_what_is_damaged(
    published: list[Snapshot], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, damaged, _ = published
    serving = make_serving(WorkerMetrics(), tmp_path)
    serving._on_announcement(announcement_of(first))
    serving._on_announcement(announcement_of(second))
    assert serves(serving) == second.version
    fs = fsspec.filesystem("s3")
    path = f"{damaged.location}/{INDEX_FILE}"
    content = fs.cat_file(path)
    fs.pipe_file(path, content[:100])
    assert serving._on_announcement(announcement_of(damaged))
    assert serves(serving) == second.version
    assert "index.faiss has 100 bytes" in caplog.text
    fs.pipe_file(path, content)
    assert not serving._on_announcement(announcement_of(damaged))
    assert serves(serving) == damaged.version


def test_without_its_manifest_a_bundle_does_not_exist(published: list[Snapshot]) -> None:
    fs = fsspec.filesystem("s3")
    path = f"{published[3].location}/{MANIFEST_FILE}"
    content = fs.cat_file(path)
    fs.rm_file(path)
    assert published[3].version not in [manifest.version for manifest in list_snapshots(LOCATION)]
    with pytest.raises(SnapshotError, match="it has no manifest"):
        load_snapshot(published[3].location)
    fs.pipe_file(path, content)
    assert load_snapshot(published[3].location).version == published[3].version


def test_pruning_removes_them(published: list[Snapshot]) -> None:
    versions = [one.version for one in published]
    pruned = to_prune(list_snapshots(LOCATION), keep=1, before_ms=None, in_use={versions[1]})
    assert pruned == [versions[0], versions[2]]
    delete_pruned(LOCATION, pruned)
    assert [manifest.version for manifest in list_snapshots(LOCATION)] == [versions[1], versions[3]]
    assert not fsspec.filesystem("s3").exists(published[0].location)


def test_a_store_that_is_away_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client tries again and again; what it would sleep in between is counted, and not slept."""
    slept_s: list[float] = []
    sleep = asyncio.sleep

    async def counted(delay: float, *rest: Any) -> None:
        slept_s.append(delay)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", counted)
    began_s = time.monotonic()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(SnapshotError, match=r"snapshot s3://nextclick/x/v1 is refused: cannot be downloaded"):
        load_snapshot("s3://nextclick/x/v1")
    fsspec.filesystem("s3").clear_instance_cache()
    assert time.monotonic() - began_s + sum(slept_s) < 60
