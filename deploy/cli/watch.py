"""``nextclick watch``: follow the recommendations live."""

import sys
from typing import Annotated

import msgspec
import typer

from deploy.cli.options import Output, takes_settings
from deploy.settings import Settings
from deploy.stopping import stop_on_signals
from streams.events import Recommendation, decode_recommendation
from streams.following import follow_from_end

SHOWN_ITEMS = 4
LIVE_MS = 60_000  # a click older than that is a recorded one: its delay says nothing


@takes_settings("recommendations_topic")
def command(
    settings: Settings,
    output: Output,
    session: Annotated[str | None, typer.Option(help="Only this session's.")] = None,
    json_lines: Annotated[bool, typer.Option("--json-lines", help="Print the records as they are.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
) -> None:
    """Follow the recommendations live, from now on, until stopped."""
    n_shown = 0
    with stop_on_signals() as stop:
        records = follow_from_end(settings.connection(), settings.recommendations_topic, stop)
        for value in records:
            try:
                recommendation = decode_recommendation(value)
            except msgspec.MsgspecError as error:
                print(f"not a recommendation: {error}", file=sys.stderr)
                continue
            if session is not None and recommendation.session_id != session:
                continue
            output.say(value.decode() if json_lines else describe(recommendation))
            n_shown += 1
            if limit is not None and n_shown >= limit:
                break
    output.result({"recommendations": n_shown})


def describe(recommendation: Recommendation) -> str:
    """One line: session, the item clicked, the first items recommended, how long it took."""
    click = recommendation.click
    delay_ms = recommendation.created_ms - click.timestamp_ms
    took = f"{delay_ms:4} ms" if 0 <= delay_ms < LIVE_MS else "recorded"
    items = ", ".join(item.item_id for item in recommendation.items[:SHOWN_ITEMS]) or "nothing"
    popular = " (popular)" if recommendation.source == "popular" else ""
    return f"{took}  {recommendation.session_id:12}  {click.item_id} → {items}{popular}"
