"""The archive of clicks: Parquet files whose names say which offsets they hold.

    LOCATION/TOPIC/TOPIC ID/day=2026-11-22/00003-0000000000001000-0000000000002500.parquet

is what arrived in partition 3 on that day (UTC) from offset 1000 up to, not including, 2500. There is no
other book of what is archived, so none can disagree with the files. A file stands complete under its name
or not at all, and is never changed. Files may overlap: two archivers ran at once, or one was killed after it
had merged small files and before it removed them. Then each offset is taken from one of them: ``pieces``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, Self

import pyarrow as pa

from streams.errors import NextclickError

FORMAT: Final = "1"
FORMAT_KEY: Final = b"nextclick.archive"
DAY_MS: Final = 86_400_000

_CODED: Final = pa.dictionary(pa.int32(), pa.string())
SCHEMA: Final = pa.schema(
    [
        ("topic_id", _CODED),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("arrival_ms", pa.int64()),  # when Kafka appended it
        ("session_id", _CODED),
        ("item_id", _CODED),
        ("time_ms", pa.int64()),  # the click's own time, never later than its arrival
        ("kind", _CODED),
        ("user_id", _CODED),
        ("event_id", pa.string()),
        ("context", pa.string()),  # JSON
    ],
    metadata={FORMAT_KEY: FORMAT},
)
CODED_COLUMNS: Final = [field.name for field in SCHEMA if field.type == _CODED]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAME: Final = re.compile(r"([^/]+)/day=(\d{4}-\d\d-\d\d)/(\d{5,})-(\d{16,})-(\d{16,})\.parquet")


class ArchiveError(NextclickError):
    """The archive cannot be read or written; the text says why."""


class ArchiveChanged(ArchiveError):
    """A file was merged into another one while it was to be read: list the files again."""


@dataclass(frozen=True, slots=True, order=True)
class ArchivedFile:
    """One file by what its name says; ``day`` counts from 1970, ``end`` is past the last offset."""

    topic_id: str
    partition: int
    first: int
    end: int
    day: int

    @classmethod
    def parse(cls, path: str) -> Self | None:
        """Read a path below the topic's folder; None where it is no file of the archive."""
        match = _NAME.fullmatch(path)
        if match is None:
            return None
        topic_id, day, partition, first, end = match.groups()
        try:
            since = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) - _EPOCH
        except ValueError:
            return None
        return cls(topic_id, int(partition), int(first), int(end), since.days)

    @property
    def path(self) -> str:
        """Where it stands below the topic's folder."""
        name = f"{self.partition:05d}-{self.first:016d}-{self.end:016d}.parquet"
        return f"{self.topic_id}/day={show_day(self.day)}/{name}"

    def lies_in(self, other: Self) -> bool:
        """Whether another file holds all its offsets and more."""
        return (
            (self.topic_id, self.partition) == (other.topic_id, other.partition)
            and other.first <= self.first
            and self.end <= other.end
            and other.end - other.first > self.end - self.first
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """What is to be taken of a file: its offsets from ``first`` on."""

    file: ArchivedFile
    first: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets that Kafka deleted before they were archived."""

    partition: int
    first: int
    end: int

    def __str__(self) -> str:
        return f"partition {self.partition}: {self.first} to {self.end - 1}"


def show_day(day: int) -> str:
    """The date, in UTC, of a number of days since 1970."""
    return f"{_EPOCH + timedelta(days=day):%Y-%m-%d}"


def pieces(files: Iterable[ArchivedFile]) -> list[Piece]:
    """Each offset once, in order, of the files of one partition."""
    chosen = []
    covered = -1
    for file in sorted(files, key=lambda file: (file.first, -file.end)):
        if file.end > covered:
            chosen.append(Piece(file, max(file.first, covered)))
            covered = file.end
    return chosen


def by_partition(files: Iterable[ArchivedFile]) -> dict[tuple[str, int], list[Piece]]:
    """The pieces of every partition, by topic id and number."""
    found: dict[tuple[str, int], list[ArchivedFile]] = {}
    for file in sorted(files):
        found.setdefault((file.topic_id, file.partition), []).append(file)
    return {key: pieces(of_one) for key, of_one in found.items()}


def gaps(chosen: list[Piece]) -> list[Gap]:
    """What is missing between the pieces of a partition."""
    return [
        Gap(after.file.partition, before.file.end, after.first)
        for before, after in pairwise(chosen)
        if after.first > before.file.end
    ]
