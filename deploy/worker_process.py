"""One worker as a process: what has to hold before Faust starts, running it, and leaving cleanly."""

import asyncio
import dataclasses
import gc
import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import FrameType

import faust
import prometheus_client

from deploy.settings import Settings
from deploy.telemetry import TelemetryServer
from index.approximate import set_threads as set_index_threads
from model.threads import set_threads as set_model_threads
from streams.announcements import CANARY, PRODUCTION
from streams.canary import Sides
from streams.canary_rule import Rule
from streams.endings import EXIT_STUCK, Ending, end_process, noted_ending
from streams.errors import NextclickError
from streams.fresh import FreshItems, FreshRules
from streams.kafka import KafkaConnection
from streams.keeper import CanaryAction, KeeperRules
from streams.membership import StartAt, leave_group, set_start_offsets, worker_lock
from streams.metrics import WorkerMetrics
from streams.quality import LiveQuality
from streams.quality_watch import QualityWatch, Reporter
from streams.ranking import Ranking
from streams.recommender import AnswerClicks, Recommender, RepeatItems
from streams.serving import Serving
from streams.snapshot import Snapshot
from streams.table import explain
from streams.topics import TopicError, TopicNames, require_append_time, require_topics
from streams.watchdog import Watchdog
from streams.worker import Worker
from streams.worker_config import WorkerConfig

_log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
GC_THRESHOLDS = (50_000, 10, 10)
"""A batch in hand is some 30,000 containers, none in a cycle: with Python's 700 the collector took 12 % of a
loaded worker's time, and every few seconds 150 ms in one piece."""
LIVE_PATIENCE_S = 20.0
CANARY_PATIENCE_S = 20.0
STOP_MARGIN_S = 10.0


class WorkerCrashedError(NextclickError):
    """The worker ended because of an unexpected error; its log has the trace."""


def run_worker(settings: Settings, name: str) -> None:
    """Run a worker until SIGTERM or Ctrl-C; raises a NextclickError where it cannot start or crashes."""
    set_model_threads(1)
    set_index_threads(1)
    connection, topics = settings.connection(), settings.topics()
    folder = settings.home.absolute() / "workers" / name
    with ExitStack() as stack:
        stack.enter_context(worker_lock(folder))
        last_ending = stack.enter_context(noted_ending(folder))
        config = _config(settings, connection, topics, name)
        metrics = WorkerMetrics()
        for collect in (prometheus_client.ProcessCollector, prometheus_client.GCCollector):
            collect(registry=metrics.registry)
        _tell_ending(last_ending, metrics)
        serving = Serving(
            connection,
            topics.snapshots,
            settings.alias,
            make_recommender=lambda snapshot: _recommender(settings, snapshot),
            last_good_file=folder / "last-good",
            metrics=metrics,
        )
        canary = _canary(settings, connection, topics, metrics)
        process = _Process(config, serving, canary, settings.canary_share, metrics)
        telemetry = TelemetryServer(
            settings.metrics_host,
            settings.metrics_port,
            metrics.registry,
            live=process.is_live,
            ready=process.missing,
        )
        telemetry.start()
        stack.callback(telemetry.stop)
        _log.info("worker %s: http://%s:%d/metrics /live /ready", name, telemetry.host, telemetry.port)
        for followed in (serving, canary):
            if followed is not None:
                followed.start()
                stack.callback(followed.stop)
        if not _wait_for_snapshot(serving, settings.alias):
            return
        if canary is not None:
            canary.wait_until_tried(CANARY_PATIENCE_S)  # so that its sessions stay on its side
        gap_ms = _minutes_ms(settings.session_gap_minutes)
        set_start_offsets(connection, settings.group, topics.clicks, StartAt(settings.start_at), gap_ms)
        watchdog = process.watchdog(settings.watchdog_seconds, settings.recovery_deadline_seconds)
        watchdog.start()
        stack.callback(watchdog.stop)
        quality_watch = process.quality_watch(_keeper_rules(settings))
        quality_watch.start()
        stack.callback(quality_watch.stop)
        process.run()
        leave_group(connection, settings.group, name)


