"""One worker as a process: what has to hold before Faust starts, running it, and leaving cleanly."""

import asyncio
import logging
import signal
import threading
import time
from contextlib import ExitStack
from functools import partial
from types import FrameType
from typing import Protocol

import prometheus_client
import uvloop

from deploy.garbage import GarbageCollection
from deploy.settings import Settings
from deploy.telemetry import TelemetryServer
from deploy.worker_parts import (
    canary_of,
    keeper_rules,
    minutes_ms,
    serving_of,
    worker_config,
    worker_folder,
)
from deploy.worker_runner import Runner
from index.approximate import set_threads as set_index_threads
from model.threads import set_threads as set_model_threads
from streams.canary import Sides
from streams.endings import Ending, end_process, noted_ending
from streams.errors import NextclickError
from streams.kafka import without_client_logs
from streams.keeper import KeeperRules
from streams.membership import StartAt, leave_group, set_start_offsets, worker_lock
from streams.metrics import WorkerMetrics
from streams.quality import LiveQuality
from streams.quality_watch import QualityWatch, Reporter
from streams.serving import Serving
from streams.table import explain
from streams.watchdog import Watchdog
from streams.worker import Worker
from streams.worker_config import WorkerConfig

_log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
LIVE_PATIENCE_S = 20.0
CANARY_PATIENCE_S = 20.0
STOP_MARGIN_S = 10.0


class WorkerCrashedError(NextclickError):
    """The worker ended because of an unexpected error; its log has the trace."""


class _Part(Protocol):
    """What runs beside the worker's loop."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def run_worker(settings: Settings, name: str) -> None:
    """Run a worker until SIGTERM or Ctrl-C; raises a NextclickError where it cannot start or crashes."""
    set_model_threads(1)
    set_index_threads(1)
    # A policy, and not one loop: the thread that fetches makes its own.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    connection, folder = settings.connection(), worker_folder(settings, name)
    with ExitStack() as stack:
        stack.enter_context(worker_lock(folder))
        last_ending = stack.enter_context(noted_ending(folder))
        with without_client_logs():  # where Kafka is away, the one line that says so is enough
            config = worker_config(settings, connection, name)
        metrics = _metrics(last_ending)
        serving, canary = serving_of(settings, config, metrics), canary_of(settings, config, metrics)
        process = _Process(config, serving, canary, settings.canary_share, metrics)

        def begin(part: _Part) -> None:
            part.start()
            stack.callback(part.stop)

        begin(telemetry := process.telemetry(settings.metrics_host, settings.metrics_port))
        _log.info("worker %s: http://%s:%d/metrics /live /ready", name, telemetry.host, telemetry.port)
        begin(serving)
        if canary is not None:
            begin(canary)
        if not _wait_for_snapshot(serving, settings.alias):
            return
        if canary is not None:
            canary.wait_until_tried(CANARY_PATIENCE_S)  # so that its sessions stay on its side
        start_at, gap_ms = StartAt(settings.start_at), minutes_ms(settings.session_gap_minutes)
        set_start_offsets(connection, config.group, config.topics.clicks, start_at, gap_ms)
        begin(process.watchdog(settings.watchdog_seconds, settings.recovery_deadline_seconds))
        begin(process.quality_watch(keeper_rules(settings)))
        process.run()
        leave_group(connection, config.group, name)


def _metrics(last_ending: Ending | None) -> WorkerMetrics:
    """The worker's metrics with those of the process, and how the worker before this one ended."""
    metrics = WorkerMetrics()
    for collect in (prometheus_client.ProcessCollector, prometheus_client.GCCollector):
        collect(registry=metrics.registry)
    if last_ending is not None:
        metrics.last_ending.labels(last_ending).set(1)
    if last_ending not in (None, Ending.CLEAN):
        _log.warning("the worker before this one did not end as asked: %s", last_ending)
    return metrics


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
        runner = Runner(
            app,
            loop,
            stop_within_s=self._config.stop_wait_s + STOP_MARGIN_S,
            end=self._end,
            heartbeat=self._beating,
        )
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
        # Not as a task of the app: those begin only when the table is recovered.
        beating = self._beat(self._worker, GarbageCollection())
        self._beating = asyncio.get_running_loop().create_task(beating)

    def _sides(self) -> Sides:
        production = self._serving.current
        assert production is not None
        canary = self._canary.current if self._canary is not None else None
        if self._canary is None or canary is None or canary.snapshot.version == production.snapshot.version:
            return Sides(production)
        give_up = partial(self._canary.give_up, canary.snapshot.version)
        return Sides(production, canary, self._canary_share, give_up)

    async def _beat(self, worker: Worker, garbage: GarbageCollection) -> None:
        """Show that the loop turns, keep the gauges that follow the clock, and tidy up."""
        while True:
            worker.ownership.beat()
            self._beat_s = time.monotonic()
            created_s = self._sides().production.snapshot.manifest.created_ms / 1000
            self._metrics.snapshot_age.set(time.time() - created_s)
            self._metrics.ready.set(not self.missing())
            garbage.beat()
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

    def telemetry(self, host: str, port: int) -> TelemetryServer:
        """Give what tells operators and Prometheus."""
        return TelemetryServer(host, port, self._metrics.registry, live=self.is_live, ready=self.missing)

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
