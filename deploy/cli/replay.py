"""``nextclick replay``: feed a file of clicks into Kafka."""

import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.click_files import ClickFiles, reads_click_files
from deploy.cli.options import Output, takes_settings
from deploy.progress import ProgressLine, show_seconds
from deploy.settings import Settings
from deploy.stopping import stop_on_signals
from streams.replaying import Due, Sent, at_rate, at_speed, recorded_clicks, send_clicks

DEFAULT_RATE = 100.0


@takes_settings("clicks_topic")
@reads_click_files()
def command(
    settings: Settings,
    output: Output,
    click_files: ClickFiles,
    file: Annotated[
        Path, typer.Argument(help="TSV or CSV, also gzipped, Parquet, or a public log as it is published.")
    ],
    rate: Annotated[
        float | None,
        typer.Option(
            help=f"Clicks a second, 0 as fast as it goes; {DEFAULT_RATE:.0f} unless --speed is given."
        ),
    ] = None,
    speed: Annotated[float | None, typer.Option(help="Times as fast as the clicks happened.")] = None,
    start: Annotated[
        str | None,
        typer.Option(help="When the first click happens: now, or an ISO date. [default: as recorded]"),
    ] = None,
    session_prefix: Annotated[str, typer.Option(help="Put before every session id.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Send only so many clicks.")] = None,
) -> None:
    """Feed a file of clicks into Kafka, in order of time, rows of one time in the order of the file.

    Times are Unix seconds or milliseconds, or ISO dates. One in the future is sent as the moment of sending.
    """
    if rate is not None and speed is not None:
        raise typer.BadParameter("give --rate or --speed, not both")
    check_rate(rate)
    if speed is not None and not 0 < speed < math.inf:
        raise typer.BadParameter(f"--speed is {speed}, it must be above 0")
    start_ms = None if start is None else parse_start(start)
    clicks = click_files.read(file)
    timed = recorded_clicks(clicks, start_ms=start_ms, session_prefix=session_prefix, limit=limit)
    due: Due | None = None
    if speed is not None:
        due = at_speed(speed, int(clicks.time_ms[0]) if start_ms is None else start_ms)
    elif rate != 0:
        due = at_rate(DEFAULT_RATE if rate is None else rate)
    n_clicks = min(len(clicks), limit or len(clicks))
    with stop_on_signals() as stop, ProgressLine() as line:
        sent = send_clicks(
            settings.connection(),
            settings.clicks_topic,
            timed,
            due,
            stop=stop,
            on_progress=lambda sent: line.show(
                f"sending {file.name}", sent.n_clicks, n_clicks, rate_note(sent)
            ),
        )
    report_sent(output, sent, settings.clicks_topic, n_clicks)


def check_rate(rate: float | None) -> None:
    """Refuse a rate that is no rate."""
    if rate is not None and not 0 <= rate < math.inf:
        raise typer.BadParameter(f"--rate is {rate}, it must be 0 or more clicks a second")


def parse_start(start: str) -> int:
    """Milliseconds of ``now`` or an ISO date, in UTC where it names no zone."""
    if start == "now":
        return int(time.time() * 1000)
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        raise typer.BadParameter(
            f"--start is {start!r}, it must be now or a date such as 2026-01-31"
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def rate_note(sent: Sent) -> str:
    """How many clicks were sent and how fast, for the line of progress."""
    late = f", {show_seconds(sent.behind_s)} behind" if sent.behind_s >= 1 else ""
    return f"{sent.n_clicks:,} clicks, {sent.clicks_per_s:,.0f}/s{late}"


def report_sent(output: Output, sent: Sent, topic: str, n_clicks: int | None) -> None:
    """Say what was sent; a stop is no failure."""
    of = f" of {n_clicks:,}" if sent.stopped and n_clicks is not None else ""
    end = "; stopped" if sent.stopped else ""
    rate = f"{sent.clicks_per_s:,.0f} clicks/s" if sent.n_clicks else "none"
    output.say(f"{sent.n_clicks:,}{of} clicks sent to {topic} in {sent.seconds:.1f} s ({rate}){end}")
    output.result(
        {
            "clicks": sent.n_clicks,
            "seconds": round(sent.seconds, 3),
            "clicks_per_s": round(sent.clicks_per_s, 1),
            "stopped": sent.stopped,
        }
    )
