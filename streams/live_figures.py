"""What is announced, and how it does: the topics ``snapshots`` and ``quality``, read together.

Nothing is stored: whoever looks, a worker or a person, reads the windows since the comparison began and
comes to the same sums.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from streams.announcements import CANARY, PRODUCTION, REASON_HEADER, Announcement, Board
from streams.kafka import KafkaConnection, TopicPartition, open_consumer
from streams.quality import Figures, QualityRecord, decode_quality
from streams.topics import TopicNames

MINUTE_MS: Final = 60_000
BEFORE_MS: Final = 10 * MINUTE_MS
"""So long before a replacement what is replaced is measured: a drift until then lowers both figures."""
AFTER_MS: Final = 10 * MINUTE_MS
"""So long after it the replacement is watched: what falls later has drifted, the one before it has, too."""
LATE_MS: Final = MINUTE_MS
"""Windows of what was replaced may end so much after the announcement: workers swap when they have loaded."""
PATIENCE_S: Final = 20.0
HORIZON_MS: Final = 6 * 60 * MINUTE_MS
"""Older windows are not read: a canary of days is judged by the newest hours."""


@dataclass
class Comparison:
    """An announced snapshot beside others, by the windows from ``since_ms`` on.

    Where it replaced the other at ``replaced_ms``, the other's windows count before and its own after.
    ``against`` are versions, the newest last: a canary is compared with whatever production served meanwhile.
    """

    judged: Announcement
    against: tuple[str, ...]
    since_ms: int
    replaced_ms: int | None = None
    _by_minute: dict[int, dict[str, Figures]] = field(default_factory=dict, repr=False)
    _read_to: dict[int, int] = field(default_factory=dict, repr=False)

    @property
    def first(self) -> Figures:
        """What the judged snapshot came to."""
        return self._sum({self.judged.version})

    @property
    def second(self) -> Figures:
        """What the others came to."""
        return self._sum(set(self.against) - {self.judged.version})

    def go_on_as(self, wanted: "Comparison") -> None:
        """Compare with what is wanted now; the sums stay, but for minutes that lie before its beginning."""
        self.against, self.since_ms = wanted.against, wanted.since_ms
        for minute in [minute for minute in self._by_minute if (minute + 1) * MINUTE_MS <= self.since_ms]:
            del self._by_minute[minute]

    def read(self, record: QualityRecord, partition: int, offset: int) -> None:
        """Count a window that was read there, once however often it is read."""
        if offset >= self._read_to.get(partition, 0):
            self._read_to[partition] = offset + 1
            self.add(record)

    def add(self, record: QualityRecord) -> None:
        """Count a window of their time; whether its version serves is asked later, when that is known."""
        begins_ms, ends_ms = self.since_ms, None
        if self.replaced_ms is not None:
            begins_ms = self.replaced_ms if record.snapshot == self.judged.version else self.since_ms
            ends_ms = None if record.snapshot == self.judged.version else self.replaced_ms + LATE_MS
        if record.to_ms < begins_ms or (ends_ms is not None and record.to_ms > ends_ms):
            return
        minute = self._by_minute.setdefault(record.to_ms // MINUTE_MS, {})
        minute[record.snapshot] = minute.get(record.snapshot, Figures()) + record.figures

    def _sum(self, versions: set[str]) -> Figures:
        return sum(
            (
                figures
                for minute in self._by_minute.values()
                for version, figures in minute.items()
                if version in versions
            ),
            Figures(),
        )


def comparisons_of(
    announced: Mapping[str, Announcement], productions: Sequence[Announcement], now_ms: int
) -> dict[str, Comparison]:
    """Give what is to be compared, by the alias of what is judged.

    ``productions`` are the announcements of production that are known, the newest last. A canary that is
    production's version already is compared with nothing, nor is a production snapshot that somebody pinned,
    that replaced none, or that has served for ten minutes.
    """
    found: dict[str, Comparison] = {}
    production, canary = announced.get(PRODUCTION), announced.get(CANARY)
    if production is None:
        return found
    if canary is not None and (served := _served_beside(canary, productions)):
        since_ms = max(canary.announced_ms, served[0].announced_ms, now_ms - HORIZON_MS)
        versions = tuple(dict.fromkeys(one.version for one in served))
        found[CANARY] = Comparison(canary, versions, since_ms)
    replaced_ms = production.announced_ms
    if production.previous is not None and not production.pinned and now_ms < replaced_ms + AFTER_MS:
        since_ms = replaced_ms - BEFORE_MS
        found[PRODUCTION] = Comparison(production, (production.previous,), since_ms, replaced_ms)
    return found


def _served_beside(canary: Announcement, productions: Sequence[Announcement]) -> list[Announcement]:
    """What production served since the canary came, or since production was the canary's version itself."""
    found: list[Announcement] = []
    for before, after in zip(productions, [*productions[1:], None], strict=True):
        if before.version == canary.version:
            found = []
        elif after is None or after.announced_ms > canary.announced_ms:
            found.append(before)
    return found


