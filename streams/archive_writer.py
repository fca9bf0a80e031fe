"""Records of the ``clicks`` topic into files of the archive. Knows nothing of Kafka.

A file goes on where the one before ends, so what stands in the archive at any moment is all that was taken
up to some offset of each partition; the next archiver goes on there.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import pyarrow as pa

from streams.archive import DAY_MS, SCHEMA, ArchivedFile, ArchiveError
from streams.archive_store import ArchiveStore
from streams.events import DEFAULT_KIND, Click, click_time_ms, decode_click

MAX_WAITING: Final = 300_000
"""Clicks of all partitions that wait in memory for being written, some 100 MB."""
MAX_WAITING_BYTES: Final = 48 << 20
"""The same in bytes of their records, which take some times as many in memory: a context may be large."""


@dataclass(slots=True)
class _Waiting:
    """What was read of one partition since its last file."""

    first: int
    end: int
    day: int
    offsets: list[int] = field(default_factory=list)
    arrivals_ms: list[int] = field(default_factory=list)
    clicks: list[Click] = field(default_factory=list)
    n_bytes: int = 0


class ArchiveWriter:
    """Collects records by partition and writes them when they are many, or of another day, or asked for."""

    def __init__(
        self,
        store: ArchiveStore,
        topic_id: str,
        newest: Mapping[int, ArchivedFile],
        before_write: Callable[[], None] = lambda: None,
        max_waiting: int = MAX_WAITING,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        """``newest`` is the file that a partition goes on after; ``before_write`` may refuse by raising."""
        self.n_clicks = 0
        self.n_rejected = 0
        self.n_files = 0
        self._store = store
        self._topic_id = topic_id
        self._before_write = before_write
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._n_waiting = 0
        self._bytes_waiting = 0
        self._partitions = {number: _Waiting(file.end, file.end, file.day) for number, file in newest.items()}

    def begin_at(self, partition: int, offset: int) -> None:
        """Go on there, where a partition begins or what lies before is gone."""
        waiting = self._partitions.get(partition)
        if waiting is None:
            self._partitions[partition] = _Waiting(offset, offset, day=0)
            return
        if waiting.end > waiting.first:
            self._before_write()
            self._write(partition)
        self._partitions[partition] = _Waiting(offset, offset, waiting.day)

    def end(self, partition: int) -> int:
        """The offset past the last record taken."""
        return self._partitions[partition].end

    def take(self, partition: int, records: Iterable[Any]) -> None:
        """Take the next records of a partition; those that a worker would reject are counted.

        A day's file holds what arrived on that day: append times step back where a partition's leader
        changes, so a record goes to the day of the latest one before it.
        """
        waiting = self._partitions[partition]
        for record in records:
            if record.offset < waiting.end:
                raise ArchiveError(
                    f"partition {partition} gave offset {record.offset} after {waiting.end - 1}:"
                    " the topic was made anew while it was read; start again"
                )
            day = max(waiting.day, record.timestamp // DAY_MS)
            if day != waiting.day and waiting.end > waiting.first:
                self._before_write()
                self._write(partition)
                waiting = self._partitions[partition]
            waiting.day = day
            click = decode_click(record.key, record.value, record.timestamp)
            if isinstance(click, Click):
                waiting.offsets.append(record.offset)
                waiting.arrivals_ms.append(record.timestamp)
                waiting.clicks.append(click)
                n_bytes = len(record.value)
                waiting.n_bytes += n_bytes
                self._n_waiting += 1
                self._bytes_waiting += n_bytes
            else:
                self.n_rejected += 1
            waiting.end = record.offset + 1
        if self._n_waiting >= self._max_waiting or self._bytes_waiting >= self._max_waiting_bytes:
            self._before_write()
            self._write(max(self._partitions, key=lambda number: self._partitions[number].n_bytes))

    def write_all(self) -> None:
        """Write all that waits."""
        begun = [number for number, waiting in self._partitions.items() if waiting.end > waiting.first]
        if begun:
            self._before_write()
        for number in begun:
            self._write(number)

    def _write(self, partition: int) -> None:
        waiting = self._partitions[partition]
        if waiting.end == waiting.first:
            return
        file = ArchivedFile(self._topic_id, partition, waiting.first, waiting.end, waiting.day)
        self._store.write(file, _rows(file, waiting))
        self.n_files += 1
        self.n_clicks += len(waiting.clicks)
        self._n_waiting -= len(waiting.clicks)
        self._bytes_waiting -= waiting.n_bytes
        self._partitions[partition] = _Waiting(waiting.end, waiting.end, waiting.day)


def _rows(file: ArchivedFile, waiting: _Waiting) -> Any:
    clicks = waiting.clicks
    times = zip(clicks, waiting.arrivals_ms, strict=True)
    return pa.table(
        [
            _coded([file.topic_id] * len(clicks)),
            pa.array([file.partition] * len(clicks), pa.int32()),
            pa.array(waiting.offsets, pa.int64()),
            pa.array(waiting.arrivals_ms, pa.int64()),
            _coded([click.session_id for click in clicks]),
            _coded([click.item_id for click in clicks]),
            pa.array([click_time_ms(click, arrival_ms) for click, arrival_ms in times], pa.int64()),
            _coded([click.kind or DEFAULT_KIND for click in clicks]),
            _coded([click.user_id for click in clicks]),
            pa.array([click.event_id for click in clicks], pa.string()),
            pa.array([_json(click.context) for click in clicks], pa.string()),
        ],
        schema=SCHEMA,
    )


def _coded(names: list[str | None] | list[str]) -> Any:
    return pa.array(names, pa.string()).dictionary_encode()


def _json(context: dict[str, Any] | None) -> str | None:
    return None if context is None else msgspec.json.encode(context).decode()
