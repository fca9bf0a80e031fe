"""``nextclick trainer``: train on the newest clicks and publish snapshots, once or again and again.

A trainer shares its machine with workers: it waits passively, is nice and leaves a core free. The waiting
must be set before torch and FAISS are loaded, so they are imported only after it.
"""

import logging
import os
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from deploy.cli.options import TRAINED, Output, takes_settings
from deploy.progress import ProgressLine, show_seconds
from deploy.settings import Settings
from deploy.stopping import stop_on_signals
from streams.errors import NextclickError

if TYPE_CHECKING:
    from streams.trainer import TrainerPlan
    from streams.training_report import Published, TooFewClicks, TrainerProgress

NICENESS: Final = 10
UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_log = logging.getLogger(__name__)


@takes_settings(
    "clicks_topic",
    "snapshots_topic",
    "snapshots",
    "keep_snapshots",
    "alias",
    "session_gap_minutes",
    "window_days",
    "min_clicks",
    "min_sessions",
    *TRAINED,
    "seed",
)
def command(
    settings: Settings,
    output: Output,
    every: Annotated[
        str | None,
        typer.Option(help="Train again and again, from start to start: 90s, 15m, 1h. [default: 15m]"),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Train once; exit 1 where clicks are too few.")
    ] = False,
    history: Annotated[
        list[Path] | None,
        typer.Option(help="A file of clicks (TSV, CSV, Parquet) from before the topic's; may be repeated."),
    ] = None,
) -> None:
    """Train on the newest clicks, publish the snapshot, announce it to the workers."""
    if once and every is not None:
        raise typer.BadParameter("give --once or --every, not both")
    every_s = parse_interval(every or "15m")
    if output.json and not once:
        raise typer.BadParameter("--json goes with --once: it prints one object, at the end")
    n_threads = be_considerate()
    with stop_on_signals() as stop:
        plan = _plan(settings, tuple(history or ()))
        _set_threads(n_threads)
        if once:
            _train_once(plan, output, stop)
        else:
            _train_for_ever(plan, output, every_s, stop)


def parse_interval(text: str) -> float:
    """Seconds of ``90s``, ``15m``, ``1h``, ``1d``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if match is None or not float(match[1]) > 0:
        raise typer.BadParameter(f"--every is {text!r}, it must be a length of time such as 90s, 15m or 1h")
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


def _plan(settings: Settings, history: tuple[Path, ...]) -> "TrainerPlan":
    from deploy.training_settings import encoder_config, training_config
    from streams.trainer import DAY_MS, TrainerPlan

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
        history=history,
        encoder=encoder_config(settings),
        training=training_config(settings),
    )


def _train_once(plan: "TrainerPlan", output: Output, stop: threading.Event) -> None:
    from streams.training_report import Published, TooFewClicks

    published = _cycle(plan, stop)
    if isinstance(published, TooFewClicks):
        raise NextclickError(f"nothing trained: {published}")
    if isinstance(published, Published):
        _report(output, published, plan.alias)
    else:
        output.say("stopped; nothing was published")
        output.result({"snapshot": None, "stopped": True})


def _train_for_ever(plan: "TrainerPlan", output: Output, every_s: float, stop: threading.Event) -> None:
    from streams.training_report import Published, TooFewClicks

    while not stop.is_set():
        began = time.monotonic()
        try:
            outcome = _cycle(plan, stop)
        except NextclickError as error:
            outcome = None
            _complain(f"this round failed: {error}")
        except Exception as error:
            outcome = None
            _log.debug("a training round failed", exc_info=True)
            _complain(f"this round failed: unexpected {type(error).__name__}: {error}")
        if isinstance(outcome, TooFewClicks):
            output.say(f"waiting for clicks: {outcome}")
        elif isinstance(outcome, Published):
            _report(output, outcome, plan.alias)
        wait_s = max(0.0, began + every_s - time.monotonic())
        if not stop.is_set():
            output.say(f"next round in {show_seconds(wait_s)}")
            stop.wait(wait_s)
    output.say("trainer stopped")


def _complain(line: str) -> None:
    print(f"nextclick: {' '.join(line.split())}", file=sys.stderr, flush=True)


def _cycle(plan: "TrainerPlan", stop: threading.Event) -> "Published | TooFewClicks | None":
    from streams.trainer import TrainerStopped, run_cycle

    with ProgressLine() as line:
        try:
            return run_cycle(plan, stop=stop, on_progress=lambda progress: _show(line, progress))
        except TrainerStopped:
            return None


def _show(line: ProgressLine, progress: "TrainerProgress") -> None:
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


def _report(output: Output, published: "Published", alias: str) -> None:
    metrics = published.measured.as_metrics()
    output.say(
        f"snapshot {published.version}: {published.n_items:,} items from {published.n_clicks:,} clicks in"
        f" {published.n_sessions:,} sessions, {show_seconds(published.seconds)}"
    )
    output.say(
        f"  Recall@20 {metrics['recall@20']:.3f} (popular items {metrics['popular_recall@20']:.3f}),"
        f" MRR@20 {metrics['mrr@20']:.3f} on the newest 5 % of sessions, before it learnt from them too"
    )
    if published.announced:
        output.say(f"  announced as {alias}")
    else:
        output.say(
            f"  not announced: {alias} is pinned to {published.pinned_to};"
            f" nextclick snapshots promote {published.version} announces it"
        )
    if published.deleted:
        output.say(f"  deleted: {', '.join(published.deleted)}")
    output.result(
        {
            "snapshot": published.version,
            "location": published.location,
            "alias": alias,
            "announced": published.announced,
            "pinned_to": published.pinned_to,
            "clicks": published.n_clicks,
            "sessions": published.n_sessions,
            "items": published.n_items,
            "metrics": metrics,
            "index_recall": round(published.index_recall, 4),
            "deleted": list(published.deleted),
            "seconds": round(published.seconds, 2),
        }
    )
