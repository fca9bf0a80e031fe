"""Where snapshots are kept: a folder or an object store, of which this module lists, removes and fetches.

Each bundle is a folder named by its version. Nothing in a bundle is ever changed after it was announced.
"""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import fsspec
import msgspec

from streams.manifest import (
    BUNDLE_FILES,
    MANIFEST_FILE,
    RANKING_FILE,
    Manifest,
    SnapshotError,
    SnapshotUnreachable,
)

TEMPORARY_PREFIX: Final = ".unfinished-"
LEFT_OVER_S: Final = 86_400.0
"""A bundle without a manifest in which nothing was written for so long is nobody's any more."""
_VERSION: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")


class Listing(NamedTuple):
    """What stands in one place: manifests, oldest first; and what is wrong with others, by their folder."""

    manifests: list[Manifest]
    damaged: dict[str, str]


def list_snapshots(location: str) -> list[Manifest]:
    """Give the manifests under ``location``, oldest first; damaged ones are left out."""
    return list_with_damaged(location).manifests


def list_with_damaged(location: str) -> Listing:
    """Give the manifests under ``location``, and what is wrong with those left out."""
    fs, root = open_location(location)
    fs.invalidate_cache()  # other trainers write there too
    manifests, damaged = [], {}
    for path in sorted(fs.glob(f"{root.rstrip('/')}/*/{MANIFEST_FILE}")):
        folder = path.split("/")[-2]
        try:
            manifest = msgspec.json.decode(fs.cat_file(path), type=Manifest)
        except FileNotFoundError:
            continue  # deleted meanwhile
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OSError) as error:
            damaged[folder] = f"its {MANIFEST_FILE} cannot be read: {error_text(error)}"
            continue
        if manifest.version == folder:
            manifests.append(manifest)
        else:
            damaged[folder] = f"its {MANIFEST_FILE} is that of {manifest.version!r}"
    return Listing(sorted(manifests, key=lambda manifest: manifest.version), damaged)


def manifest_sha256(location: str) -> str:
    """Give the checksum of a bundle's manifest, which an announcement promises; raises SnapshotError."""
    fs, root = open_location(location)
    try:
        fs.invalidate_cache()
        content = fs.cat_file(f"{root.rstrip('/')}/{MANIFEST_FILE}")
    except Exception as error:  # each kind of file system has its own
        raise SnapshotError(f"snapshot {location} cannot be read: {error_text(error)}") from error
    return hashlib.sha256(content).hexdigest()


def delete_snapshot(location: str, version: str) -> None:
    """Remove one bundle, its manifest first, so that no reader meets half of it."""
    fs, root = open_location(location)
    target = f"{root.rstrip('/')}/{version}"
    if fs.exists(f"{target}/{MANIFEST_FILE}"):
        fs.rm_file(f"{target}/{MANIFEST_FILE}")
    if fs.exists(target):
        fs.rm(target, recursive=True)


def delete_unfinished(location: str) -> int:
    """Remove what writers that were killed left behind; give how many folders there were.

    Locally these are temporary ones, for which no other writer may be at work; and anywhere bundles without
    a manifest, of an upload or a deletion that was cut short a day ago or longer.
    """
    fs, root = open_location(location)
    folders = list(Path(root).glob(f"{TEMPORARY_PREFIX}*")) if is_local(fs) else []
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(folders) + _delete_headless(fs, root)


def _delete_headless(fs: Any, root: str) -> int:
    n_deleted = 0
    with suppress(Exception):  # each file system has its own; tidying up is nothing to fail for
        fs.invalidate_cache()
        for listed in fs.ls(root, detail=False):
            path = str(listed).rstrip("/")
            is_bundle = _VERSION.fullmatch(path.rpartition("/")[2]) is not None
            if not is_bundle or fs.exists(f"{path}/{MANIFEST_FILE}"):
                continue
            written_s = [fs.modified(file).timestamp() for file in fs.find(path)]
            if time.time() - max(written_s, default=0.0) > LEFT_OVER_S:
                fs.rm(path, recursive=True)
                n_deleted += 1
    return n_deleted


def snapshot_location(location: str, version: str) -> str:
    """Give the address of one bundle, absolute so that every worker reads the same one."""
    fs, root = open_location(location)
    target = f"{root.rstrip('/')}/{version}"
    return target if is_local(fs) else str(fs.unstrip_protocol(target))


def is_local(fs: Any) -> bool:
    """Whether a file system is this machine's."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def open_location(location: str) -> tuple[Any, str]:
    """The file system of a path or URL, and the path on it; raises SnapshotError."""
    try:
        fs, root = fsspec.core.url_to_fs(location)
    except Exception as error:  # each kind of file system has its own for keys and hosts that are wrong
        raise SnapshotError(
            f"snapshot location {location!r} cannot be opened: {error_text(error)}"
        ) from error
    return fs, str(root)


def error_text(error: Exception) -> str:
    """Give what an error says, or its name: a time-out says nothing."""
    return str(error) or type(error).__name__


@contextmanager
def local_copy(fs: Any, root: str) -> Iterator[Path]:
    """Give a local folder with the bundle: itself, or a download that is gone afterwards."""
    if is_local(fs):
        yield Path(root)
        return
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as name:
        try:
            fs.invalidate_cache()  # what was absent at an earlier try may be there now
            files = [MANIFEST_FILE, *BUNDLE_FILES]
            if fs.exists(f"{root.rstrip('/')}/{RANKING_FILE}"):
                files.append(RANKING_FILE)
            for file in files:
                fs.get_file(f"{root.rstrip('/')}/{file}", str(Path(name) / file))
        except FileNotFoundError:
            pass  # the checks say which file is missing
        except Exception as error:
            raise SnapshotUnreachable(f"cannot be downloaded: {error_text(error)}") from error
        yield Path(name)


def sync(path: Path) -> None:
    """Bring a file or folder to disk: a rename must not be seen before what it names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
