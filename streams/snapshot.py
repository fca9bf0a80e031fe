"""A snapshot: encoder, vocabulary and index as one immutable bundle that is served together.

On disk a snapshot is a folder named by its version. Its manifest is written last and names every other
file with size and SHA-256, so a folder without a manifest does not exist, and a folder with one is
complete or refused. Nothing in a bundle is ever changed after it was announced.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import fsspec
import msgspec
import numpy as np

from index.approximate import load_index
from index.protocol import ItemIndex
from model.checkpoint import load_encoder, save_encoder
from model.encoder import SessionEncoder
from model.vocabulary import Vocabulary
from streams.errors import NextclickError

FORMAT_VERSION: Final = 1
ENCODER_FILE: Final = "encoder.safetensors"
ITEMS_FILE: Final = "items.parquet"
INDEX_FILE: Final = "index.faiss"
MANIFEST_FILE: Final = "manifest.json"
BUNDLE_FILES: Final = (ENCODER_FILE, ITEMS_FILE, INDEX_FILE)
TEMPORARY_PREFIX: Final = ".unfinished-"

_SELF_TEST_ITEMS = 32


class SnapshotError(NextclickError):
    """A snapshot is absent or is refused: the text names the bundle and the reason."""


class FileDigest(msgspec.Struct, frozen=True):
    """Size and SHA-256 of one file of the bundle."""

    bytes: int
    sha256: str


class OffsetRange(msgspec.Struct, frozen=True):
    """The offsets of one partition that a model was trained on; ``end`` is the first one left out."""

    partition: int
    start: int
    end: int


class TrainingWindow(msgspec.Struct, frozen=True):
    """What a model was trained on."""

    topic: str | None = None
    from_ms: int | None = None
    offsets: list[OffsetRange] = []
    history: list[str] = []
    n_clicks: int = 0
    n_sessions: int = 0


class Provenance(msgspec.Struct, frozen=True):
    """Where a snapshot comes from and what was measured of it.

    ``metrics_of`` says which model the metrics belong to: the one trained without the newest sessions
    that they were measured on, before it was trained through those too.
    """

    parent: str | None = None
    window: TrainingWindow = TrainingWindow()
    metrics: dict[str, float] = {}
    metrics_of: str = ""
    index_recall: float | None = None


class Manifest(msgspec.Struct, frozen=True):
    """The bundle's contents and history; its own SHA-256 travels in the announcement."""

    version: str
    created_ms: int
    n_items: int
    index_kind: str
    encoder: dict[str, Any]
    files: dict[str, FileDigest]
    provenance: Provenance
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Encoder, vocabulary and index that belong together; rows mean the same in all three."""

    version: str
    encoder: SessionEncoder
    vocabulary: Vocabulary
    index: ItemIndex
    manifest: Manifest
    manifest_sha256: str
    location: str


def save_snapshot(
    location: str,
    encoder: SessionEncoder,
    vocabulary: Vocabulary,
    index: ItemIndex,
    provenance: Provenance,
    *,
    created_ms: int | None = None,
) -> Snapshot:
    """Write a bundle under ``location`` (a path or any URL that fsspec opens), read back and verified.

    A reader sees all of it or nothing: locally a temporary folder is renamed, elsewhere the manifest
    is uploaded last. Raises :class:`SnapshotError` where the place cannot be written.
    """
    created_ms = int(time.time() * 1000) if created_ms is None else created_ms
    fs, root = _open_location(location)
    local = "file" in _protocols(fs)
    try:
        if local:
            Path(root).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=root if local else None) as name:
            folder = Path(name) / "bundle"
            folder.mkdir()
            version = _write_bundle(folder, encoder, vocabulary, index, provenance, created_ms)
            load_snapshot(str(folder))
            target = f"{root.rstrip('/')}/{version}"
            if local:
                folder.rename(target)
                _sync(Path(root))
            else:
                for file in (*BUNDLE_FILES, MANIFEST_FILE):
                    fs.put_file(str(folder / file), f"{target}/{file}")
    except SnapshotError:
        raise
    except Exception as error:  # each library that writes a file has its own for a disk that is full
        reason = getattr(error, "strerror", None) or _text(error)
        raise SnapshotError(f"cannot write a snapshot to {location}: {reason}") from error
    return load_snapshot(fs.unstrip_protocol(target) if not local else target)


def load_snapshot(location: str, *, manifest_sha256: str | None = None) -> Snapshot:
    """Open the bundle at ``location`` after checking all of it; raise :class:`SnapshotError` otherwise.

    Nothing else is raised, whatever a disk, an object store or a parser may fail with.
    ``manifest_sha256`` is what the announcement promised. Checked are, in this order: the manifest, size
    and SHA-256 of each file, shapes, numbers that are not finite, and that encoder and index agree on
    the scores of some items.
    """
    fs, root = _open_location(location)
    try:
        with _local_copy(fs, root) as folder:
            manifest, sha256 = _read_manifest(folder, manifest_sha256)
            for file, digest in manifest.files.items():
                _check_file(folder / file, digest)
            encoder = load_encoder(folder / ENCODER_FILE)
            vocabulary = Vocabulary.load(folder / ITEMS_FILE)
            index = load_index(folder / INDEX_FILE)
        _check_agreement(encoder, vocabulary, index, manifest)
    except SnapshotError as error:
        raise SnapshotError(f"snapshot {location} is refused: {error}") from error
    except Exception as error:  # a parser may fail in its own way on bytes that are what was promised
        raise SnapshotError(f"snapshot {location} is refused: cannot be read: {_text(error)}") from error
    return Snapshot(manifest.version, encoder, vocabulary, index, manifest, sha256, location)


def list_snapshots(location: str) -> list[Manifest]:
    """Give the manifests under ``location``, oldest first.

    Left out are folders without a readable manifest, and those whose name is not the version in it.
    """
    fs, root = _open_location(location)
    fs.invalidate_cache()  # other trainers write there too
    manifests = []
    for path in fs.glob(f"{root.rstrip('/')}/*/{MANIFEST_FILE}"):
        try:
            manifest = msgspec.json.decode(fs.cat_file(path), type=Manifest)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OSError):
            continue
        if manifest.version == path.split("/")[-2]:
            manifests.append(manifest)
    return sorted(manifests, key=lambda manifest: manifest.version)


def delete_snapshot(location: str, version: str) -> None:
    """Remove one bundle, its manifest first, so that no reader meets half of it."""
    fs, root = _open_location(location)
    target = f"{root.rstrip('/')}/{version}"
    if fs.exists(f"{target}/{MANIFEST_FILE}"):
        fs.rm_file(f"{target}/{MANIFEST_FILE}")
    if fs.exists(target):
        fs.rm(target, recursive=True)


def delete_unfinished(location: str) -> int:
    """Remove what writers that were killed left behind; give how many folders there were."""
    fs, root = _open_location(location)
    if "file" not in _protocols(fs):
        return 0
    folders = list(Path(root).glob(f"{TEMPORARY_PREFIX}*"))
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(folders)


def snapshot_location(location: str, version: str) -> str:
    """Give the address of one bundle, absolute so that every worker reads the same one."""
    fs, root = _open_location(location)
    target = f"{root.rstrip('/')}/{version}"
    return target if "file" in _protocols(fs) else str(fs.unstrip_protocol(target))


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _open_location(location: str) -> tuple[Any, str]:
    try:
        fs, root = fsspec.core.url_to_fs(location)
    except Exception as error:  # each kind of file system has its own for keys and hosts that are wrong
        raise SnapshotError(f"snapshot location {location!r} cannot be opened: {_text(error)}") from error
    return fs, str(root)


def _text(error: Exception) -> str:
    """What an error says, or its name: a time-out says nothing."""
    return str(error) or type(error).__name__


@contextmanager
def _local_copy(fs: Any, root: str) -> Iterator[Path]:
    """Give a local folder with the bundle: itself, or a download that is gone afterwards."""
    if "file" in _protocols(fs):
        yield Path(root)
        return
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as name:
        try:
            fs.invalidate_cache()  # what was absent at an earlier try may be there now
            for file in (MANIFEST_FILE, *BUNDLE_FILES):
                fs.get_file(f"{root.rstrip('/')}/{file}", str(Path(name) / file))
        except FileNotFoundError:
            pass  # the checks say which file is missing
        except Exception as error:
            raise SnapshotError(f"cannot be downloaded: {_text(error)}") from error
        yield Path(name)


def _write_bundle(
    folder: Path,
    encoder: SessionEncoder,
    vocabulary: Vocabulary,
    index: ItemIndex,
    provenance: Provenance,
    created_ms: int,
) -> str:
    save_encoder(encoder, folder / ENCODER_FILE)
    vocabulary.save(folder / ITEMS_FILE)
    index.save(folder / INDEX_FILE)
    files = {file: _digest(folder / file) for file in BUNDLE_FILES}
    contents = hashlib.sha256("".join(files[file].sha256 for file in BUNDLE_FILES).encode())
    created = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(created_ms / 1000))
    version = f"{created}-{contents.hexdigest()[:6]}"
    manifest = Manifest(
        version=version,
        created_ms=created_ms,
        n_items=len(vocabulary),
        index_kind=index.kind,
        encoder=encoder.config.to_dict(),
        files=files,
        provenance=provenance,
    )
    (folder / MANIFEST_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    for file in (*BUNDLE_FILES, MANIFEST_FILE):
        (folder / file).chmod(0o644)  # safetensors lets nobody else read, but workers may be other users
        _sync(folder / file)
    _sync(folder)
    return version


def _sync(path: Path) -> None:
    """Bring a file or folder to disk: a rename must not be seen before what it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> FileDigest:
    with path.open("rb") as file:
        return FileDigest(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _read_manifest(folder: Path, promised_sha256: str | None) -> tuple[Manifest, str]:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise SnapshotError(f"it has no {MANIFEST_FILE}")
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if promised_sha256 is not None and sha256 != promised_sha256:
        raise SnapshotError(f"the SHA-256 of its {MANIFEST_FILE} is not the announced one")
    try:
        found = msgspec.json.decode(content, type=dict[str, Any]).get("format_version")
        if found != FORMAT_VERSION:
            raise SnapshotError(f"its format version is {found}, this program reads {FORMAT_VERSION}")
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.MsgspecError as error:
        raise SnapshotError(f"its {MANIFEST_FILE} cannot be read: {error}") from error
    if missing := set(BUNDLE_FILES) - set(manifest.files):
        raise SnapshotError(f"its {MANIFEST_FILE} does not name {', '.join(sorted(missing))}")
    return manifest, sha256


def _check_file(path: Path, promised: FileDigest) -> None:
    if not path.is_file():
        raise SnapshotError(f"{path.name} is missing")
    if (size := path.stat().st_size) != promised.bytes:
        raise SnapshotError(f"{path.name} has {size} bytes, its manifest says {promised.bytes}")
    if _digest(path).sha256 != promised.sha256:
        raise SnapshotError(f"the SHA-256 of {path.name} is not the one in its manifest")


def _check_agreement(
    encoder: SessionEncoder, vocabulary: Vocabulary, index: ItemIndex, manifest: Manifest
) -> None:
    """Check that the three parts are of one model: sizes, finite numbers, equal scores."""
    sizes = {
        "encoder": encoder.n_items,
        "vocabulary": len(vocabulary),
        "index": index.n_items,
        "manifest": manifest.n_items,
    }
    if len(set(sizes.values())) > 1:
        raise SnapshotError(f"its parts differ in their number of items: {sizes}")
    if encoder.query_dim != index.dim:
        raise SnapshotError(f"queries have {encoder.query_dim} numbers, the index takes {index.dim}")
    probes = np.unique(np.linspace(0, encoder.n_items - 1, _SELF_TEST_ITEMS).astype(np.int64))
    states = encoder.advance(encoder.initial_states(len(probes)), probes)
    queries = encoder.queries(states)
    if not np.isfinite(queries).all():
        raise SnapshotError("its encoder gives numbers that are not finite")
    scores, rows = index.search(queries, min(10, index.n_items))
    vectors = encoder.item_vectors(rows.reshape(-1)).reshape(*rows.shape, -1)
    expected = np.einsum("qd,qkd->qk", queries, vectors)
    if not np.isfinite(expected).all():
        raise SnapshotError("its item vectors have numbers that are not finite")
    if not np.allclose(scores, expected, rtol=1e-3, atol=1e-3):
        raise SnapshotError("its index does not give the encoder's scores: they are of different models")
