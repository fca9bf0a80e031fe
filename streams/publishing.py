"""What becomes of a snapshot that a trainer has saved: announced or not, and older ones deleted."""

import time
from collections.abc import Callable
from typing import NamedTuple

from streams.announcements import Announcement, announce, read_current
from streams.retention import delete_old, versions_in_use
from streams.snapshot import Snapshot
from streams.training_plan import TrainerError, TrainerPlan


class Placed(NamedTuple):
    """Whether it was announced, which version the alias is pinned to, and what was deleted."""

    announced: bool
    pinned_to: str | None
    deleted: tuple[str, ...]


def publish(plan: TrainerPlan, snapshot: Snapshot, may_announce: Callable[[], bool]) -> Placed:
    """Announce it, unless it is refused or the alias is pinned, and delete old snapshots.

    ``may_announce`` is asked right before; raises ``TrainerError`` where it says no.
    """
    # Read only now: somebody may have rolled back while the snapshot was made.
    current = read_current(plan.connection, plan.topics.snapshots)
    before = current.get(plan.alias)
    pinned_to = before.version if before is not None and before.pinned else None
    announced = pinned_to is None and not snapshot.manifest.refused
    if announced:
        if not may_announce():
            raise TrainerError(
                f"{snapshot.version} is not announced: another trainer has taken over while it was made"
            )
        announcement = Announcement(snapshot.version, snapshot.location, snapshot.manifest_sha256).succeeding(
            before, announced_ms=int(time.time() * 1000)
        )
        announce(plan.connection, plan.topics.snapshots, plan.alias, announcement)
        current[plan.alias] = announcement
    in_use = {snapshot.version, *versions_in_use(current)}
    deleted = delete_old(plan.location, plan.keep_snapshots, in_use)
    return Placed(announced, pinned_to, tuple(deleted))