class LiveFigures:
    """Follows both topics; a context manager. Topics that are absent are not made by it."""

    def __init__(
        self, connection: KafkaConnection, topics: TopicNames, quality_partitions: int, *, now_ms: int
    ) -> None:
        self.announced: dict[str, Announcement] = {}
        self.reasons: dict[str, str] = {}
        self.comparisons: dict[str, Comparison] = {}
        self._windows: list[QualityRecord] | None = None  # where they are asked for
        self._productions: list[Announcement] = []
        self._board = Board(topics.snapshots)
        self._snapshots = TopicPartition(topics.snapshots, 0)
        self._quality = [TopicPartition(topics.quality, number) for number in range(quality_partitions)]
        self._consumer: Any = open_consumer(
            connection,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            reconnect_backoff_max_ms=1_000,
        )
        self._consumer.assign([self._snapshots, *self._quality])
        self._consumer.seek_to_beginning(self._snapshots)
        self._return_to(now_ms)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def read(self, now_ms: int) -> dict[str, Comparison]:
        """Read all that there is now; gives the comparisons, by alias."""
        self._read_to_end([self._snapshots])
        self.announced = dict(self._board.current)
        self._forget_productions(now_ms - HORIZON_MS)
        before, began_ms = self.comparisons, list[int]()
        self.comparisons = comparisons_of(self.announced, self._productions, now_ms)
        for alias, wanted in self.comparisons.items():
            if alias in before and before[alias].judged == wanted.judged:
                before[alias].go_on_as(wanted)
                self.comparisons[alias] = before[alias]
            else:
                began_ms.append(wanted.since_ms)
        if began_ms:
            self._return_to(min(began_ms), no_further=len(began_ms) < len(self.comparisons))
        if self.comparisons:
            self._read_to_end(self._quality)
        return self.comparisons

    def served_since(self, time_ms: int) -> frozenset[str]:
        """Give the versions that workers told the quality of since then."""
        return frozenset(window.snapshot for window in self.windows_since(time_ms))

    def windows_since(self, time_ms: int) -> list[QualityRecord]:
        """Give what workers told since then, in no order over versions."""
        found = self._windows = []
        self._return_to(time_ms)
        self._read_to_end(self._quality)
        self._windows = None
        return found

    def _forget_productions(self, horizon_ms: int) -> None:
        """Forget those that were replaced too long ago to have a window that is read."""
        while len(self._productions) > 1 and self._productions[1].announced_ms <= horizon_ms:
            del self._productions[0]

    def _return_to(self, time_ms: int, *, no_further: bool = False) -> None:
        """Go to the windows from then on; ``no_further`` than what was not read yet."""
        ends = self._consumer.end_offsets(self._quality)
        found = self._consumer.offsets_for_times(dict.fromkeys(self._quality, max(0, time_ms)))
        for partition in self._quality:
            at = found.get(partition)
            offset = ends[partition] if at is None else at.offset
            if no_further:
                offset = min(offset, self._consumer.position(partition))
            self._consumer.seek(partition, offset)

    def _read_to_end(self, partitions: Iterable[TopicPartition]) -> None:
        """Read up to the end offsets of now."""
        ends = self._consumer.end_offsets(list(partitions))
        deadline_s = time.monotonic() + PATIENCE_S
        while any(self._consumer.position(partition) < end for partition, end in ends.items()):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"topics {self._snapshots.topic} and quality: no record came")
            for records in self._consumer.poll(timeout_ms=500).values():
                deadline_s = time.monotonic() + PATIENCE_S
                for record in records:
                    self._take(record)

    def _take(self, record: Any) -> None:
        if record.topic == self._snapshots.topic:
            self._board.post(record.key, record.value, record.offset)
            reasons = [text for name, text in record.headers or () if name == REASON_HEADER]
            alias = (record.key or b"").decode(errors="replace")
            self.reasons[alias] = reasons[0].decode(errors="replace") if reasons else ""
            production = self._board.current.get(PRODUCTION)
            if production is not None and self._productions[-1:] != [production]:
                self._productions.append(production)
        elif (window := decode_quality(record.value)) is not None:
            if self._windows is not None:
                self._windows.append(window)
            for comparison in self.comparisons.values():
                comparison.read(window, record.partition, record.offset)
