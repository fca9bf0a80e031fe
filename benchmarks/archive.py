"""How fast clicks are read from the archive and from the topic, how fast they are archived, and the memory.

An archive of ten million made-up clicks of a month is written as an archiver leaves it when its days are
merged, and read by a process of its own. A million of them go through Kafka: sent, read from the topic,
archived by ``archive_clicks``, and read again from there.
"""

import multiprocessing
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.report import Report, command, parser, print_table, say
from benchmarks.site import N_PARTITIONS, Site, open_site
from model.vocabulary import Vocabulary
from streams.archive import DAY_MS, SCHEMA, ArchivedFile
from streams.archive_reading import read_archive
from streams.archive_store import ArchiveStore
from streams.archiving import archive_clicks
from streams.clickfile import ClickColumns
from streams.clicklog import read_window
from streams.kafka import KafkaConnection
from streams.replaying import recorded_clicks, send_clicks
from streams.sequencing import cut_sessions
from streams.shoppers import generate_columns
from streams.topics import TopicNames

DAYS: Final = 30
TOPIC: Final = "clicks"
TOPIC_ID: Final = "00000000-0000-0000-0000-000000000001"
GAP_MS: Final = 30 * 60_000
MOST_MB: Final = 4_000.0
"""What a trainer may take for ten million clicks in all; reading and cutting them is a part of it."""


