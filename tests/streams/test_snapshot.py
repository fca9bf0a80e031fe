"""Snapshots on disk and elsewhere: complete or refused, with a reason a person can act on."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams import snapshot as snapshot_module
from streams.events import Click
from streams.recommender import Arrival, Recommender, RepeatItems
from streams.snapshot import (
    BUNDLE_FILES,
    OffsetRange,
    Provenance,
    Snapshot,
    SnapshotError,
    TrainingWindow,
    delete_snapshot,
    delete_unfinished,
    list_snapshots,
    load_snapshot,
    save_snapshot,
    snapshot_location,
)
from tests.damage import (
    another_index,
    flip,
    promise,
    promised_garbage,
    promised_half,
    remove,
    rewrite_manifest,
    truncate,
    weights,
)
from tests.tiny import CONFIG, ITEMS, tiny_parts

GOLDEN = Path(__file__).parent / "golden" / "snapshot-v1"
CREATED_MS = 1_763_784_900_123
PROVENANCE = Provenance(
    parent="20251122T000000Z-000000",
    window=TrainingWindow("clicks", 1, [OffsetRange(0, 10, 52)], ["train.tsv.gz"], 42, 7),
    metrics={"recall@20": 0.65},
    metrics_of="trained without the newest tenth of the sessions",
    index_recall=1.0,
)


def save(location: Path | str, seed: int = 0, created_ms: int = CREATED_MS) -> Snapshot:
    return save_snapshot(str(location), *tiny_parts(seed), PROVENANCE, created_ms=created_ms)


def answers(snapshot: Snapshot) -> list[str]:
    recommender = Recommender(snapshot, top_k=4, repeat_items=RepeatItems.ALL)
    one = Arrival(Click("s", "item-03"), 0, 0, CREATED_MS)
    (recommendation,) = recommender.answer([one], {}, created_ms=0).recommendations
    return [item.item_id for item in recommendation.items]


def test_golden_snapshot_of_format_1(tmp_path: Path) -> None:
    """A bundle that was ever published must stay loadable. REWRITE_GOLDEN=1 writes it anew."""
    if os.environ.get("REWRITE_GOLDEN"):
        saved = save(tmp_path)
        shutil.rmtree(GOLDEN, ignore_errors=True)
        shutil.copytree(saved.location, GOLDEN)
    golden = load_snapshot(str(GOLDEN))
    assert golden.version == "20251122T041500Z-" + golden.version[-6:]
    assert golden.manifest.format_version == 1
    assert golden.manifest.provenance == PROVENANCE
    assert golden.vocabulary.item_ids == ITEMS
    assert golden.vocabulary.counts.tolist() == list(range(120, 0, -10))
    assert golden.encoder.config == CONFIG
    assert golden.index.kind == "exact"
    assert answers(golden) == ["item-00", "item-07", "item-09", "item-02"]


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    saved = save(tmp_path)
    loaded = load_snapshot(saved.location, manifest_sha256=saved.manifest_sha256)
    assert saved.location == f"{tmp_path}/{saved.version}" == snapshot_location(str(tmp_path), saved.version)
    assert loaded.manifest == saved.manifest
    assert loaded.manifest.provenance == PROVENANCE
    assert answers(loaded) == answers(saved)
    encoder, _, _ = tiny_parts()
    np.testing.assert_array_equal(loaded.encoder.item_vectors(), encoder.item_vectors())
    assert {path.name for path in Path(saved.location).iterdir()} == {*BUNDLE_FILES, "manifest.json"}
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in Path(saved.location).iterdir())
    assert [path.name for path in tmp_path.iterdir()] == [saved.version]


def test_no_file_is_a_pickle() -> None:
    """safetensors begins with its header's length and JSON, Parquet and FAISS with their names."""
    assert (GOLDEN / "encoder.safetensors").read_bytes()[8:9] == b"{"
    assert (GOLDEN / "items.parquet").read_bytes()[:4] == b"PAR1"
    assert (GOLDEN / "index.faiss").read_bytes()[:4] == b"IxFI"


