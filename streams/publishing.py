"""What becomes of a snapshot that a trainer has saved: announced or not, and older ones deleted."""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from streams.announcements import Announcement, announce, read_current
from streams.retention import delete_old, versions_in_use
from streams.snapshot import Snapshot
from streams.snapshot_store import error_text
from streams.training_plan import TrainerError, TrainerPlan

_log = logging.getLogger(__name__)


class Placed(NamedTuple):
    """Whether it was announced, or why not, and what was deleted.

    ``pinned_to`` is the version that the alias is pinned to; ``replaced_by`` what it has come to announce,
    other than what the snapshot was judged beside; empty where it announces nothing any more.
    """

    announced: bool
    pinned_to: str | None
    replaced_by: str | None
    deleted: tuple[str, ...]


def publish(
    plan: TrainerPlan, snapshot: Snapshot, beside: str | None, may_announce: Callable[[], bool]
) -> Placed:
    """Announce it, unless it is refused, the alias is pinned or announces another than ``beside``.

    ``beside`` is the version that the alias announced when the snapshot was judged. Somebody who has rolled
    back since did so for a reason, and a refresh of what was rolled back has the same fault. Old snapshots
    are deleted. ``may_announce`` is asked right before; raises ``TrainerError`` where it says no.
    """
    # Read only now: somebody may have rolled back while the snapshot was made.
    current = read_current(plan.connection, plan.topics.snapshots)
    before = current.get(plan.alias)
    pinned_to = before.version if before is not None and before.pinned else None
    version = None if before is None else before.version
    replaced_by = (version or "") if version != beside and pinned_to is None else None
    announced = pinned_to is None and replaced_by is None and not snapshot.manifest.refused
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
    return Placed(announced, pinned_to, replaced_by, _delete_old(plan, in_use))


def _delete_old(plan: TrainerPlan, in_use: set[str]) -> tuple[str, ...]:
    """What cannot be deleted is no reason to fail: the snapshot is announced."""
    try:
        return tuple(delete_old(plan.location, plan.keep_snapshots, in_use))
    except Exception as error:  # each file system has its own
        _log.warning("old snapshots under %s cannot be deleted: %s", plan.location, error_text(error))
        return ()
