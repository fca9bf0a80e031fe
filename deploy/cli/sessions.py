"""``nextclick sessions``: show a session's record, or forget all sessions."""

from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
import typer

from deploy.cli.options import Output, takes_settings
from deploy.settings import Settings
from streams.errors import NextclickError
from streams.events import DEFAULT_KIND
from streams.session import STATE_DTYPE
from streams.sessionlog import StoredSession, find_session, forget_sessions

app = typer.Typer(no_args_is_help=True, help="Show a session's record, or forget all sessions.")


@app.command("show")
@takes_settings("group")
def show_command(
    settings: Settings,
    output: Output,
    session_id: Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")],
) -> None:
    """Show a session's record as it stands in the changelog."""
    stored = find_session(settings.connection(), settings.topics().sessions_changelog, session_id)
    if stored is None:
        raise NextclickError(
            f"session {session_id!r} has no record: never clicked, expired, or not answered yet"
        )
    record = _record(session_id, stored)
    output.result(record)
    if output.json:
        return
    session = stored.session
    output.say(
        f"session {session_id}: last click applied at offset {session.offset} of partition {stored.partition}"
    )
    output.say(
        f"  latest click  {_show_time(session.latest_ms)} UTC, arrived {_show_time(session.append_ms)}"
    )
    output.say(f"  snapshot      {session.snapshot}, state moved by {session.n_applied} clicks")
    output.say(f"  record        {stored.n_bytes} bytes, changelog offset {stored.offset}")
    for item in record["items"]:
        output.say(f"  {_show_time(item['timestamp_ms'])}  {item['kind']:8}  {item['item_id']}")


@app.command("reset")
@takes_settings("group", "clicks_topic", "recommendations_topic", "rejected_clicks_topic", "snapshots_topic")
def reset_command(
    settings: Settings,
    output: Output,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget all sessions of the group, as after the clicks topic was made anew; workers must be stopped.

    Deletes the changelog, the group's offsets and the databases in this host's home folder.
    """
    topics = settings.topics()
    if not yes:
        question = f"Forget all sessions of group {settings.group} ({topics.sessions_changelog})?"
        typer.confirm(question, abort=True, err=True)
    forgotten = forget_sessions(settings.connection(), topics, settings.group, settings.home / "workers")
    output.say(
        f"forgot the sessions of group {settings.group}: {topics.sessions_changelog} is empty, with"
        f" {forgotten.n_partitions} partitions; {len(forgotten.folders)} local databases deleted"
    )
    output.result(
        {
            "group": settings.group,
            "changelog": topics.sessions_changelog,
            "partitions": forgotten.n_partitions,
            "databases": [str(folder) for folder in forgotten.folders],
        }
    )


def _record(session_id: str, stored: StoredSession) -> dict[str, Any]:
    session = stored.session
    state = np.frombuffer(session.state, dtype=STATE_DTYPE).astype(float)
    return {
        "session_id": session_id,
        "partition": stored.partition,
        "offset": session.offset,
        "snapshot": session.snapshot,
        "latest_ms": session.latest_ms,
        "append_ms": session.append_ms,
        "n_applied": session.n_applied,
        "items": [
            {
                "item_id": item.item_id,
                "kind": item.kind or DEFAULT_KIND,
                "timestamp_ms": item.time_ms,
            }
            for item in session.items
        ],
        "state": [round(value, 4) for value in state.tolist()],
        "n_event_ids": len(session.event_hashes) // 8,
        "changelog_offset": stored.offset,
        "bytes": stored.n_bytes,
    }


def _show_time(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