def _tell_ending(ending: Ending | None, metrics: WorkerMetrics) -> None:
    if ending is not None:
        metrics.last_ending.labels(ending).set(1)
    if ending not in (None, Ending.CLEAN):
        _log.warning("the worker before this one did not end as asked: %s", ending)


def _minutes_ms(minutes: float) -> int:
    return round(minutes * 60_000)


def _recommender(settings: Settings, snapshot: Snapshot) -> Recommender:
    rules = FreshRules(settings.fresh_items, settings.fresh_min_sessions)
    return Recommender(
        snapshot,
        top_k=settings.top_k,
        repeat_items=RepeatItems(settings.repeat_items),
        ranking=Ranking(settings.ranking),
        answer_clicks=AnswerClicks(settings.answer),
        gap_ms=_minutes_ms(settings.session_gap_minutes),
        fresh=FreshItems(snapshot, rules) if settings.fresh_items else None,
    )


def _canary(
    settings: Settings, connection: KafkaConnection, topics: TopicNames, metrics: WorkerMetrics
) -> Serving | None:
    """What serves a share of production's sessions; a worker of another alias has none."""
    if settings.alias != PRODUCTION or not settings.canary_share:
        return None
    return Serving(
        connection,
        topics.snapshots,
        CANARY,
        make_recommender=lambda snapshot: _recommender(settings, snapshot),
        last_good_file=None,
        metrics=metrics,
    )


def _keeper_rules(settings: Settings) -> KeeperRules:
    return KeeperRules(
        canary_action=CanaryAction(settings.canary_action),
        canary=Rule(enough_clicks=settings.canary_clicks),
        rolls_production_back=settings.production_action == "rollback",
    )


def _config(settings: Settings, connection: KafkaConnection, topics: TopicNames, name: str) -> WorkerConfig:
    """Look at the cluster: all topics there, and as many partitions as they need to share."""
    needed = dataclasses.asdict(topics)
    del needed["quality"]  # statistics: sites from before there was this topic go on without
    states = require_topics(connection, *needed.values())
    require_append_time(connection, topics.clicks)
    clicks = states[topics.clicks]
    for other in (topics.recommendations, topics.sessions_changelog):
        if states[other].n_partitions != clicks.n_partitions:
            raise TopicError(
                f"topic {other} has {states[other].n_partitions} partitions, {topics.clicks} has"
                f" {clicks.n_partitions}, and they must be equal;"
                " stop all workers and run: nextclick sessions reset"
            )
    return WorkerConfig(
        connection=connection,
        topics=topics,
        group=settings.group,
        name=name,
        folder=settings.home.absolute() / "workers" / name,
        n_partitions=clicks.n_partitions,
        topic_id=str(clicks.topic_id),
        max_batch=settings.max_batch,
        session_expiry_ms=_minutes_ms(settings.session_expiry_hours * 60),
        stop_wait_s=settings.stop_wait_seconds,
        drift_limits=settings.drift_limits(),
        drift_window_clicks=settings.drift_window_clicks,
    )


def _wait_for_snapshot(serving: Serving, alias: str) -> bool:
    """Wait for the first good snapshot; False where a signal came first."""
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    handlers = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        tell_s = time.monotonic() + 3  # loading what is announced takes a moment, too
        while not stopped.is_set():
            if serving.wait_for_snapshot(0.2):
                return True
            if time.monotonic() > tell_s:
                tell_s = time.monotonic() + 30
                _log.info("waiting for a first %s snapshot; make one with: nextclick trainer --once", alias)
        return False
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class _Runner(faust.Worker):  # type: ignore[misc]
    """Faust's runner, which waits for a broker for ever, with an end to its patience once it is to stop.

    And without its two seconds of sleep at every end: one for tasks that have not ended, as the heartbeat
    never does, and one for what it then cancels.
    """

    stop_within_s: float
    end: Callable[[int], None]
    heartbeat: asyncio.Task[None]

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        if not self._signal_stop_time:
            backstop = threading.Timer(self.stop_within_s, self._give_up)
            backstop.daemon = True
            backstop.start()
        super()._schedule_shutdown(signal)

    def _give_up(self) -> None:
        _log.critical(
            "not stopped after %.0f s, does Kafka answer? Ended without the last commit: nothing is lost,"
            " some clicks will come again",
            self.stop_within_s,
        )
        self.end(EXIT_STUCK)

    def _gather_all(self) -> None:
        self.heartbeat.cancel()
        super()._gather_all()

    async def _sentinel_task(self) -> None:
        if cancelled := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(cancelled, timeout=1.0)


