"""``nextclick trainer``: train on the newest clicks and publish snapshots, once or again and again.

A trainer shares its machine with workers: it waits passively, is nice and leaves a core free. The waiting
must be set before torch and FAISS are loaded, so they are imported only after it.
"""

import logging
import os
import re
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from deploy.cli.click_files import ClickFiles, reads_click_files
from deploy.cli.options import TRAINED, Output, takes_settings
from deploy.progress import ProgressLine, show_seconds
from deploy.settings import Settings
from deploy.stopping import stop_on_signals
from deploy.trainer_report import complain, report
from streams.drift import DriftAlarms
from streams.errors import NextclickError
from streams.lease import TrainerLease
from streams.schedule import Schedule
from streams.training_report import Kind, Outcome, Published, TooFewClicks, TrainerProgress

if TYPE_CHECKING:
    from streams.training_plan import TrainerPlan

LOOK_EVERY_S: Final = 5.0
NEXT: Final = {Kind.FULL: "training from the start", Kind.REFRESH: "a refresh"}
NICENESS: Final = 10
UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_log = logging.getLogger(__name__)


@takes_settings(
    "clicks_topic",
    "snapshots_topic",
    "snapshots",
    "keep_snapshots",
    "archive",
    "group",
    "alias",
    "session_gap_minutes",
    "window_days",
    "min_clicks",
    "min_sessions",
    *TRAINED,
    "seed",
    "rehearsed_clicks",
    "gate_max_loss",
    "gate_index_recall",
    "gate_megabytes",
    "gate_latency_ms",
    "drift_popularity",
    "drift_unknown",
)
@reads_click_files(single_columns=False)
def command(
    settings: Settings,
    output: Output,
    click_files: ClickFiles,
    every: Annotated[
        str | None,
        typer.Option(help="Train from the start again and again, start to start: 90s, 1h. [default: 6h]"),
    ] = None,
    refresh_every: Annotated[
        str | None,
        typer.Option(help="Go on with the newest clicks in between: 90s, 5m, off. [default: 5m]"),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Train once; exit 1 where clicks are too few.")
    ] = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="With --once: go on from what serves.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Announce what the gate refuses, too, with a note.")
    ] = False,
    history: Annotated[
        list[Path] | None,
        typer.Option(help="A file of clicks from before the topic's (table or public log); may be repeated."),
    ] = None,
) -> None:
    """Train on the newest clicks, publish the snapshot, announce it to the workers."""
    if once and (every is not None or refresh_every is not None):
        raise typer.BadParameter("give --once or --every and --refresh-every, not both")
    if refresh and not once:
        raise typer.BadParameter("--refresh goes with --once; --refresh-every refreshes again and again")
    schedule = Schedule(
        parse_interval(every or "6h"),
        None if refresh_every == "off" else parse_interval(refresh_every or "5m", "--refresh-every"),
    )
    if output.json and not once:
        raise typer.BadParameter("--json goes with --once: it prints one object, at the end")
    for path in history or ():
        if not path.exists():
            raise NextclickError(f"--history is {path}: no such file")
    n_threads = be_considerate()
    with stop_on_signals() as stop:
        plan = _plan(settings, tuple(history or ()), click_files, force)
        _set_threads(n_threads)
        with _lease(settings) as lease:
            if once:
                _train_once(plan, Kind.REFRESH if refresh else Kind.FULL, output, stop, lease)
            else:
                alarms = DriftAlarms(settings.drift_limits())
                _train_for_ever(plan, schedule, alarms, output, stop, lease)