def other_items(ids: list[str]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        rows, counts = np.arange(len(ids)), np.arange(len(ids), 0, -1)
        pq.write_table(pa.table({"item_id": ids, "row": rows, "count": counts}), folder / "items.parquet")
        promise(folder)

    return damage


def vectors_of(seed: int = 0) -> np.ndarray[Any, Any]:
    return tiny_parts(seed)[0].item_vectors()


DAMAGES: list[tuple[str, Callable[[Path], None], str]] = [
    *((f"missing {file}", remove(file), f"{file} is missing") for file in BUNDLE_FILES),
    *(
        (f"truncated {file}", truncate(file), f"{file} has .* bytes, its manifest says")
        for file in BUNDLE_FILES
    ),
    *((f"flipped {file}", flip(file), f"SHA-256 of {file} is not the one") for file in BUNDLE_FILES),
    *((f"garbage {file}", promised_garbage(file), file) for file in BUNDLE_FILES),
    *((f"half {file}", promised_half(file), file) for file in BUNDLE_FILES),
    *((f"empty {file}", promised_garbage(file, b""), file) for file in BUNDLE_FILES),
    ("no manifest", remove("manifest.json"), "has no manifest.json"),
    ("half a manifest", truncate("manifest.json"), "manifest.json cannot be read"),
    ("binary manifest", lambda folder: _write(folder, b"\xff\xfe\x00"), "cannot be read"),
    ("manifest is a list", lambda folder: _write(folder, b"[]"), "manifest.json cannot be read"),
    ("deep manifest", lambda folder: _write(folder, b"[" * 100_000), "cannot be read"),
    ("manifest without a version", lambda folder: _write(folder, b'{"format_version": 1}'), "cannot be read"),
    ("no format version", lambda folder: _write(folder, b"{}"), "format version is None, .* reads 1"),
    ("next format", lambda f: rewrite_manifest(f, format_version=2), "format version is 2, .* reads 1"),
    ("format as text", lambda f: rewrite_manifest(f, format_version="1"), "format version is 1"),
    ("manifest names no files", lambda f: rewrite_manifest(f, files={}), "does not name encoder.safetensors"),
    ("manifest counts otherwise", lambda f: rewrite_manifest(f, n_items=13), "number of items"),
    ("NaN", weights(lambda tensors: tensors["items"][3].fill_(float("nan"))), "NaN"),
    ("infinite bias", weights(lambda tensors: tensors["bias"][3].fill_(float("inf"))), "infinity"),
    ("a weight is missing", weights(lambda tensors: tensors.pop("bias")), "does not fit its configuration"),
    ("overflow", weights(lambda tensors: tensors["log_scale"].fill_(200.0)), "not finite"),
    ("index of another model", another_index(lambda: vectors_of(seed=9)), "different models"),
    ("index in another order", another_index(lambda: vectors_of()[::-1].copy()), "different models"),
    ("index of fewer items", another_index(lambda: vectors_of()[:-1]), "number of items"),
    ("index of another width", another_index(lambda: vectors_of()[:, :-1]), "the index takes 6"),
    ("fewer names", other_items(list(ITEMS[:-1])), "number of items"),
    ("a name twice", other_items([*ITEMS[:-1], ITEMS[0]]), "stands twice"),
]


def _write(folder: Path, content: bytes) -> None:
    (folder / "manifest.json").write_bytes(content)


@pytest.mark.parametrize(("damage", "reason"), [one[1:] for one in DAMAGES], ids=[one[0] for one in DAMAGES])
def test_damage_is_refused_with_its_reason(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(GOLDEN, folder)
    damage(folder)
    with pytest.raises(SnapshotError, match=f"snapshot {folder} is refused: .*{reason}") as raised:
        load_snapshot(str(folder))
    assert "\n" not in str(raised.value)


def test_another_manifest_than_the_announced_one_is_refused() -> None:
    with pytest.raises(SnapshotError, match=r"SHA-256 of its manifest.json is not the announced one"):
        load_snapshot(str(GOLDEN), manifest_sha256="0" * 64)
    sha256 = hashlib.sha256((GOLDEN / "manifest.json").read_bytes()).hexdigest()
    assert load_snapshot(str(GOLDEN), manifest_sha256=sha256).manifest_sha256 == sha256


@pytest.mark.parametrize(
    "location", ["/nowhere/at/all", "nosuchprotocol://bucket/x", "memory://nothing/here"]
)
def test_a_location_without_a_snapshot(location: str) -> None:
    with pytest.raises(SnapshotError, match=location.split("//")[-1]):
        load_snapshot(location)


def test_list_and_delete(tmp_path: Path) -> None:
    assert list_snapshots(str(tmp_path / "absent")) == []
    old, new = save(tmp_path, created_ms=CREATED_MS), save(tmp_path, seed=1, created_ms=CREATED_MS + 60_000)
    assert [one.version for one in list_snapshots(str(tmp_path))] == [old.version, new.version]
    delete_snapshot(str(tmp_path), old.version)
    assert [one.version for one in list_snapshots(str(tmp_path))] == [new.version]
    assert not Path(old.location).exists()
    delete_snapshot(str(tmp_path), old.version)  # gone already


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 100_000, b'{"format_version": 1}'])
def test_folders_without_a_readable_manifest_are_not_listed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "20251122T041500Z-abcdef").mkdir()
    (tmp_path / "20251122T041500Z-abcdef" / "manifest.json").write_bytes(content)
    assert list_snapshots(str(tmp_path)) == []


def test_a_folder_that_is_not_named_by_its_version_is_not_listed(tmp_path: Path) -> None:
    """What deletes by version would otherwise delete another folder, or all of them."""
    saved = save(tmp_path)
    for version in ("..", "", "20251122T041500Z-abcdef"):
        rewrite_manifest(Path(saved.location), version=version)
        assert list_snapshots(str(tmp_path)) == []


