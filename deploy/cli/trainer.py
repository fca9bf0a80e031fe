"""``nextclick trainer``: train on the newest clicks and publish snapshots, once or again and again.

A trainer gives way to workers. How it waits must be set before torch and FAISS are loaded, so they are
imported only after it.
"""

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.click_files import ClickFiles, reads_click_files
from deploy.cli.intervals import parse_interval
from deploy.cli.options import TRAINED, Output, takes_settings
from deploy.considerate import be_considerate
from deploy.settings import Settings
from deploy.stopping import stop_on_signals
from deploy.trainer_report import report
from streams.errors import NextclickError
from streams.lease import TrainerLease
from streams.schedule import Schedule
from streams.training_report import Kind, Published

if TYPE_CHECKING:
    from streams.training_plan import TrainerPlan
    from streams.training_wanted import TrainingWanted


@takes_settings(
    "clicks_topic",
    "snapshots_topic",
    "quality_topic",
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
    "drift_scores",
    "drift_quality",
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
                from deploy.trainer_loop import TrainerLoop

                TrainerLoop(plan, schedule, _wanted(settings), output, stop, lease).run()


def _set_threads(n_threads: int) -> None:
    from index.approximate import set_threads as set_index_threads
    from model.threads import set_threads as set_model_threads

    set_index_threads(n_threads)
    set_model_threads(n_threads)


def _plan(
    settings: Settings, history: tuple[Path, ...], click_files: ClickFiles, force: bool
) -> "TrainerPlan":
    from deploy.training_settings import encoder_config, gate_bounds, training_config
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
        bounds=gate_bounds(settings),
        force=force,
        unfinished=settings.home / "trainers" / settings.alias,
    )


def _wanted(settings: Settings) -> "TrainingWanted":
    from streams.training_wanted import TrainingWanted, told_by_workers

    connection, topics, alias = settings.connection(), settings.topics(), settings.alias
    return TrainingWanted(
        settings.drift_limits(),
        lambda: told_by_workers(connection, topics, alias, int(time.time() * 1000)),
    )


def _lease(settings: Settings) -> TrainerLease:
    folder = settings.home / "trainers"
    return TrainerLease(
        settings.connection(), settings.group, settings.alias, settings.snapshots_topic, folder
    )


def _train_once(
    plan: "TrainerPlan", kind: Kind, output: Output, stop: threading.Event, lease: TrainerLease
) -> None:
    from deploy.trainer_loop import train

    lease.take(stop, wait=False)
    outcome = train(plan, kind, stop, lease)
    if isinstance(outcome, Published):
        report(output, outcome, plan.alias)
        if outcome.verdict.refused:
            raise typer.Exit(1)
    elif outcome is None:
        output.say("stopped; nothing was published")
        output.result({"snapshot": None, "stopped": True})
    else:
        raise NextclickError(f"nothing trained: {outcome}")
