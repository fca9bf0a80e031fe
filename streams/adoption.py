"""A snapshot that was made elsewhere is taken in: judged beside what serves, as the trainer's own are.

What it claims of its own accuracy counts for nothing: the figures in its manifest become those that the gate
has found here. Nothing is announced.
"""

import time

import msgspec
import numpy as np

from streams.announcements import PRODUCTION, read_current
from streams.candidate import Log
from streams.clicklog import read_window
from streams.errors import NextclickError
from streams.gate import Bounds, judge
from streams.manifest import Provenance, TrainingWindow
from streams.refreshing import since
from streams.retention import publishing_at
from streams.snapshot import Snapshot, load_snapshot, save_snapshot
from streams.topics import require_topics
from streams.training_plan import TrainerPlan

N_CLICKS = 20_000
"""About so many of the newest clicks are read beside those since what serves was made."""


class AdoptionError(NextclickError):
    """A snapshot that cannot be taken in; the text says why."""


def adopt(plan: TrainerPlan, brought_from: str) -> Snapshot:
    """Save the bundle at a folder or URL once more among the plan's snapshots, with the gate's verdict.

    Raises ``SnapshotError`` where it is damaged, ``AdoptionError`` where there is nothing to judge it by.
    """
    require_topics(plan.connection, plan.topics.clicks, plan.topics.snapshots)
    brought = load_snapshot(brought_from)
    announced = read_current(plan.connection, plan.topics.snapshots)
    current = announced.get(plan.alias) or announced.get(PRODUCTION)
    serving = None
    if current is not None:
        serving = load_snapshot(current.location, manifest_sha256=current.manifest_sha256)
    from_ms = since(_known_to_both(brought, serving), plan.gap_ms, N_CLICKS)
    if from_ms is None:
        from_ms = int(time.time() * 1000) - plan.window_ms
    read = read_window(plan.connection, plan.topics.clicks, from_ms)
    log = Log.cut(read.clicks, read.arrival_ms, plan.gap_ms)
    if len(log.places) == 0:
        raise AdoptionError(f"{brought.version} cannot be judged: no click follows on another yet")
    with publishing_at(plan.location):
        return save_judged(plan.location, brought, serving, log, plan.bounds)


def save_judged(
    location: str, brought: Snapshot, serving: Snapshot | None, log: Log, bounds: Bounds
) -> Snapshot:
    """Save a snapshot under the location with the verdict that the gate comes to on a log.

    It is compared on sessions that began after both were made, as far as it says when that was.
    """
    ground = log.ground(None if serving is None else _known_to_both(brought, serving))
    sessions = log.rows_for(brought, np.arange(len(log.places)))

    def verdict_on(saved: Snapshot) -> Provenance:
        trial = None if serving is None else log.trial(saved, serving, ground, None)
        verdict = judge(saved, trial, sessions, bounds)
        measured = {name: figure for name, figure in verdict.candidate.items() if "@" in name}
        return msgspec.structs.replace(
            saved.manifest.provenance,
            metrics=measured | ({"targets": verdict.targets} if measured else {}),
            metrics_of=f"this model, made elsewhere, on {verdict.compared_on}" if measured else "",
            index_recall=verdict.index_recall,
            gate=verdict,
        )

    parts = (brought.encoder, brought.vocabulary, brought.index, brought.manifest.provenance)
    return save_snapshot(location, *parts, ranking=brought.ranking, judge=verdict_on)


def _known_to_both(brought: Snapshot, serving: Snapshot | None) -> TrainingWindow:
    """The later one of their windows: what arrived after it neither has seen."""
    windows = [one.manifest.provenance.window for one in (serving, brought) if one is not None]
    return max(windows, key=lambda window: -1 if window.until_ms is None else window.until_ms)
