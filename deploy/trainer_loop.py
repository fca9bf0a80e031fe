"""A trainer that goes on until it is stopped, with full trainings and refreshes as schedule and drift ask.

A round that fails is told and followed by the next one; what serves serves on.
"""

import threading
import time
from typing import Final

from deploy.cli.options import Output
from deploy.progress import ProgressLine, show_seconds
from deploy.rounds import tell_failed
from deploy.trainer_report import report
from streams.announcements import read_current
from streams.lease import TrainerLease
from streams.schedule import Round, Schedule
from streams.snapshot import list_snapshots
from streams.trainer import run_cycle
from streams.training_plan import TrainerPlan, TrainerStopped
from streams.training_report import Kind, Outcome, Published, TooFewClicks, TrainerProgress
from streams.training_wanted import TrainingWanted

LOOK_EVERY_S: Final = 5.0
NEXT: Final = {Kind.FULL: "training from the start", Kind.REFRESH: "a refresh"}


class TrainerLoop:
    """Holds the lease while it goes on, and takes it again where it was lost."""

    def __init__(
        self,
        plan: TrainerPlan,
        schedule: Schedule,
        drift: TrainingWanted,
        output: Output,
        stop: threading.Event,
        lease: TrainerLease,
    ) -> None:
        self._plan = plan
        self._schedule = schedule
        self._drift = drift
        self._output = output
        self._stop = stop
        self._lease = lease
        self._looked = False  # at what serves
        self._told = False  # what comes next
        self._wanted: str | None = None  # why a full training is, before it is due

    def run(self) -> None:
        """Go on until ``stop`` is set."""
        while not self._stop.is_set():
            try:
                due = self._due()
            except Exception as error:
                tell_failed(error)
                self._stop.wait(LOOK_EVERY_S)  # Kafka is away; what was wanted still is when it is back
                continue
            if due is not None:
                self._train(due)
        self._output.say("trainer stopped")

    def _due(self) -> Round | None:
        """What is due now; None after a while in which nothing was, or where it was stopped."""
        if not self._lease.held and not self._lease.take(self._stop, on_waiting=self._output.say):
            return None
        if not self._looked:
            _look_at_what_serves(self._plan, self._schedule)
            self._looked = True
        if self._wanted is None:
            self._wanted = self._drift.by_workers(time.monotonic())
        following = self._schedule.next(time.monotonic(), self._wanted)
        wait_s = following.at_s - time.monotonic()
        if wait_s > 0:
            if not self._told:
                self._output.say(f"next: {NEXT[following.kind]} in {show_seconds(wait_s)}")
                self._told = True
            self._stop.wait(min(wait_s, LOOK_EVERY_S))
            return None
        self._told, self._wanted = False, None
        return following

    def _train(self, due: Round) -> None:
        outcome: Outcome | None = None
        began_s = time.monotonic()
        if due.why:
            self._output.say(f"training from the start: {due.why}")
        try:
            outcome = train(self._plan, due.kind, self._stop, self._lease)
            if isinstance(outcome, Published):
                report(self._output, outcome, self._plan.alias)
            elif isinstance(outcome, TooFewClicks):
                self._output.say(f"waiting for clicks: {outcome}")
        except Exception as error:
            tell_failed(error)
        self._wanted = self._drift.by_round(outcome)
        made = isinstance(outcome, Published) and outcome.replaced_by is None
        self._schedule.done(due.kind, began_s, made=made)


def train(plan: TrainerPlan, kind: Kind, stop: threading.Event, lease: TrainerLease) -> Outcome | None:
    """Train once and show how far it is; None where it was stopped. Announces only while it has the lease."""
    with ProgressLine() as line:
        try:
            return run_cycle(
                plan,
                kind,
                stop=stop,
                on_progress=lambda progress: _show(line, progress),
                may_announce=lambda: lease.held,
            )
        except TrainerStopped:
            return None


def _look_at_what_serves(plan: TrainerPlan, schedule: Schedule) -> None:
    """Begin with a refresh where something serves, and train from the start when that is due."""
    serving = read_current(plan.connection, plan.topics.snapshots).get(plan.alias)
    manifests = [manifest for manifest in list_snapshots(plan.location) if not manifest.refused]
    if not any(
        serving is not None
        and manifest.version == serving.version
        and manifest.provenance.window.learnt_until_ms is not None
        for manifest in manifests
    ):
        return  # nothing that could be refreshed
    trained_ms = [
        manifest.created_ms for manifest in manifests if manifest.provenance.kind == Kind.FULL.value
    ]
    ago_s = time.time() - max(trained_ms) / 1000 if trained_ms else None
    schedule.something_serves(time.monotonic(), ago_s)


def _show(line: ProgressLine, progress: TrainerProgress) -> None:
    notes = []
    if progress.epoch is not None:
        notes.append(f"epoch {progress.epoch}/{progress.n_epochs}")
    if progress.loss is not None:
        notes.append(f"loss {progress.loss:.3f}")
    if progress.clicks_per_s:
        notes.append(f"{progress.clicks_per_s:,.0f} clicks/s")
    if progress.n_total and progress.epoch is None:
        notes.append(f"{progress.n_done:,} of {progress.n_total:,}")
    line.show(progress.stage.value, progress.n_done, progress.n_total, ", ".join(notes))
