"""One training cycle: the newest clicks in, a published snapshot out.

What is measured is not what is published: the newest sessions are held out for the order of the answers and
for the figures, then all is trained with them, so that a snapshot knows the last minutes before it. The
manifest says so.
Nothing is visible to anybody before the snapshot is complete; a trainer may be killed at any moment.
"""

import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from index.build import build_index
from index.exact import ExactIndex
from index.protocol import ItemIndex
from index.recall import recall_against_exact
from model.encoder import EncoderConfig, SessionEncoder
from model.encoder_context import ContextCoder
from model.evaluation import evaluate_next_items, sample_queries
from model.sequences import Sequences
from model.training import Progress, TrainingConfig, TrainingError, train
from model.vocabulary import Vocabulary
from streams.announcements import PRODUCTION, Announcement, announce, read_current
from streams.clickfile import ClickColumns, read_click_file
from streams.clicklog import ReadProgress, Window, read_window
from streams.errors import NextclickError
from streams.kafka import KafkaConnection
from streams.learning import Order, learn_order
from streams.retention import delete_old, publishing_at, versions_in_use
from streams.sequencing import cut_sessions
from streams.snapshot import OffsetRange, Provenance, Snapshot, TrainingWindow, save_snapshot
from streams.topics import TopicNames, require_topics
from streams.training_report import Measured, OnProgress, Published, Stage, TooFewClicks, TrainerProgress

DAY_MS: Final = 86_400_000
METRICS_OF: Final = (
    "a model trained without the newest 10 % of sessions, with half the passes, its order learnt from the"
    " older half of those and measured on the other"
)


class TrainerError(NextclickError):
    """A cycle cannot publish; the text says why."""


class TrainerStopped(Exception):
    """The cycle was asked to stop and did, between two steps; nothing was published."""


@dataclass(frozen=True, slots=True)
class TrainerPlan:
    """What a trainer does at every cycle."""

    connection: KafkaConnection
    topics: TopicNames
    location: str
    alias: str = PRODUCTION
    window_ms: int = 7 * DAY_MS
    gap_ms: int = 30 * 60_000
    min_clicks: int = 1_000
    min_sessions: int = 200
    keep_snapshots: int = 5
    history: tuple[Path, ...] = ()
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def run_cycle(
    plan: TrainerPlan,
    *,
    stop: threading.Event | None = None,
    on_progress: OnProgress | None = None,
) -> Published | TooFewClicks:
    """Train, publish and announce once.

    1. Read the history, then the window of the topic up to its end offsets of now.
    2. Cut sessions; stop here where there are too few.
    3. Train without the newest sessions, learn from those the order of the answers, and measure.
    4. Train with the newest as well.
    5. Build the index to serve; measure what its approximation costs.
    6. Save the snapshot, verified.
    7. Announce it, unless the alias is pinned, and delete old snapshots.

    Raises ``NextclickError`` where a step fails, ``TrainerStopped`` soon after ``stop`` is set.
    """
    return _Cycle(plan, stop or threading.Event(), on_progress).run()


