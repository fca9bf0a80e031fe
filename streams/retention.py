"""Which snapshots are kept, and how trainers at one location keep out of each other's way."""

import fcntl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.announcements import Announcement
from streams.snapshot import Manifest, SnapshotError, delete_snapshot, delete_unfinished, list_snapshots
from streams.snapshot_store import is_local, open_location

LOCK_FILE: Final = ".trainers.lock"


def versions_in_use(announced: Mapping[str, Announcement]) -> frozenset[str]:
    """What an alias announces and what a worker would fall back to."""
    current = {announcement.version for announcement in announced.values()}
    previous = {announcement.previous for announcement in announced.values() if announcement.previous}
    return frozenset(current | previous)


def delete_old(location: str, keep: int, in_use: Iterable[str]) -> list[str]:
    """Remove all but the newest snapshots and those in use; gives the versions removed.

    The ``keep`` newest are kept of those trained from the start, of refreshes and of refused ones alike, so
    that a few minutes of refreshes do not push out what one would go back to.
    """
    groups: dict[str, list[str]] = {}
    for manifest in list_snapshots(location):
        group = "refused" if manifest.refused else manifest.provenance.kind
        groups.setdefault(group, []).append(manifest.version)
    kept = {*in_use, *(version for versions in groups.values() for version in versions[-keep:])}
    removed = sorted(v for versions in groups.values() for v in versions if v not in kept)
    for version in removed:
        delete_snapshot(location, version)
    return removed


def to_prune(
    manifests: Iterable[Manifest], *, keep: int | None, before_ms: int | None, in_use: Iterable[str]
) -> list[str]:
    """Give the versions that may go: neither in use, nor among the newest, nor made since ``before_ms``.

    A bound that is None says nothing.
    """
    oldest_first = sorted(manifests, key=lambda manifest: manifest.version)
    newest = oldest_first[max(0, len(oldest_first) - keep) :] if keep is not None else []
    kept = {*in_use, *(manifest.version for manifest in newest)}
    return [
        manifest.version
        for manifest in oldest_first
        if manifest.version not in kept and (before_ms is None or manifest.created_ms < before_ms)
    ]


def delete_pruned(location: str, versions: Iterable[str]) -> None:
    """Remove these snapshots."""
    for version in versions:
        delete_snapshot(location, version)


def last_good_versions(home: Path) -> frozenset[str]:
    """What this host's workers would fall back to after a bad announcement."""
    files = (home / "workers").glob("*/last-good")
    return frozenset(file.read_text().strip().rstrip("/").rpartition("/")[2] for file in files)


@contextmanager
def publishing_at(location: str) -> Iterator[None]:
    """Clean up after trainers that were killed, unless another one is at work there; then hold the place.

    Trainers share a lock while they work, and only who can have it alone cleans. A location that is no local
    folder has no locks and no temporary folders: there the manifest comes last.
    """
    fs, root = open_location(location)
    if not is_local(fs):
        delete_unfinished(location)
        yield
        return
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        lock = (Path(root) / LOCK_FILE).open("a")
    except OSError as error:
        raise SnapshotError(f"cannot write snapshots to {location}: {error.strerror or error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            delete_unfinished(location)
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield
