"""``nextclick demo``: the whole product at work, in about a minute."""

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
from deploy.demo.view import LiveView, PlainView, View
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
    seconds: Annotated[float, typer.Option(min=5, help="How long clicks flow.")] = 60.0,
    rate: Annotated[
        float, typer.Option(min=1, max=5000, help="Clicks a second of made-up shoppers.")
    ] = 100.0,
) -> None:
    """Show the whole product at work: Kafka, shoppers, a worker, a trainer, and a hot swap.

    It has topics and a folder of its own, and leaves nothing behind. Where bootstrap servers are set, that
    cluster is used and no Kafka started. Exit code 0 says that no click is without a recommendation, that a
    second snapshot was swapped in, and that the next click was foretold more often than by popular items.
    """
    began = time.monotonic()
    view = _view(output)
    try:
        with _ending_is_an_exception(), demo_folder(settings.home) as folder:
            plan = replay_real(data, seconds) if data is not None else make_up(folder, seconds, rate)
            outcome = Performance(settings, plan, folder, seconds, view).run()
    except KeyboardInterrupt:
        print("nextclick: the demo was stopped; nothing of it is left", file=sys.stderr)
        raise
    output.result(outcome.as_json(time.monotonic() - began))
    for line in summary(outcome, plan, time.monotonic() - began):
        output.say(line)
    if problems := outcome.problems():
        raise DemoError(f"the demo has not shown what it should: {'; '.join(problems)}")


def _view(output: Output) -> View:
    stream = sys.stderr if output.json else sys.stdout
    console = Console(file=stream)
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console)
    return PlainView(stream)


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
