"""A snapshot: encoder, vocabulary, index and the ranking over them as one immutable bundle, served together.

On disk a snapshot is a folder named by its version: ``streams/manifest.py`` has its files and its manifest,
``streams/snapshot_store.py`` the places where folders are kept.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from index.approximate import load_index
from index.protocol import ItemIndex
from model.blend import BlendedRanking
from model.blend_ranker import REMEMBERED_ITEMS
from model.checkpoint import load_encoder, save_encoder
from model.encoder import SessionEncoder
from model.vocabulary import Vocabulary
from streams.manifest import (
    BUNDLE_FILES,
    ENCODER_FILE,
    INDEX_FILE,
    ITEMS_FILE,
    MANIFEST_FILE,
    RANKING_FILE,
    FileDigest,
    Manifest,
    OffsetRange,
    Provenance,
    SnapshotError,
    TrainingWindow,
    Verdict,
    check_file,
    digest_of,
    read_manifest,
)
from streams.snapshot_store import (
    TEMPORARY_PREFIX,
    delete_snapshot,
    delete_unfinished,
    error_text,
    is_local,
    list_snapshots,
    local_copy,
    open_location,
    snapshot_location,
    sync,
)

__all__ = [
    "BUNDLE_FILES",
    "ENCODER_FILE",
    "INDEX_FILE",
    "ITEMS_FILE",
    "MANIFEST_FILE",
    "RANKING_FILE",
    "TEMPORARY_PREFIX",
    "FileDigest",
    "Manifest",
    "OffsetRange",
    "Provenance",
    "Snapshot",
    "SnapshotError",
    "TrainingWindow",
    "Verdict",
    "delete_snapshot",
    "delete_unfinished",
    "list_snapshots",
    "load_snapshot",
    "save_snapshot",
    "snapshot_location",
]

_SELF_TEST_ITEMS = 32


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Parts that belong together; rows mean the same in all of them. ``ranking`` is None in older bundles,
    and where there were too few clicks to learn one from.
    """

    version: str
    encoder: SessionEncoder
    vocabulary: Vocabulary
    index: ItemIndex
    manifest: Manifest
    manifest_sha256: str
    location: str
    ranking: BlendedRanking | None = None


def save_snapshot(
    location: str,
    encoder: SessionEncoder,
    vocabulary: Vocabulary,
    index: ItemIndex,
    provenance: Provenance,
    *,
    ranking: BlendedRanking | None = None,
    created_ms: int | None = None,
    judge: Callable[[Snapshot], Provenance] | None = None,
) -> Snapshot:
    """Write a bundle under ``location`` (a path or any URL that fsspec opens), read back and verified.

    A reader sees all of it or nothing: locally a temporary folder is renamed, elsewhere the manifest
    is uploaded last. ``judge`` is given the bundle as it was read back, before anybody else can see it, and
    tells the provenance that it gets. Raises :class:`SnapshotError` where the place cannot be written.
    """
    created_ms = int(time.time() * 1000) if created_ms is None else created_ms
    fs, root = open_location(location)
    local = is_local(fs)
    try:
        if local:
            Path(root).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=root if local else None) as name:
            folder = Path(name) / "bundle"
            folder.mkdir()
            version = _write_bundle(folder, encoder, vocabulary, index, ranking, provenance, created_ms)
            saved = load_snapshot(str(folder))
            if judge is not None:
                _write_manifest(folder, msgspec.structs.replace(saved.manifest, provenance=judge(saved)))
            del saved
            target = f"{root.rstrip('/')}/{version}"
            if local:
                folder.rename(target)
                sync(Path(root))
            else:
                for file in (*_files(ranking), MANIFEST_FILE):
                    fs.put_file(str(folder / file), f"{target}/{file}")
    except SnapshotError:
        raise
    except Exception as error:  # each library that writes a file has its own for a disk that is full
        reason = getattr(error, "strerror", None) or error_text(error)
        raise SnapshotError(f"cannot write a snapshot to {location}: {reason}") from error
    return load_snapshot(fs.unstrip_protocol(target) if not local else target)


def load_snapshot(location: str, *, manifest_sha256: str | None = None) -> Snapshot:
    """Open the bundle at ``location`` after checking all of it; raise :class:`SnapshotError` otherwise.

    Nothing else is raised, whatever a disk, an object store or a parser may fail with.
    ``manifest_sha256`` is what the announcement promised. Checked are, in this order: the manifest, size
    and SHA-256 of each file, shapes, numbers that are not finite, and that encoder and index agree on
    the scores of some items, which the ranking must be able to order.
    """
    fs, root = open_location(location)
    try:
        with local_copy(fs, root) as folder:
            manifest, sha256 = read_manifest(folder, manifest_sha256)
            for file, digest in manifest.files.items():
                check_file(folder / file, digest)
            encoder = load_encoder(folder / ENCODER_FILE)
            vocabulary = Vocabulary.load(folder / ITEMS_FILE)
            index = load_index(folder / INDEX_FILE)
            stored = RANKING_FILE in manifest.files
            ranking = BlendedRanking.load(folder / RANKING_FILE) if stored else None
        _check_agreement(encoder, vocabulary, index, ranking, manifest)
    except SnapshotError as error:
        raise type(error)(f"snapshot {location} is refused: {error}") from error
    except Exception as error:  # a parser may fail in its own way on bytes that are what was promised
        raise SnapshotError(f"snapshot {location} is refused: cannot be read: {error_text(error)}") from error
    return Snapshot(manifest.version, encoder, vocabulary, index, manifest, sha256, location, ranking)


def _files(ranking: BlendedRanking | None) -> tuple[str, ...]:
    return BUNDLE_FILES if ranking is None else (*BUNDLE_FILES, RANKING_FILE)


def _write_bundle(
    folder: Path,
    encoder: SessionEncoder,
    vocabulary: Vocabulary,
    index: ItemIndex,
    ranking: BlendedRanking | None,
    provenance: Provenance,
    created_ms: int,
) -> str:
    save_encoder(encoder, folder / ENCODER_FILE)
    vocabulary.save(folder / ITEMS_FILE)
    index.save(folder / INDEX_FILE)
    if ranking is not None:
        ranking.save(folder / RANKING_FILE)
    files = {file: digest_of(folder / file) for file in _files(ranking)}
    contents = hashlib.sha256("".join(digest.sha256 for digest in files.values()).encode())
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
    for file in files:
        (folder / file).chmod(0o644)  # safetensors lets nobody else read, but workers may be other users
        sync(folder / file)
    _write_manifest(folder, manifest)
    return version


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    path = folder / MANIFEST_FILE
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2))
    path.chmod(0o644)
    sync(path)
    sync(folder)


def _check_agreement(
    encoder: SessionEncoder,
    vocabulary: Vocabulary,
    index: ItemIndex,
    ranking: BlendedRanking | None,
    manifest: Manifest,
) -> None:
    """Check that the parts are of one model: sizes, finite numbers, equal scores, a ranking that orders."""
    sizes = {
        "encoder": encoder.n_items,
        "vocabulary": len(vocabulary),
        "index": index.n_items,
        "manifest": manifest.n_items,
    }
    if ranking is not None:
        sizes["ranking"] = ranking.memory.n_items
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
    if ranking is not None:
        recent = np.full((len(probes), REMEMBERED_ITEMS), -1, dtype=np.int64)
        recent[:, 0] = probes
        with np.errstate(over="ignore", invalid="ignore"):  # the numbers tell
            ordered, _ = ranking.find(index.search, queries, recent, min(10, index.n_items))
        if not np.isfinite(ordered).all():
            raise SnapshotError("its ranking gives numbers that are not finite")
