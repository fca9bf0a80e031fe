import json
from pathlib import Path

import pytest

from streams.announcements import Announcement
from streams.retention import delete_old, publishing_at, versions_in_use
from streams.snapshot import MANIFEST_FILE, TEMPORARY_PREFIX, SnapshotError


def make_snapshots(location: Path, n: int) -> list[str]:
    versions = [f"2026010{day}T000000Z-abcdef" for day in range(1, n + 1)]
    for version in versions:
        (location / version).mkdir(parents=True)
        manifest = {
            "version": version,
            "created_ms": 0,
            "n_items": 1,
            "index_kind": "exact",
            "encoder": {},
            "files": {},
            "provenance": {},
        }
        (location / version / MANIFEST_FILE).write_text(json.dumps(manifest))
    return versions


def test_the_newest_and_those_in_use_stay(tmp_path: Path) -> None:
    versions = make_snapshots(tmp_path, 6)
    announced = {
        "production": Announcement(versions[2], f"{tmp_path}/{versions[2]}", "0", previous=versions[1]),
        "canary": Announcement(versions[5], f"{tmp_path}/{versions[5]}", "0"),
    }
    removed = delete_old(str(tmp_path), 2, versions_in_use(announced))
    assert removed == [versions[0], versions[3]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [versions[n] for n in (1, 2, 4, 5)]


def test_fewer_than_are_kept_all_stay(tmp_path: Path) -> None:
    make_snapshots(tmp_path, 2)
    assert delete_old(str(tmp_path), 5, ()) == []


def test_what_a_killed_trainer_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY_PREFIX}x" / "bundle").mkdir(parents=True)
    with publishing_at(str(tmp_path)):
        assert not list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))


def test_what_another_trainer_is_writing_is_left_alone(tmp_path: Path) -> None:
    with publishing_at(str(tmp_path)):
        (tmp_path / f"{TEMPORARY_PREFIX}x").mkdir()
        with publishing_at(str(tmp_path)):
            assert list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))
    with publishing_at(str(tmp_path)):
        assert not list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))


def test_a_folder_named_by_a_url_has_the_same_lock(tmp_path: Path) -> None:
    with publishing_at(str(tmp_path)):
        (tmp_path / f"{TEMPORARY_PREFIX}x").mkdir()
        with publishing_at(f"file://{tmp_path}"):
            assert list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(SnapshotError, match=r"cannot write snapshots to .*: Not a directory"),
        publishing_at(str(tmp_path / "file" / "snapshots")),
    ):
        pass