class _Cycle:
    """One run of the steps above."""

    def __init__(self, plan: TrainerPlan, stop: threading.Event, on_progress: OnProgress | None) -> None:
        self._plan = plan
        self._stop = stop
        self._on_progress = on_progress
        self._started = time.monotonic()

    def run(self) -> Published | TooFewClicks:
        """See ``run_cycle``."""
        plan = self._plan
        require_topics(plan.connection, plan.topics.clicks, plan.topics.snapshots)
        with publishing_at(plan.location):
            from_ms = int(time.time() * 1000) - plan.window_ms
            clicks, window = self._read(from_ms)
            vocabulary = Vocabulary.from_clicks(clicks.item_ids)
            coder = ContextCoder.fit(clicks.each_kind()) if plan.encoder.context else None
            sessions = cut_sessions(clicks, vocabulary, plan.gap_ms, coder).drop_short(2)
            if len(sessions.rows) < plan.min_clicks or len(sessions) < plan.min_sessions:
                return TooFewClicks(len(sessions.rows), len(sessions), plan.min_clicks, plan.min_sessions)
            config = plan.encoder if coder is None else replace(plan.encoder, kinds=coder.kinds)
            order = self._learn_order(config, sessions, len(vocabulary))
            measured = self._measure(order, vocabulary)
            encoder = self._train(config, sessions, len(vocabulary))
            self._report(TrainerProgress(Stage.BUILDING))
            index, index_recall = self._build(encoder, sessions)
            ranking = order.ranking(sessions)
            self._report(TrainerProgress(Stage.PUBLISHING))
            replaced = self._announced().get(plan.alias)
            provenance = Provenance(
                parent=replaced.version if replaced else None,
                window=self._describe(from_ms, window, clicks, sessions),
                metrics=measured.as_metrics(),
                metrics_of=METRICS_OF,
                index_recall=round(index_recall, 4),
            )
            snapshot = save_snapshot(plan.location, encoder, vocabulary, index, provenance, ranking=ranking)
            current = self._announced()  # again: somebody may have rolled back while the snapshot was saved
            before = current.get(plan.alias)
            pinned_to = before.version if before is not None and before.pinned else None
            if pinned_to is None:
                current[plan.alias] = self._announce(snapshot, before)
            in_use = {snapshot.version, *versions_in_use(current)}
            deleted = delete_old(plan.location, plan.keep_snapshots, in_use)
        return Published(
            version=snapshot.version,
            location=snapshot.location,
            n_clicks=len(clicks),
            n_sessions=len(sessions),
            n_items=len(vocabulary),
            measured=measured,
            index_recall=index_recall,
            announced=pinned_to is None,
            pinned_to=pinned_to,
            deleted=tuple(deleted),
            seconds=time.monotonic() - self._started,
        )

    def _read(self, from_ms: int) -> tuple[ClickColumns, Window]:
        plan = self._plan
        self._report(TrainerProgress(Stage.READING))
        history = [read_click_file(path) for path in plan.history]
        n_history = sum(map(len, history))

        def on_progress(progress: ReadProgress) -> None:
            self._report(
                TrainerProgress(Stage.READING, n_history + progress.n_read, n_history + progress.n_total)
            )

        window = read_window(plan.connection, plan.topics.clicks, from_ms, on_progress)
        return ClickColumns.concatenate([*history, window.clicks]), window

    def _learn_order(self, config: EncoderConfig, sessions: Sequences, n_items: int) -> Order:
        try:
            return learn_order(
                sessions,
                n_items,
                config,
                self._plan.training,
                on_training=lambda progress: self._report_training(Stage.REHEARSING, progress),
                on_order=lambda: self._report(TrainerProgress(Stage.ORDERING)),
            )
        except TrainingError as error:
            raise TrainerError(f"training failed: {error}") from error

    def _measure(self, order: Order, vocabulary: Vocabulary) -> Measured:
        self._report(TrainerProgress(Stage.MEASURING))
        ranker, popular, newest = order.measurable(vocabulary)
        return Measured(evaluate_next_items(ranker, newest), evaluate_next_items(popular, newest))

    def _train(self, config: EncoderConfig, sessions: Sequences, n_items: int) -> SessionEncoder:
        try:
            return train(
                sessions,
                n_items,
                config,
                self._plan.training,
                on_progress=lambda progress: self._report_training(Stage.TRAINING, progress),
            )
        except TrainingError as error:
            raise TrainerError(f"training failed: {error}") from error

    def _build(self, encoder: SessionEncoder, sessions: Sequences) -> tuple[ItemIndex, float]:
        vectors = encoder.item_vectors()
        queries = sample_queries(encoder, sessions)
        index = build_index(vectors, queries)
        self._check_stop()
        return index, recall_against_exact(index, ExactIndex(vectors), queries, 20)

    def _announced(self) -> dict[str, Announcement]:
        return read_current(self._plan.connection, self._plan.topics.snapshots)

    def _announce(self, snapshot: Snapshot, before: Announcement | None) -> Announcement:
        plan = self._plan
        announcement = Announcement(snapshot.version, snapshot.location, snapshot.manifest_sha256).succeeding(
            before, announced_ms=int(time.time() * 1000)
        )
        announce(plan.connection, plan.topics.snapshots, plan.alias, announcement)
        return announcement

    def _describe(
        self, from_ms: int, window: Window, clicks: ClickColumns, sessions: Sequences
    ) -> TrainingWindow:
        return TrainingWindow(
            topic=self._plan.topics.clicks,
            from_ms=from_ms,
            offsets=[OffsetRange(p, start, end) for p, (start, end) in sorted(window.offsets.items())],
            history=[path.name for path in self._plan.history],
            n_clicks=len(clicks),
            n_sessions=len(sessions),
        )

    def _report_training(self, stage: Stage, progress: Progress) -> None:
        self._report(
            TrainerProgress(
                stage,
                progress.clicks_done,
                progress.clicks_total,
                progress.epoch,
                progress.n_epochs,
                progress.loss,
                progress.clicks_per_s,
            )
        )

    def _report(self, progress: TrainerProgress) -> None:
        self._check_stop()
        if self._on_progress is not None:
            self._on_progress(progress)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise TrainerStopped