def main() -> None:
    """Measure, print and write."""
    flags = parser(__doc__)
    flags.add_argument("--clicks", type=int, default=10_000_000, help="in the archive")
    flags.add_argument("--items", type=int, default=100_000)
    flags.add_argument("--topic-clicks", type=int, default=1_000_000, help="that go through Kafka; 0: none")
    asked = flags.parse_args()
    conditions = {"items": asked.items, "days": DAYS, "partitions": N_PARTITIONS}
    report = Report("archive", conditions, asked.results, asked.note)
    folder = asked.work / "archive"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        say(f"{asked.clicks:,} made-up clicks into an archive")
        apart(fill_archive, str(folder), asked.clicks, asked.items)
        n_bytes = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
        report.conditions |= {"bytes_of_a_click": round(n_bytes / asked.clicks, 1)}
        lines = [{"from": "archive"} | apart(measure_archive, str(folder), TOPIC)]
        if asked.topic_clicks:
            lines += through_kafka(asked.work, asked.topic_clicks, asked.items, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.body = {"figures": lines}
    print_table(lines)
    peak_mb = lines[0]["cut_peak_mb"]
    report.mark(f"{asked.clicks:,} clicks read and cut, MB", f"<= {MOST_MB:g}", peak_mb, peak_mb <= MOST_MB)
    report.write()


def fill_archive(
    location: str,
    n_clicks: int,
    n_items: int,
    topic: str = TOPIC,
    ends_ms: int | None = None,
    begin: int = 0,
    end: int | None = None,
) -> None:
    """Write made-up clicks, or those from number ``begin`` to ``end``, a file for a day and a partition.

    Called again with the same clicks and the number at which it ended, it goes on there.
    """
    clicks = made_up(n_clicks, n_items, ends_ms)
    store = ArchiveStore(location, topic)
    sessions = _coded(clicks.session_ids)
    items = _coded(clicks.item_ids)
    partitions = sessions.indices.to_numpy() % N_PARTITIONS
    days = clicks.time_ms // DAY_MS
    number = np.arange(len(clicks))
    wanted = (number >= begin) & (number < (len(clicks) if end is None else end))
    for partition in range(N_PARTITIONS):
        mine = np.flatnonzero(partitions == partition)
        starts = np.flatnonzero(np.diff(days[mine], prepend=-1))
        edges = np.flatnonzero(np.diff(wanted[mine], prepend=False))
        starts = np.unique(np.concatenate([starts, edges, [len(mine)]]))
        for first, after in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            rows = mine[first:after]
            if wanted[rows[0]]:
                file = ArchivedFile(TOPIC_ID, partition, first, after, int(days[rows[0]]))
                file_sessions, file_items = (_coded_anew(coded, rows) for coded in (sessions, items))
                store.write(file, _rows(file, file_sessions, file_items, clicks.time_ms[rows]))


def made_up(n_clicks: int, n_items: int, ends_ms: int | None = None) -> ClickColumns:
    """Clicks of a month, evenly spread over it; of the last one unless its end is named."""
    seconds = DAYS * DAY_MS / 1_000
    start_ms = (int(time.time() * 1_000) if ends_ms is None else ends_ms) - DAYS * DAY_MS
    rate = 1.001 * n_clicks / seconds  # a little faster, so that none is later than now
    n_shoppers = max(10, round(60 * rate))  # each clicks once a minute
    return generate_columns(
        1, n_clicks, n_items=n_items, n_shoppers=n_shoppers, clicks_per_s=rate, start_ms=start_ms
    )


def _coded(names: Any) -> Any:
    return pa.array(names, pa.string()).dictionary_encode()


def _coded_anew(coded: Any, rows: Any) -> Any:
    """Some rows, with a dictionary of their own names and no others."""
    return coded.take(pa.array(rows)).dictionary_decode().dictionary_encode()


def _rows(file: ArchivedFile, sessions: Any, items: Any, time_ms: Any) -> Any:
    n_rows = len(time_ms)

    def same(value: str) -> Any:
        return pa.DictionaryArray.from_arrays(
            np.zeros(n_rows, dtype=np.int32), pa.array([value], pa.string())
        )

    return pa.table(
        [
            same(file.topic_id),
            pa.array(np.full(n_rows, file.partition, dtype=np.int32)),
            pa.array(np.arange(file.first, file.end)),
            pa.array(time_ms),
            sessions,
            items,
            pa.array(time_ms),
            same("view"),
            pa.DictionaryArray.from_arrays(pa.nulls(n_rows, pa.int32()), pa.array([], pa.string())),
            pa.nulls(n_rows, pa.string()),
            pa.nulls(n_rows, pa.string()),
        ],
        schema=SCHEMA,
    )


def through_kafka(work: Path, n_clicks: int, n_items: int, folder: Path) -> list[dict[str, Any]]:
    """Send clicks, read them from the topic, archive them, read them from the archive and the topic's end."""
    site: Site
    with open_site(work) as site:
        site.create(TopicNames(clicks=site.clicks_topic, snapshots=site.snapshots_topic))
        say(f"{n_clicks:,} clicks to Kafka")
        send_clicks(site.connection, site.clicks_topic, recorded_clicks(made_up(n_clicks, n_items)), None)
        site.wait_quiet()
        topic, location = site.clicks_topic, str(folder)
        lines = [{"from": "topic"} | apart(measure_window, site.connection, topic, None)]
        lines.append(
            {"from": "topic, into the archive"} | apart(measure_archiving, site.connection, topic, location)
        )
        both = apart(measure_window, site.connection, topic, location)
        lines.append({"from": "archive and the topic's end"} | both)
    return lines


def measure_archive(location: str, topic: str) -> dict[str, Any]:
    """Read an archive, and cut its clicks into sessions as a trainer does."""
    return _measured(lambda: read_archive(location, topic))


def measure_window(connection: KafkaConnection, topic: str, archive: str | None) -> dict[str, Any]:
    """Read all clicks of a topic, with or without its archive."""
    return _measured(lambda: read_window(connection, topic, 0, archive=archive).clicks)


def measure_archiving(connection: KafkaConnection, topic: str, location: str) -> dict[str, Any]:
    """Archive a topic."""
    watch = _Watch()
    return watch.line(archive_clicks(connection, topic, ArchiveStore(location, topic)).n_clicks)


def _measured(read: Callable[[], ClickColumns]) -> dict[str, Any]:
    watch = _Watch()
    clicks = read()
    line = watch.line(len(clicks))
    began = time.perf_counter()
    sessions = cut_sessions(clicks, Vocabulary.from_clicks(clicks.item_ids), GAP_MS)
    cut_s = time.perf_counter() - began
    return line | {"sessions": len(sessions), "cut_s": round(cut_s, 1), "cut_peak_mb": round(_peak_mb())}


class _Watch:
    """Time, CPU and memory since it was made."""

    def __init__(self) -> None:
        self._began, self._cpu_began, self._before_mb = time.perf_counter(), time.process_time(), _peak_mb()

    def line(self, n_clicks: int) -> dict[str, Any]:
        seconds, cpu_s = time.perf_counter() - self._began, time.process_time() - self._cpu_began
        return {
            "clicks": n_clicks,
            "seconds": round(seconds, 1),
            "clicks_per_s": round(n_clicks / seconds),
            "cpu_us_per_click": round(1e6 * cpu_s / n_clicks, 2),
            "before_mb": round(self._before_mb),
            "peak_mb": round(_peak_mb()),
        }


def apart(measure: Callable[..., Any], *arguments: Any) -> Any:
    """Call it in a process of its own, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, arguments)


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    command(main)
