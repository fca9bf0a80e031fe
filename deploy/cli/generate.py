"""``nextclick generate``: made-up shoppers, into Kafka or a file."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.options import Output, takes_settings
from deploy.cli.replay import check_rate, parse_start, rate_note, report_sent
from deploy.progress import ProgressLine
from deploy.settings import Settings
from deploy.stopping import stop_on_signals
from streams.clickfile import ClickColumns, write_click_file
from streams.replaying import at_speed, send_clicks
from streams.shoppers import GeneratedClick, Habits, drifting, generate_clicks, generate_columns

FILE_CLICKS = 100_000
FILE_ENDINGS = (".tsv", ".tsv.gz", ".csv", ".csv.gz", ".parquet")
FILE_START = "2026-01-01"


@takes_settings("clicks_topic")
def command(
    settings: Settings,
    output: Output,
    shoppers: Annotated[int, typer.Option(min=1, help="How many are in the shop at any time.")] = 200,
    items: Annotated[int, typer.Option(min=2, help="How many items the shop has.")] = 500,
    rate: Annotated[
        float, typer.Option(help="Clicks a second of all shoppers; 0 sends as fast as it goes.")
    ] = 20.0,
    clicks: Annotated[int | None, typer.Option(min=1, help="End after so many clicks.")] = None,
    minutes: Annotated[float | None, typer.Option(help="End after so many minutes.")] = None,
    new_items: Annotated[
        int, typer.Option(min=0, help="So many further items appear, one after the other.")
    ] = 0,
    new_item_every: Annotated[
        float, typer.Option(metavar="SECONDS", help="From one new item to the next.")
    ] = 10.0,
    drift_minutes: Annotated[
        float | None,
        typer.Option(help="Fashions, and what people look at next, change within so many minutes."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same shop and shoppers.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Write a file instead (.tsv, .csv, also .gz, or .parquet)."),
    ] = None,
    session_prefix: Annotated[
        str | None, typer.Option(help="Put before every session id. [default: of this run's own]")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help=f"When a file's first click happens. [default: {FILE_START}]")
    ] = None,
) -> None:
    """Make up shoppers with tastes, sessions and fashions that drift, and send their clicks to Kafka.

    Goes on until stopped, unless --clicks or --minutes is given.
    """
    check_rate(rate)
    if minutes is not None and not minutes > 0:
        raise typer.BadParameter(f"--minutes is {minutes}, it must be above 0")
    if start is not None and out is None:
        raise typer.BadParameter("--start goes with --out: into Kafka clicks happen now")
    if out is not None and not out.name.endswith(FILE_ENDINGS):
        raise typer.BadParameter(f"--out is {out}, it must end in one of {', '.join(FILE_ENDINGS)}")
    pace = rate or 20.0
    if minutes is not None and (rate == 0 or out is not None):
        n_in_time = max(1, round(minutes * 60 * pace))
        clicks, minutes = min(clicks or n_in_time, n_in_time), None
    if rate == 0 and out is None and clicks is None:
        raise typer.BadParameter("--rate 0 needs --clicks or --minutes")
    shop = _Shop(seed, items, shoppers, pace, _habits(new_items, new_item_every, drift_minutes))
    if out is None:
        _send(settings, output, shop, rate, clicks, minutes, session_prefix)
        return
    columns = shop.columns(clicks or FILE_CLICKS, parse_start(start or FILE_START), session_prefix or "")
    write_click_file(out, columns)
    output.say(f"{len(columns):,} clicks written to {out}")
    output.result({"clicks": len(columns), "file": str(out)})


def _send(
    settings: Settings,
    output: Output,
    shop: "_Shop",
    rate: float,
    clicks: int | None,
    minutes: float | None,
    session_prefix: str | None,
) -> None:
    now_ms = int(time.time() * 1000)
    if rate == 0:  # all at once: as if they had happened until now
        now_ms -= int(1000 * (clicks or 0) / shop.clicks_per_s)
    own_prefix = f"g{now_ms // 1000 % 10**7}-"
    stream = shop.stream(now_ms, own_prefix if session_prefix is None else session_prefix)
    if minutes is not None:
        end_ms = now_ms + minutes * 60_000
        stream = takewhile(lambda click: click.time_ms <= end_ms, stream)
    with stop_on_signals() as stop, ProgressLine() as line:
        sent = send_clicks(
            settings.connection(),
            settings.clicks_topic,
            islice(stream, clicks),
            at_speed(1.0, now_ms) if rate else None,
            stop=stop,
            on_progress=lambda sent: line.show("shoppers click", sent.n_clicks, clicks, rate_note(sent)),
        )
    report_sent(output, sent, settings.clicks_topic, clicks)


def _habits(n_new_items: int, new_item_every_s: float, drift_minutes: float | None) -> Habits:
    for name, value in (("--new-item-every", new_item_every_s), ("--drift-minutes", drift_minutes)):
        if value is not None and not value > 0:
            raise typer.BadParameter(f"{name} is {value}, it must be above 0")
    habits = Habits(n_new_items=n_new_items, launch_every_ms=round(1000 * new_item_every_s))
    return habits if drift_minutes is None else drifting(habits, round(60_000 * drift_minutes))


@dataclass(frozen=True, slots=True)
class _Shop:
    seed: int
    n_items: int
    n_shoppers: int
    clicks_per_s: float
    habits: Habits

    def columns(self, n_clicks: int, start_ms: int, session_prefix: str) -> ClickColumns:
        """The first clicks, for a file."""
        return generate_columns(
            self.seed,
            n_clicks,
            n_items=self.n_items,
            n_shoppers=self.n_shoppers,
            clicks_per_s=self.clicks_per_s,
            start_ms=start_ms,
            session_prefix=session_prefix,
            habits=self.habits,
        )

    def stream(self, start_ms: int, session_prefix: str) -> Iterator[GeneratedClick]:
        """The same clicks without end."""
        return generate_clicks(
            self.seed,
            n_items=self.n_items,
            n_shoppers=self.n_shoppers,
            clicks_per_s=self.clicks_per_s,
            start_ms=start_ms,
            session_prefix=session_prefix,
            habits=self.habits,
        )
