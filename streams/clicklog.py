"""A window of the clicks by arrival time: of the topic, or of its archive and what the topic has after it.

Read without a consumer group. The end offsets are taken before the reading, so a window is finite, exact and
can be read again from the offsets that stand in a snapshot's manifest.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.archive_reading import Archived, ArchiveReader, retrying
from streams.archive_store import ArchiveStore
from streams.clickfile import ClickColumns
from streams.errors import NextclickError
from streams.events import DEFAULT_KIND, Click, click_time_ms, decode_click
from streams.growing_columns import GrowingColumns
from streams.kafka import KafkaConnection, TopicPartition, open_consumer
from streams.topics import TopicState, require_topics

STALLED_S: Final = 30.0


class ClickLogError(NextclickError):
    """The ``clicks`` topic cannot be read as asked."""


@dataclass(frozen=True, slots=True)
class Window:
    """The clicks of a window in order of arrival; ``offsets`` are first and end by partition.

    ``n_rejected`` counts the records of the topic that a worker would reject, ``n_missing`` the offsets of
    the window that Kafka deleted before they were archived; ``arrival_ms`` is of each click.
    """

    clicks: ClickColumns
    offsets: Mapping[int, tuple[int, int]]
    n_rejected: int
    n_missing: int = 0
    arrival_ms: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class ReadProgress:
    """How far the reading is; ``n_total`` counts offsets, of which compaction may have left some empty."""

    n_read: int
    n_total: int


OnRead = Callable[[ReadProgress], None]


def read_window(
    connection: KafkaConnection,
    topic: str,
    from_ms: int,
    on_progress: OnRead | None = None,
    *,
    archive: str | None = None,
    ends: Mapping[int, int] | None = None,
) -> Window:
    """Read the clicks that arrived at ``from_ms`` or later, up to the end offsets of now or the ``ends``.

    With an archive, a location, each partition is read from there up to where it ends, and from the topic
    after that: a window may be older than what the topic keeps. Records that a worker would reject are
    skipped and counted. Raises ``TopicError`` where the topic does not exist, ``ClickLogError`` where it
    stops giving records, ``ArchiveError`` where the archive cannot be read.
    """
    state = require_topics(connection, topic)[topic]
    if archive is None:
        return _read_tail(connection, state, from_ms, GrowingColumns(), {}, {}, 0, on_progress, ends)
    store = ArchiveStore(archive, topic)
    return retrying(lambda: _read_both(connection, state, from_ms, ArchiveReader(store), on_progress, ends))


def open_log(connection: KafkaConnection) -> Any:
    """Return a consumer that reads much at once, from the earliest record where an offset is gone."""
    return open_consumer(
        connection,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=5_000,
        max_partition_fetch_bytes=4 << 20,
        fetch_max_bytes=32 << 20,
    )


def read_records(
    consumer: Any, topic: str, offsets: Mapping[int, tuple[int, int]], on_progress: OnRead | None = None
) -> Iterator[tuple[int, list[Any]]]:
    """Give the records of each partition from its first offset to its end, as they are fetched.

    Raises ``ClickLogError`` where nothing comes any more.
    """
    open_ends = {
        TopicPartition(topic, number): end for number, (first, end) in offsets.items() if first < end
    }
    consumer.assign(list(open_ends))
    for partition in open_ends:
        consumer.seek(partition, offsets[partition.partition][0])
    total = sum(max(0, end - first) for first, end in offsets.values())
    deadline = time.monotonic() + STALLED_S
    while open_ends:
        polled = consumer.poll(timeout_ms=500)
        for partition, records in polled.items():
            end = open_ends.get(partition)
            if end is not None:
                yield partition.partition, [record for record in records if record.offset < end]
        for partition in [p for p, end in open_ends.items() if consumer.position(p) >= end]:
            del open_ends[partition]
            consumer.pause(partition)
        if polled:
            deadline = time.monotonic() + STALLED_S
        elif time.monotonic() > deadline:
            raise ClickLogError(
                f"topic {topic} gave no records for {STALLED_S:.0f} s, {len(open_ends)} partitions to go"
            )
        if on_progress is not None:
            left = sum(end - consumer.position(partition) for partition, end in open_ends.items())
            on_progress(ReadProgress(total - max(0, left), total))


def _read_both(
    connection: KafkaConnection,
    state: TopicState,
    from_ms: int,
    reader: ArchiveReader,
    on_progress: OnRead | None,
    until: Mapping[int, int] | None = None,
) -> Window:
    """Read the archive and then the rest from the topic."""
    columns = GrowingColumns()
    n_read, n_total = 0, reader.n_offsets(from_ms)

    def on_offsets(n_offsets: int) -> None:
        nonlocal n_read
        n_read += n_offsets
        if on_progress is not None:
            on_progress(ReadProgress(n_read, n_total))

    def on_tail(progress: ReadProgress) -> None:
        if on_progress is not None:
            on_progress(ReadProgress(n_total + progress.n_read, n_total + progress.n_total))

    topic_id = str(state.topic_id)
    numbers = range(state.n_partitions)
    limits = None if until is None else {(topic_id, number): until.get(number, 0) for number in numbers}
    found = reader.read(columns, from_ms, on_offsets, limits)
    archived = {number: part for (owner, number), part in found.items() if owner == topic_id}
    ends = {number: file.end for number, file in reader.newest(topic_id).items()}
    n_missing = sum(gap.end - gap.first for gap in reader.gaps(topic_id, from_ms))
    return _read_tail(connection, state, from_ms, columns, archived, ends, n_missing, on_tail, until)


def _read_tail(
    connection: KafkaConnection,
    state: TopicState,
    from_ms: int,
    columns: GrowingColumns,
    archived: Mapping[int, Archived],
    archive_ends: Mapping[int, int],
    n_missing: int,
    on_progress: OnRead | None,
    until: Mapping[int, int] | None = None,
) -> Window:
    """Read from the topic what is not in the columns yet."""
    n_rejected = 0
    latest_ms: dict[int, int] = {}
    with open_log(connection) as consumer:
        partitions = [TopicPartition(state.name, number) for number in range(state.n_partitions)]
        ends = consumer.end_offsets(partitions)
        if until is not None:
            ends = {one: min(end, until.get(one.partition, 0)) for one, end in ends.items()}
        starts = consumer.beginning_offsets(partitions)
        found = consumer.offsets_for_times(dict.fromkeys(partitions, from_ms))
        offsets = {}
        for partition in partitions:
            number = partition.partition
            since = ends[partition] if found[partition] is None else found[partition].offset
            end_of_archive = archive_ends.get(number, since)
            offsets[number] = (max(since, end_of_archive), ends[partition])
            if since <= starts[partition] > end_of_archive:  # the window may reach before the topic's begin
                n_missing += starts[partition] - end_of_archive
        for number, records in read_records(consumer, state.name, offsets, on_progress):
            # Append times step back where a partition's leader changes; the order of offsets must not.
            arrival_ms = latest_ms.get(number, 0)
            for record in records:
                arrival_ms = max(arrival_ms, record.timestamp)
                click = decode_click(record.key, record.value, record.timestamp)
                if isinstance(click, Click):
                    kind, time_ms = click.kind or DEFAULT_KIND, click_time_ms(click, record.timestamp)
                    columns.append(click.session_id, click.item_id, kind, time_ms, arrival_ms)
                else:
                    n_rejected += 1
            latest_ms[number] = arrival_ms
    whole = {
        number: (archived[number].first if number in archived else min(first, end), end)
        for number, (first, end) in offsets.items()
    }
    arrivals_ms = columns.arrivals_ms()
    return Window(columns.in_order_of_arrival(), whole, n_rejected, n_missing, arrivals_ms)
