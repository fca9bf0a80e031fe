"""``nextclick demo``: the whole product at work in about a minute, or the life of its snapshots in three."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from deploy.cli.options import Output, takes_settings
from deploy.demo.performance import Performance
from deploy.demo.plan import make_up, replay_real
from deploy.demo.stage import DemoError, demo_folder
from deploy.demo.summary import summary
from deploy.demo.telling import DEMO
from deploy.demo.view import LiveView, PlainView, S, Telling, View
from deploy.evaluation.picture import check_can_draw
from deploy.settings import Settings

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@takes_settings()
def command(
    settings: Settings,
    output: Output,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A folder of real clicks, train.tsv.gz and test.tsv.gz. [default: made-up shoppers]"
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=5, help="How long clicks flow. [default: 60, with --lifecycle 120]"),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1, max=5000, help="Clicks a second of made-up shoppers. [default: 100, with --lifecycle 150]"
        ),
    ] = None,
    lifecycle: Annotated[
        bool,
        typer.Option(
            "--lifecycle", help="Show how snapshots live: refreshed, refused, tried, rolled back; new items."
        ),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="With --lifecycle: where its curves go (.png, .svg, .pdf). [default: lifecycle.png]"
        ),
    ] = None,
) -> None:
    """Show the whole product at work: Kafka, shoppers, a worker, a trainer, and a hot swap.

    It has topics and a folder of its own, and leaves nothing behind. Where bootstrap servers are set, that
    cluster is used and no Kafka started. Exit code 0 says that no click is without a recommendation, that a
    second snapshot was swapped in, and that the next click was foretold more often than by popular items.

    With --lifecycle the shop changes while clicks flow, for some three minutes. Exit code 0 says that
    refreshes improved the hit rate beyond chance, that a snapshot with shuffled weights was refused, that as
    a canary it was rolled back within a minute and the other sessions were served as before, and that every
    new item was soon recommended.
    """
    if lifecycle and data is not None:
        raise typer.BadParameter("--lifecycle makes up its shoppers: give it without --data")
    if picture is not None and not lifecycle:
        raise typer.BadParameter("--picture goes with --lifecycle")
    try:
        with _ending_is_an_exception():
            if lifecycle:
                _show_lifecycle(settings, output, seconds or 120.0, rate or 150.0, picture)
            else:
                _show_product(settings, output, data, seconds or 60.0, rate or 100.0)
    except KeyboardInterrupt:
        print("nextclick: the demo was stopped; nothing of it is left", file=sys.stderr)
        raise


def _show_product(settings: Settings, output: Output, data: Path | None, seconds: float, rate: float) -> None:
    began = time.monotonic()
    with demo_folder(settings.home) as folder:
        plan = replay_real(data, seconds) if data is not None else make_up(folder, seconds, rate)
        outcome = Performance(settings, plan, folder, seconds, _view(output, DEMO)).run()
    took_s = time.monotonic() - began
    output.result(outcome.as_json(took_s))
    _end(output, summary(outcome, plan, took_s), outcome.problems())


def _show_lifecycle(
    settings: Settings, output: Output, seconds: float, rate: float, picture: Path | None
) -> None:
    from deploy.demo import lifecycle_summary
    from deploy.demo.changing_shop import changing_shop
    from deploy.demo.lifecycle import Lifecycle
    from deploy.demo.lifecycle_picture import draw_lifecycle
    from deploy.demo.lifecycle_scene import LIFECYCLE

    began = time.monotonic()
    picture = picture or Path("lifecycle.png")
    check_can_draw(picture)
    with demo_folder(settings.home) as folder:
        plan = changing_shop(folder, seconds, rate)
        outcome, notes = Lifecycle(settings, plan, folder, _view(output, LIFECYCLE)).run()
    draw_lifecycle(outcome, notes, picture)
    took_s = time.monotonic() - began
    output.result(outcome.as_json(took_s) | {"picture": str(picture)})
    _end(output, lifecycle_summary.summary(outcome, picture, took_s), outcome.problems())


def _end(output: Output, lines: list[str], problems: list[str]) -> None:
    for line in lines:
        output.say(line)
    if problems:
        raise DemoError(f"the demo has not shown what it should: {'; '.join(problems)}")


def _view(output: Output, telling: Telling[S]) -> View[S]:
    stream = sys.stderr if output.json else sys.stdout
    console = Console(file=stream)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console, telling)
    return PlainView(stream, telling)


@contextmanager
def _ending_is_an_exception() -> Iterator[None]:
    """Ctrl-C, SIGTERM or a closed terminal raise one exception, so that everything is cleared away."""

    def end(number: int, frame: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)  # clearing away is not to be interrupted
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
