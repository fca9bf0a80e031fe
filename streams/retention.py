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
    """Remove all but the ``keep`` newest snapshots and those in use; gives the versions removed."""
    versions = [manifest.version for manifest in list_snapshots(location)]
    kept = {*versions[max(0, len(versions) - keep) :], *in_use}
    removed = [version for version in versions if version not in kept]
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
