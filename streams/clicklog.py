"""A window of the ``clicks`` topic by arrival time, read without a consumer group.

The end offsets are taken at the start, so a window is finite, exact and can be read again from the offsets
that stand in a snapshot's manifest. Ids are interned and columns are arrays: a click costs some 40 bytes.
"""

import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from streams.clickfile import ClickColumns
from streams.errors import NextclickError
from streams.events import DEFAULT_KIND, Click, click_time_ms, decode_click
from streams.kafka import KafkaConnection, TopicPartition, open_consumer
from streams.topics import require_topics

STALLED_S: Final = 30.0


class ClickLogError(NextclickError):
    """The ``clicks`` topic cannot be read as asked."""


@dataclass(frozen=True, slots=True)
class Window:
    """The clicks of a window in order of arrival; ``offsets`` are first and end by partition."""

    clicks: ClickColumns
    offsets: Mapping[int, tuple[int, int]]
    n_rejected: int


@dataclass(frozen=True, slots=True)
class ReadProgress:
    """How far the reading is; ``n_total`` counts offsets, of which compaction may have left some empty."""

    n_read: int
    n_total: int


@dataclass(slots=True)
class _Columns:
    """Growing columns: numbers of interned ids, and times."""

    sessions: "array[int]" = field(default_factory=lambda: array("q"))
    items: "array[int]" = field(default_factory=lambda: array("q"))
    times_ms: "array[int]" = field(default_factory=lambda: array("q"))
    arrivals_ms: "array[int]" = field(default_factory=lambda: array("q"))
    session_numbers: dict[str, int] = field(default_factory=dict)
    item_numbers: dict[str, int] = field(default_factory=dict)
    kinds: "array[int]" = field(default_factory=lambda: array("i"))
    kind_numbers: dict[str, int] = field(default_factory=dict)
    n_rejected: int = 0

    def append(self, record: Any, arrival_ms: int) -> None:
        """Take one record of the topic; ``arrival_ms`` is what it is sorted by."""
        click = decode_click(record.key, record.value, record.timestamp)
        if not isinstance(click, Click):
            self.n_rejected += 1
            return
        numbers = self.session_numbers
        self.sessions.append(numbers.setdefault(click.session_id, len(numbers)))
        numbers = self.item_numbers
        self.items.append(numbers.setdefault(click.item_id, len(numbers)))
        numbers = self.kind_numbers
        self.kinds.append(numbers.setdefault(click.kind or DEFAULT_KIND, len(numbers)))
        self.times_ms.append(click_time_ms(click, record.timestamp))
        self.arrivals_ms.append(arrival_ms)

    def in_order_of_arrival(self) -> ClickColumns:
        """All partitions by arrival time; inside a partition, and so inside a session, by offset."""
        order = np.argsort(np.frombuffer(self.arrivals_ms, dtype=np.int64), kind="stable")
        session_ids = np.array(list(self.session_numbers), dtype=object)
        item_ids = np.array(list(self.item_numbers), dtype=object)
        kinds = np.array(list(self.kind_numbers), dtype=object)
        return ClickColumns(
            session_ids[np.frombuffer(self.sessions, dtype=np.int64)[order]],
            item_ids[np.frombuffer(self.items, dtype=np.int64)[order]],
            np.frombuffer(self.times_ms, dtype=np.int64)[order],
            kinds[np.frombuffer(self.kinds, dtype=np.int32)[order]],
        )


def read_window(
    connection: KafkaConnection,
    topic: str,
    from_ms: int,
    on_progress: Callable[[ReadProgress], None] | None = None,
) -> Window:
    """Read the clicks that arrived at ``from_ms`` or later, up to the end offsets of now.

    Records that a worker would reject are skipped and counted. Raises ``TopicError`` where the topic does
    not exist, ``ClickLogError`` where it stops giving records.
    """
    n_partitions = require_topics(connection, topic)[topic].n_partitions
    with open_consumer(
        connection,
        enable_auto_commit=False,
        max_poll_records=5_000,
        max_partition_fetch_bytes=4 << 20,
        fetch_max_bytes=32 << 20,
    ) as consumer:
        offsets = _window_offsets(consumer, topic, n_partitions, from_ms)
        columns = _Columns()
        for _ in _fill(consumer, topic, offsets, columns, on_progress):
            pass
    return Window(columns.in_order_of_arrival(), offsets, columns.n_rejected)


def _window_offsets(consumer: Any, topic: str, n_partitions: int, from_ms: int) -> dict[int, tuple[int, int]]:
    partitions = [TopicPartition(topic, number) for number in range(n_partitions)]
    ends = consumer.end_offsets(partitions)
    found = consumer.offsets_for_times(dict.fromkeys(partitions, from_ms))
    return {
        partition.partition: (
            ends[partition] if found[partition] is None else found[partition].offset,
            ends[partition],
        )
        for partition in partitions
    }


def _fill(
    consumer: Any,
    topic: str,
    offsets: Mapping[int, tuple[int, int]],
    columns: _Columns,
    on_progress: Callable[[ReadProgress], None] | None,
) -> Iterator[None]:
    """Read every partition from its first offset to its end, a step for each poll."""
    open_ends = {
        TopicPartition(topic, number): end for number, (first, end) in offsets.items() if first < end
    }
    consumer.assign(list(open_ends))
    for partition in open_ends:
        consumer.seek(partition, offsets[partition.partition][0])
    total = sum(end - first for first, end in offsets.values())
    latest_ms: dict[int, int] = {}
    deadline = time.monotonic() + STALLED_S
    while open_ends:
        polled = consumer.poll(timeout_ms=500)
        for partition, records in polled.items():
            end = open_ends.get(partition)
            if end is None:
                continue
            # Append times step back where a partition's leader changes; the order of offsets must not.
            arrival_ms = latest_ms.get(partition.partition, 0)
            for record in records:
                if record.offset < end:
                    arrival_ms = max(arrival_ms, record.timestamp)
                    columns.append(record, arrival_ms)
            latest_ms[partition.partition] = arrival_ms
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
        yield
