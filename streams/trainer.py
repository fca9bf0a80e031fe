"""One training cycle: the newest clicks in, a judged snapshot out.

A full cycle trains from the start. The newest sessions are held out for the order of the answers and for
the figures, then all is trained with them; once a snapshot serves and enough clicks have come since, the
newest of these are kept from the network as well, for the gate to decide by (``streams/gate.py``). A refresh
goes on from what serves (``streams/refreshing.py``). The manifest says which model its figures are of.
Nothing is visible to anybody before the snapshot is complete; a trainer may be killed at any moment.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import msgspec
import numpy as np

from model.evaluation import PopularRanker, evaluate_next_items
from model.metrics import Accuracy
from model.sequences import UNKNOWN
from model.training import TrainingError
from streams.announcements import PRODUCTION, Announcement, read_current
from streams.candidate import Candidate, Log
from streams.clickfile import ClickColumns
from streams.clicklog import ReadProgress, Window, read_window
from streams.drift import counts_of_clicks
from streams.gate import FEWEST_SESSIONS, FEWEST_TARGETS, Ground, judge
from streams.importing import import_clicks
from streams.manifest import OffsetRange, Provenance, SnapshotUnreachable, TrainingWindow
from streams.publishing import publish
from streams.refreshing import refreshed, since
from streams.retention import publishing_at
from streams.snapshot import Snapshot, SnapshotError, load_snapshot, save_snapshot
from streams.topics import require_topics
from streams.training import trained
from streams.training_plan import TrainerError, TrainerPlan
from streams.training_progress import CycleProgress
from streams.training_report import (
    Kind,
    Measured,
    NothingNew,
    OnProgress,
    Outcome,
    Published,
    Stage,
    TooFewClicks,
    TrainerProgress,
)
from streams.unfinished import Unfinished

UNREACHABLE_WAITS_S: Final = (1.0, 5.0)
"""Between two tries to load what serves from a place that does not answer."""

_log = logging.getLogger(__name__)


def run_cycle(
    plan: TrainerPlan,
    kind: Kind = Kind.FULL,
    *,
    stop: threading.Event | None = None,
    on_progress: OnProgress | None = None,
    may_announce: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Train, judge, publish and announce once.

    1. Read the history and the window of the topic up to its end offsets of now; a refresh what is new.
    2. Cut sessions; stop here where there are too few. Choose those that the gate will compare by.
    3. Make a candidate: from the start, its order learnt from the newest sessions, or from what serves.
    4. Build the index to serve.
    5. Save the snapshot, read it back, and let the gate judge it: the verdict stands in its manifest.
    6. Announce it, unless it is refused or the alias is pinned, and delete old snapshots.

    ``may_announce`` is asked right before step 6. A full training that was killed or stopped goes on where it
    was, with the clicks that it had read (``streams/unfinished.py``).
    Raises ``NextclickError`` where a step fails, ``TrainerStopped`` soon after ``stop`` is set.
    """
    return _Cycle(plan, kind, stop or threading.Event(), on_progress, may_announce).run()


