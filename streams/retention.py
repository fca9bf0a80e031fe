"""Which snapshots are kept, and how trainers at one location keep out of each other's way."""

import fcntl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.announcements import Announcement
from streams.snapshot import SnapshotError, delete_snapshot, delete_unfinished, list_snapshots

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


@contextmanager
def publishing_at(location: str) -> Iterator[None]:
    """Clean up after trainers that were killed, unless another one is at work there; then hold the place.

    Trainers share a lock while they work, and only who can have it alone cleans. A location that is no local
    folder has no locks and no leftovers: there the manifest comes last.
    """
    if "://" in location:
        yield
        return
    try:
        Path(location).mkdir(parents=True, exist_ok=True)
        lock = (Path(location) / LOCK_FILE).open("a")
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
