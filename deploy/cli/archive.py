"""``nextclick archive``: keep the clicks for longer than Kafka does, as Parquet files at any location.

Once, or again and again; ``compact`` merges small files, ``show`` says what stands there. Everything is in
the files, so it may be killed at any moment and run anywhere.
"""

import threading
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

import typer

from deploy.cli.intervals import parse_interval
from deploy.cli.options import Output, takes_settings
from deploy.considerate import be_considerate
from deploy.progress import ProgressLine, show_seconds
from deploy.rounds import complain, tell_failed
from deploy.settings import Settings, SettingsError
from deploy.stopping import stop_on_signals
from streams.archive import DAY_MS, ArchiveError, Gap, by_partition, gaps, show_day
from streams.archive_compaction import Compacted, compact
from streams.archive_store import ArchiveStore
from streams.archiving import ArchivedNow, archive_clicks

MAX_GAPS_SHOWN: Final = 8


class Action(StrEnum):
    """What to do with the archive."""

    RUN = "run"
    COMPACT = "compact"
    SHOW = "show"


@takes_settings("clicks_topic", "archive")
def command(
    settings: Settings,
    output: Output,
    action: Annotated[
        Action, typer.Argument(help="Archive new clicks, merge small files, or show what is there.")
    ] = Action.RUN,
    every: Annotated[
        str | None,
        typer.Option(help="Archive again and again, from start to start: 30s, 5m, 1h. [default: once]"),
    ] = None,
) -> None:
    """Archive clicks as Parquet, so that training may reach further back than Kafka keeps them."""
    every_s = None if every is None else parse_interval(every)
    if every is not None and action is not Action.RUN:
        raise typer.BadParameter(f"--every does not go with {action}")
    if every is not None and output.json:
        raise typer.BadParameter("--json does not go with --every: it prints one object, at the end")
    if settings.archive is None:
        raise SettingsError(
            "archive is not set, it must be a folder or a URL that fsspec opens (s3://…): give --archive"
        )
    store = ArchiveStore(settings.archive, settings.clicks_topic)
    if action is Action.SHOW:
        _show(store, output)
        return
    be_considerate()
    with stop_on_signals() as stop:
        if action is Action.COMPACT:
            # Asked for by name: today's files as well, however few they are.
            _tell_compacted(compact(store, _today() + 1, stop=stop), output)
        elif every_s is None:
            _tell(_archive(settings, store, stop), output)
        else:
            _archive_for_ever(settings, store, output, every_s, stop)


def _today() -> int:
    return int(time.time() * 1000) // DAY_MS


def _archive(
    settings: Settings, store: ArchiveStore, stop: threading.Event
) -> tuple[ArchivedNow, Compacted, float]:
    began = time.monotonic()
    with ProgressLine() as line:
        now = archive_clicks(
            settings.connection(),
            settings.clicks_topic,
            store,
            stop=stop,
            on_progress=lambda progress: line.show(
                "archiving", progress.n_read, progress.n_total, f"{progress.n_read:,} of {progress.n_total:,}"
            ),
        )
        try:
            compacted = compact(store, _today(), stop=stop)
        except ArchiveError as error:
            complain(f"the clicks are archived, but not all small files merged: {error}")
            compacted = Compacted(0, 0, 0)
    return now, compacted, time.monotonic() - began


def _archive_for_ever(
    settings: Settings, store: ArchiveStore, output: Output, every_s: float, stop: threading.Event
) -> None:
    while not stop.is_set():
        began = time.monotonic()
        try:
            done = _archive(settings, store, stop)
            if done[0].n_files:
                _tell(done, output)
        except Exception as error:
            tell_failed(error)
        stop.wait(max(0.0, began + every_s - time.monotonic()))
    output.say("archiving stopped")


def _tell(done: tuple[ArchivedNow, Compacted, float], output: Output) -> None:
    now, compacted, seconds = done
    if now.made_anew:
        complain("the topic was made anew: its clicks are archived beside those of the topic before")
    if now.gaps:
        n_lost = sum(gap.end - gap.first for gap in now.gaps)
        complain(
            f"Kafka deleted up to {n_lost:,} records before they were archived ({show_gaps(now.gaps)});"
            " archive more often than the topic's retention.ms"
        )
    left_out = f" ({now.n_rejected:,} records left out that are no clicks)" if now.n_rejected else ""
    output.say(
        f"{now.n_clicks:,} clicks archived in {now.n_files} files, {show_seconds(seconds)}{left_out}"
        + (f"; {compacted.n_merged} files merged into {compacted.n_written}" if compacted.n_merged else "")
    )
    output.result(
        {
            "clicks": now.n_clicks,
            "rejected": now.n_rejected,
            "files": now.n_files,
            "gaps": _as_lists(now.gaps),
            "made_anew": now.made_anew,
            "merged": compacted.n_merged,
            "seconds": round(seconds, 2),
            "stopped": now.stopped,
        }
    )


def _tell_compacted(compacted: Compacted, output: Output) -> None:
    output.say(
        f"{compacted.n_merged} files merged into {compacted.n_written}, {compacted.n_removed} files removed"
    )
    output.result(
        {"merged": compacted.n_merged, "written": compacted.n_written, "removed": compacted.n_removed}
    )


def _show(store: ArchiveStore, output: Output) -> None:
    files = store.files()
    partitions = by_partition(files)
    topics = []
    for topic_id in dict.fromkeys(file.topic_id for file in files):
        mine = [file for file in files if file.topic_id == topic_id]
        chosen = {number: part for (owner, number), part in partitions.items() if owner == topic_id}
        missing = [gap for part in chosen.values() for gap in gaps(part)]
        days = show_day(min(file.day for file in mine)), show_day(max(file.day for file in mine))
        n_bytes = sum(store.n_bytes(file) for file in mine)
        offsets = {number: [part[0].first, part[-1].file.end] for number, part in chosen.items()}
        output.say(f"{topic_id}: {days[0]} to {days[1]}, {len(mine)} files, {n_bytes:,} bytes")
        for number, (first, end) in offsets.items():
            output.say(f"  partition {number}: offsets {first:,} to {end - 1:,}")
        if missing:
            output.say(f"  never archived: {show_gaps(missing)}")
        topics.append(
            {
                "topic_id": topic_id,
                "first_day": days[0],
                "last_day": days[1],
                "files": len(mine),
                "bytes": n_bytes,
                "offsets": offsets,
                "gaps": _as_lists(missing),
            }
        )
    if not topics:
        output.say(f"nothing is archived at {store.location}")
    output.result({"archive": store.location, "topics": topics})


def show_gaps(missing: Sequence[Gap]) -> str:
    """The first gaps, and how many there are beside them."""
    more = f" and {len(missing) - MAX_GAPS_SHOWN} more" if len(missing) > MAX_GAPS_SHOWN else ""
    return "; ".join(str(gap) for gap in missing[:MAX_GAPS_SHOWN]) + more


def _as_lists(missing: Sequence[Gap]) -> list[list[int]]:
    return [[gap.partition, gap.first, gap.end] for gap in missing]