class _Process:
    """A worker and the loop it runs on."""

    def __init__(
        self,
        config: WorkerConfig,
        serving: Serving,
        canary: Serving | None,
        canary_share: float,
        metrics: WorkerMetrics,
    ) -> None:
        self._config = config
        self._serving = serving
        self._canary = canary
        self._canary_share = canary_share
        self._quality = LiveQuality()
        self._metrics = metrics
        self._worker: Worker | None = None
        self._beat_s = time.monotonic()
        self._end = partial(end_process, config.folder)

    def run(self) -> None:
        """Run Faust until it is stopped; raises what made it crash."""
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(self._make_worker())
        assert self._worker is not None
        app = self._worker.app
        runner = _Runner(app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True)
        runner.stop_within_s = self._config.stop_wait_s + STOP_MARGIN_S
        runner.end = self._end
        runner.heartbeat = self._beating
        runner.spinner = None
        try:
            runner.execute_from_commandline()
        except SystemExit as end:
            if isinstance(runner.crash_reason, NextclickError):
                raise runner.crash_reason from end
            if (explained := explain(runner.crash_reason)) is not None:
                raise explained from runner.crash_reason
            if end.code:
                raise WorkerCrashedError(f"worker {self._config.name} crashed, see the log above") from end

    async def _make_worker(self) -> None:
        self._worker = Worker(self._config, self._sides, self._metrics, self._quality)
        gc.collect()
        gc.freeze()  # all that was imported and built so far: a full collection need not look at it
        gc.set_threshold(*GC_THRESHOLDS)
        # Not as a task of the app: those begin only when the table is recovered.
        self._beating = asyncio.get_running_loop().create_task(self._beat(self._worker))

    def _sides(self) -> Sides:
        production = self._serving.current
        assert production is not None
        canary = self._canary.current if self._canary is not None else None
        if self._canary is None or canary is None or canary.snapshot.version == production.snapshot.version:
            return Sides(production)
        give_up = partial(self._canary.give_up, canary.snapshot.version)
        return Sides(production, canary, self._canary_share, give_up)

    async def _beat(self, worker: Worker) -> None:
        """Show that the loop turns, and keep the gauges that follow the clock."""
        while True:
            worker.ownership.beat()
            self._beat_s = time.monotonic()
            created_s = self._sides().production.snapshot.manifest.created_ms / 1000
            self._metrics.snapshot_age.set(time.time() - created_s)
            self._metrics.ready.set(not self.missing())
            await asyncio.sleep(HEARTBEAT_S)

    def is_live(self) -> bool:
        """Whether the loop turns, once there is one."""
        return self._worker is None or time.monotonic() - self._beat_s < LIVE_PATIENCE_S

    def missing(self) -> list[str]:
        """Give what keeps the worker from serving."""
        missing = []
        if self._serving.current is None:
            missing.append("snapshot")
        if self._worker is None or not self._worker.ready:
            missing.append("partitions recovered")
        return missing

    def quality_watch(self, rules: KeeperRules) -> QualityWatch:
        """Give what tells live quality, and acts on it where this worker serves the first partition."""
        return QualityWatch(
            self._config.connection,
            self._config.topics,
            Reporter(self._config.group, self._config.name),
            self._quality,
            self._metrics,
            rules,
            keeps=lambda: self._worker is not None and 0 in (self._worker.assigned() or ()),
        )

    def watchdog(self, patience_s: float, recovery_patience_s: float) -> Watchdog:
        """Give the watchdog over this process."""
        return Watchdog(
            self._config.connection,
            self._config.group,
            self._config.topics.clicks,
            self._config.topic_id,
            assigned=lambda: self._worker.assigned() if self._worker is not None else set(),
            recovered=lambda: self._worker.n_recovered if self._worker is not None else 0,
            patience_s=patience_s,
            recovery_patience_s=recovery_patience_s,
            end=self._end,
        )