def parse_interval(text: str, flag: str = "--every") -> float:
    """Seconds of ``90s``, ``15m``, ``1h``, ``1d``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None or not float(match[1]) > 0:
        raise typer.BadParameter(f"{flag} is {text!r}, it must be a length of time such as 90s, 15m or 1h")
    return float(match[1]) * UNITS_S[match[2]]


def be_considerate() -> int:
    """Wait passively, give way, leave a core free; gives the number of threads to use.

    OpenMP reads its environment when it is loaded, with torch or FAISS: to be called before. Being nice is
    not enough where a worker shares the cores: a nice process still finishes its time slice, 3 ms each time
    that a click passes from process to process. An idle-class one gives way at once.
    """
    os.environ["OMP_WAIT_POLICY"] = "passive"
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        os.nice(max(0, NICENESS - os.nice(0)))
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, n_cores - 1)


def _set_threads(n_threads: int) -> None:
    from index.approximate import set_threads as set_index_threads
    from model.threads import set_threads as set_model_threads

    set_index_threads(n_threads)
    set_model_threads(n_threads)


def _plan(
    settings: Settings, history: tuple[Path, ...], click_files: ClickFiles, force: bool
) -> "TrainerPlan":
    from deploy.training_settings import encoder_config, training_config
    from streams.gate import Bounds
    from streams.training_plan import DAY_MS, TrainerPlan

    return TrainerPlan(
        connection=settings.connection(),
        topics=settings.topics(),
        location=settings.snapshots_location,
        alias=settings.alias,
        window_ms=int(settings.window_days * DAY_MS),
        gap_ms=int(settings.session_gap_minutes * 60_000),
        min_clicks=settings.min_clicks,
        min_sessions=settings.min_sessions,
        keep_snapshots=settings.keep_snapshots,
        archive=settings.archive,
        history=history,
        history_format=click_files.format,
        history_columns=click_files.columns,
        encoder=encoder_config(settings),
        training=training_config(settings),
        rehearsed_clicks=settings.rehearsed_clicks,
        bounds=Bounds(
            max_loss=settings.gate_max_loss,
            min_index_recall=settings.gate_index_recall,
            max_megabytes=settings.gate_megabytes,
            max_latency_ms=settings.gate_latency_ms,
        ),
        force=force,
        unfinished=settings.home / "trainers" / settings.alias,
    )


def _lease(settings: Settings) -> TrainerLease:
    folder = settings.home / "trainers"
    return TrainerLease(
        settings.connection(), settings.group, settings.alias, settings.snapshots_topic, folder
    )


def _train_once(
    plan: "TrainerPlan", kind: Kind, output: Output, stop: threading.Event, lease: TrainerLease
) -> None:
    lease.take(stop, wait=False)
    outcome = _cycle(plan, kind, stop, lease)
    if isinstance(outcome, Published):
        report(output, outcome, plan.alias)
        if outcome.verdict.refused:
            raise typer.Exit(1)
    elif outcome is None:
        output.say("stopped; nothing was published")
        output.result({"snapshot": None, "stopped": True})
    else:
        raise NextclickError(f"nothing trained: {outcome}")


def _train_for_ever(
    plan: "TrainerPlan",
    schedule: Schedule,
    alarms: DriftAlarms,
    output: Output,
    stop: threading.Event,
    lease: TrainerLease,
) -> None:
    told = looked = False
    wanted: str | None = None
    while not stop.is_set():
        outcome: Outcome | None = None
        begun: tuple[Kind, float] | None = None
        try:
            if not lease.held and not lease.take(stop, on_waiting=output.say):
                break
            if not looked:
                _look_at_what_serves(plan, schedule)
                looked = True
            following = schedule.next(time.monotonic(), wanted)
            wait_s = following.at_s - time.monotonic()
            if wait_s > 0:
                if not told:
                    output.say(f"next: {NEXT[following.kind]} in {show_seconds(wait_s)}")
                    told = True
                stop.wait(min(wait_s, LOOK_EVERY_S))
                continue
            told, wanted = False, None
            begun = following.kind, time.monotonic()
            if following.why:
                output.say(f"training from the start: {following.why}")
            outcome = _cycle(plan, following.kind, stop, lease)
        except NextclickError as error:
            complain(f"this round failed: {error}")
        except Exception as error:
            _log.debug("a training round failed", exc_info=True)
            complain(f"this round failed: unexpected {type(error).__name__}: {error}")
        if isinstance(outcome, Published):
            report(output, outcome, plan.alias)
        elif isinstance(outcome, TooFewClicks):
            output.say(f"waiting for clicks: {outcome}")
        wanted = wanted_training(outcome, alarms)
        if begun is None:
            stop.wait(LOOK_EVERY_S)  # Kafka is away, which is no reason to train from the start
        else:
            schedule.done(*begun, made=isinstance(outcome, Published))
    output.say("trainer stopped")


def wanted_training(outcome: Outcome | None, alarms: DriftAlarms) -> str | None:
    """Why a full training is wanted before it is due: the clicks of a refresh are no longer as they were."""
    if not isinstance(outcome, Published):
        return None
    crossed = alarms.update(outcome.drift)
    return "; ".join(alarms.limits.told(figure, outcome.drift[figure]) for figure in crossed) or None


def _look_at_what_serves(plan: "TrainerPlan", schedule: Schedule) -> None:
    """Begin with a refresh where something serves, and train from the start when that is due."""
    from streams.announcements import read_current
    from streams.snapshot import list_snapshots

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


def _cycle(plan: "TrainerPlan", kind: Kind, stop: threading.Event, lease: TrainerLease) -> Outcome | None:
    from streams.trainer import run_cycle
    from streams.training_plan import TrainerStopped

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