def test_a_writer_that_is_killed_leaves_nothing_that_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk as it is when all is written and only the rename is missing, and one step earlier."""
    root, left = tmp_path / "snapshots", tmp_path / "left"

    def look(location: str) -> Snapshot:
        if not left.exists():
            shutil.copytree(root, left)
        return load_snapshot(location)

    monkeypatch.setattr(snapshot_module, "load_snapshot", look)
    save(root)
    (unfinished,) = left.iterdir()
    assert unfinished.name.startswith(".unfinished-")
    assert (unfinished / "bundle" / "manifest.json").exists()
    assert list_snapshots(str(left)) == []
    assert delete_unfinished(str(left)) == 1
    assert list(left.iterdir()) == []
    assert delete_unfinished(str(root)) == 0
    assert len(list_snapshots(str(root))) == 1


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot_module, "save_encoder", full)
    with pytest.raises(SnapshotError, match=f"snapshot to {tmp_path}: No space left on device"):
        save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match=r"cannot write a snapshot to .*: Not a directory"):
        save(tmp_path / "file" / "snapshots")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_clear_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SnapshotError, match=r"cannot write a snapshot to .*: Permission denied"):
        save(tmp_path)


@pytest.fixture
def memory() -> Iterator[Any]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_any_place_that_fsspec_opens(memory: Any) -> None:
    location = "memory://bucket/snapshots"
    saved = save(location)
    assert saved.location == snapshot_location(location, saved.version)
    assert saved.location.startswith("memory://")
    loaded = load_snapshot(saved.location, manifest_sha256=saved.manifest_sha256)
    assert answers(loaded) == answers(saved)
    assert [one.version for one in list_snapshots(location)] == [saved.version]
    assert delete_unfinished(location) == 0
    memory.rm_file(f"/bucket/snapshots/{saved.version}/index.faiss")
    with pytest.raises(SnapshotError, match=r"index.faiss is missing"):
        load_snapshot(saved.location)
    delete_snapshot(location, saved.version)
    assert list_snapshots(location) == []
    assert memory.find("/bucket") == []


@pytest.mark.parametrize("place", ["folder", "object store"])
def test_what_was_half_deleted_or_uploaded_goes_a_day_later(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    location = str(tmp_path) if place == "folder" else "memory://bucket/snapshots"
    fs, root = fsspec.core.url_to_fs(location)
    whole, half = save(location), save(location, seed=1, created_ms=CREATED_MS + 60_000)
    fs.rm_file(f"{root}/{half.version}/manifest.json")
    fs.makedirs(f"{root}/notes", exist_ok=True)
    fs.pipe_file(f"{root}/notes/text", b"of somebody else")
    assert delete_unfinished(location) == 0  # it may be being uploaded now
    monkeypatch.setattr("streams.snapshot_store.LEFT_OVER_S", -1.0)
    assert delete_unfinished(location) == 1
    assert not fs.exists(f"{root}/{half.version}")
    assert fs.exists(f"{root}/notes/text")
    assert [one.version for one in list_snapshots(location)] == [whole.version]
    assert delete_unfinished("memory://never/made") == 0


def test_elsewhere_the_manifest_comes_last(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put = memory.put_file
    uploaded: list[str] = []

    def put_three(source: str, target: str, **options: Any) -> None:
        if len(uploaded) == 3:
            raise OSError("connection lost")
        uploaded.append(target.rsplit("/", 1)[1])
        put(source, target, **options)

    monkeypatch.setattr(memory, "put_file", put_three)
    with pytest.raises(SnapshotError, match="cannot write a snapshot to memory://bucket: connection lost"):
        save("memory://bucket")
    assert uploaded == list(BUNDLE_FILES)
    assert list_snapshots("memory://bucket") == []


@pytest.mark.parametrize("error", [OSError("connection lost"), ValueError("no such key"), TimeoutError()])
def test_whatever_fails_while_downloading_is_a_refusal_that_passes(
    memory: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    location = save("memory://bucket").location

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(memory, "get_file", fail)
        reason = str(error) or "TimeoutError"
        with pytest.raises(SnapshotError, match=f"{location} is refused: cannot be downloaded: {reason}"):
            load_snapshot(location)
    assert load_snapshot(location).location == location


def test_whatever_fails_while_opening_or_checking_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = save(tmp_path).location

    def fail(*_: Any) -> None:
        raise RuntimeError("of a library")

    monkeypatch.setattr(snapshot_module, "_check_agreement", fail)
    with pytest.raises(SnapshotError, match=f"{location} is refused: cannot be read: of a library"):
        load_snapshot(location)
    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    with pytest.raises(SnapshotError, match=f"'{location}' cannot be opened: of a library"):
        load_snapshot(location)