class _Cycle:
    """One run of the steps above."""

    def __init__(
        self,
        plan: TrainerPlan,
        kind: Kind,
        stop: threading.Event,
        on_progress: OnProgress | None,
        may_announce: Callable[[], bool],
    ) -> None:
        self._plan = plan
        self._kind = kind
        self._progress = CycleProgress(stop, on_progress)
        self._may_announce = may_announce
        self._unfinished = Unfinished(plan.unfinished if kind is Kind.FULL else None, plan.as_text())
        self._started = time.monotonic()
        self._began_ms = int(time.time() * 1000)
        self._beside: str | None = None  # what the alias announces, as far as the gate has seen it

    def run(self) -> Outcome:
        """See ``run_cycle``."""
        plan = self._plan
        require_topics(plan.connection, plan.topics.clicks, plan.topics.snapshots)
        with publishing_at(plan.location):
            serving = self._serving()
            run = self._unfinished.found(None if serving is None else serving.manifest.provenance.window)
            from_ms = self._from_ms(serving) if run is None else run.from_ms
            clicks, window = self._read(from_ms, None if run is None else run.ends)
            n_history = len(clicks) - len(window.arrival_ms)
            arrival_ms = np.concatenate([np.zeros(n_history, dtype=np.int64), window.arrival_ms])
            log = Log.cut(clicks, arrival_ms, plan.gap_ms)
            ground = log.ground(None if serving is None else serving.manifest.provenance.window)
            if (too_few := self._too_few(log, ground)) is not None:
                self._unfinished.end()
                return too_few
            if run is None:
                self._unfinished.begin(from_ms, {number: end for number, (_, end) in window.offsets.items()})
            measured, drift = None, None
            if self._kind is Kind.REFRESH and serving is not None:
                drift = counts_of_clicks(serving.vocabulary, log.items_since(serving))
                candidate = self._refresh(serving, log, ground)
            else:
                serving_version = serving.version if serving is not None else None
                del serving  # not to be held while training: the gate loads it again
                candidate, measured = self._train(log, ground)
                # Another one by now, maybe: it is compared on the same sessions, new to the candidate.
                serving = self._serving() if serving_version is not None else None
            trained_on = self._describe(from_ms, window, log, ground)
            snapshot = self._save(candidate, serving, log, ground, trained_on, measured)
            return replace(self._publish(snapshot, log), drift=drift)

    # ------------------------------------------------------------------ steps

    def _serving(self) -> Snapshot | None:
        """What workers of the alias serve, or those of production; None where there is nothing to load."""
        announced = read_current(self._plan.connection, self._plan.topics.snapshots)
        own = announced.get(self._plan.alias)
        self._beside = None if own is None else own.version
        current = own or announced.get(PRODUCTION)
        if current is None:
            return None
        try:
            return self._load(current)
        except SnapshotUnreachable as error:
            raise TrainerError(
                f"what is announced cannot be reached, and nothing is announced uncompared: {error}"
            ) from error
        except SnapshotError as error:
            if self._kind is Kind.REFRESH:
                raise TrainerError(
                    f"what is announced cannot be refreshed, a full training replaces it: {error}"
                ) from error
            _log.warning("what is announced cannot be loaded, nothing is compared with it: %s", error)
            return None

    def _load(self, announced: Announcement) -> Snapshot:
        """Load it, and try again where its place does not answer."""
        for wait_s in (*UNREACHABLE_WAITS_S, None):
            try:
                return load_snapshot(announced.location, manifest_sha256=announced.manifest_sha256)
            except SnapshotUnreachable:
                if wait_s is None:
                    raise
                time.sleep(wait_s)
        raise AssertionError

    def _from_ms(self, serving: Snapshot | None) -> int:
        plan = self._plan
        if self._kind is Kind.REFRESH:
            if serving is None:
                raise TrainerError("nothing serves that could be refreshed; train from the start first")
            window = serving.manifest.provenance.window
            from_ms = since(window, plan.gap_ms, plan.rehearsed_clicks)
            if from_ms is None:
                raise TrainerError(
                    f"{serving.version} does not say until when it was trained; train from the start once"
                )
            return from_ms
        return int(time.time() * 1000) - plan.window_ms

    def _read(self, from_ms: int, ends: Mapping[int, int] | None) -> tuple[ClickColumns, Window]:
        plan = self._plan
        self._progress.at_stage(Stage.READING)
        files = plan.history if self._kind is Kind.FULL else ()
        history = [import_clicks(path, plan.history_format, plan.history_columns) for path in files]
        n_history = sum(map(len, history))

        def on_progress(progress: ReadProgress) -> None:
            self._progress.at(
                TrainerProgress(Stage.READING, n_history + progress.n_read, n_history + progress.n_total)
            )

        topic, archive = plan.topics.clicks, plan.archive
        window = read_window(plan.connection, topic, from_ms, on_progress, archive=archive, ends=ends)
        if window.n_missing:
            _log.warning("up to %d clicks of the window were never archived", window.n_missing)
        # Not joined where there is nothing to join: that would hold ten million clicks twice.
        return ClickColumns.concatenate([*history, window.clicks]) if history else window.clicks, window

    def _too_few(self, log: Log, ground: Ground) -> TooFewClicks | NothingNew | None:
        """For a full training by the settings, for a refresh where nothing can be learnt and compared."""
        plan, sessions = self._plan, log.places
        if self._kind is Kind.REFRESH:
            enough = len(ground.chosen) > 0 and not ground.seen
            return None if enough else NothingNew(ground.n_new, FEWEST_TARGETS, 2 * FEWEST_SESSIONS)
        if sessions.n_clicks < plan.min_clicks or len(sessions) < plan.min_sessions:
            return TooFewClicks(sessions.n_clicks, len(sessions), plan.min_clicks, plan.min_sessions)
        return None

    def _train(self, log: Log, ground: Ground) -> tuple[Candidate, Measured | None]:
        try:
            return trained(
                self._plan,
                log,
                ground,
                self._unfinished,
                self._progress.training,
                self._progress.at_stage,
            )
        except TrainerError:
            self._unfinished.end()  # with the same clicks it would fail again
            raise

    def _refresh(self, serving: Snapshot, log: Log, ground: Ground) -> Candidate:
        try:
            return refreshed(
                serving,
                log,
                ground,
                self._plan.training,
                self._plan.refresh,
                lambda progress: self._progress.training(Stage.REFRESHING, progress),
                lambda: self._progress.at_stage(Stage.BUILDING),
            )
        except TrainingError as error:
            raise TrainerError(f"refreshing failed: {error}") from error

    def _save(
        self,
        candidate: Candidate,
        serving: Snapshot | None,
        log: Log,
        ground: Ground,
        window: TrainingWindow,
        measured: Measured | None,
    ) -> Snapshot:
        """Save it with the gate's verdict on what was read back."""
        self._progress.at_stage(Stage.PUBLISHING)

        def verdict_on(saved: Snapshot) -> Provenance:
            self._progress.past_stopping(TrainerProgress(Stage.JUDGING))
            trial = None if serving is None else log.trial(saved, serving, ground, candidate.blind)
            verdict = judge(saved, trial, candidate.sessions, self._plan.bounds)
            verdict = msgspec.structs.replace(verdict, forced=self._plan.force and not verdict.accepted)
            figures = measured or Measured.of_gate(verdict, self._popular(candidate, log, ground))
            return Provenance(
                parent=None if serving is None else serving.version,
                kind=self._kind.value,
                window=window,
                metrics=figures.metrics,
                metrics_of=figures.metrics_of,
                index_recall=verdict.index_recall,
                gate=verdict,
            )

        parts = (candidate.encoder, candidate.vocabulary, candidate.index)
        return save_snapshot(
            self._plan.location, *parts, Provenance(), ranking=candidate.ranking, judge=verdict_on
        )

    def _popular(self, candidate: Candidate, log: Log, ground: Ground) -> Accuracy:
        """What is popular without the newest sessions, on those that the gate compares by."""
        learnt = candidate.sessions.select(0, ground.n_learnt)
        counts = np.bincount(learnt.rows[learnt.rows != UNKNOWN], minlength=len(candidate.vocabulary))
        by_counts = np.argsort(-counts, kind="stable")
        place = np.argsort(by_counts, kind="stable")
        chosen = candidate.sessions.take(ground.chosen)
        return evaluate_next_items(PopularRanker(counts[by_counts]), replace(chosen, rows=place[chosen.rows]))

    def _publish(self, snapshot: Snapshot, log: Log) -> Published:
        provenance = snapshot.manifest.provenance
        placed = publish(self._plan, snapshot, self._beside, self._may_announce)
        self._unfinished.end()
        assert provenance.gate is not None
        return Published(
            version=snapshot.version,
            location=snapshot.location,
            kind=self._kind,
            n_clicks=len(log.clicks),
            n_sessions=len(log.places),
            n_items=len(snapshot.vocabulary),
            metrics=provenance.metrics,
            metrics_of=provenance.metrics_of,
            verdict=provenance.gate,
            announced=placed.announced,
            pinned_to=placed.pinned_to,
            replaced_by=placed.replaced_by,
            deleted=placed.deleted,
            seconds=time.monotonic() - self._started,
            stages=self._progress.seconds(),
        )

    def _describe(self, from_ms: int, window: Window, log: Log, ground: Ground) -> TrainingWindow:
        arrivals = window.arrival_ms
        learnt_ms = log.ended_ms[: ground.n_learnt]
        # A history has no arrivals: where there is nothing else, what arrived since it was read is new.
        first_ms, until_ms = map(int, (arrivals[0], arrivals[-1])) if len(arrivals) else (self._began_ms,) * 2
        return TrainingWindow(
            topic=self._plan.topics.clicks,
            from_ms=from_ms,
            offsets=[OffsetRange(p, start, end) for p, (start, end) in sorted(window.offsets.items())],
            history=[path.name for path in self._plan.history] if self._kind is Kind.FULL else [],
            n_clicks=len(log.clicks),
            n_sessions=len(log.places),
            first_ms=first_ms,
            until_ms=until_ms,
            learnt_until_ms=int(learnt_ms[-1]) if len(learnt_ms) and learnt_ms[-1] > 0 else until_ms,
        )
