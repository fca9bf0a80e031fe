"""Clicks out of the archive: each offset once, however files overlap, in memory for the clicks alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np

from streams.archive import DAY_MS, ArchiveChanged, ArchivedFile, Gap, Piece, by_partition, gaps
from streams.archive_store import ArchiveStore
from streams.clickfile import ClickColumns
from streams.growing_columns import GrowingColumns

_Read = TypeVar("_Read")

TRIES: Final = 5
_COLUMNS: Final = ("offset", "arrival_ms", "session_id", "item_id", "time_ms", "kind")

OnOffsets = Callable[[int], None]
"""Called with the number of offsets that have been read since the last call."""


@dataclass(frozen=True, slots=True)
class Archived:
    """What was read of one partition: from the offset of the first click to where the archive ends."""

    first: int
    end: int


class ArchiveReader:
    """The archive as it stood when this was made: its files are listed once."""

    def __init__(self, store: ArchiveStore) -> None:
        self._store = store
        self._pieces = by_partition(store.files())

    def newest(self, topic_id: str) -> dict[int, ArchivedFile]:
        """The last file of each partition of a topic."""
        return {
            number: max((piece.file for piece in chosen), key=lambda file: file.end)
            for (owner, number), chosen in self._pieces.items()
            if owner == topic_id
        }

    def last_before_gaps(self, topic_id: str, starts: Mapping[int, int]) -> dict[int, ArchivedFile]:
        """The file of each partition to go on after: the last, or one before a gap that can be filled yet.

        ``starts`` are the first offsets that the topic still has.
        """
        found = self.newest(topic_id)
        for (owner, number), chosen in self._pieces.items():
            if owner == topic_id:
                for before, after in pairwise(chosen):
                    if after.first > max(before.file.end, starts[number]):
                        found[number] = before.file
                        break
        return found

    def topic_ids(self) -> set[str]:
        """The topics of this name that were archived: more than one where it was made anew."""
        return {owner for owner, _ in self._pieces}

    def gaps(self, topic_id: str, from_ms: int = 0) -> list[Gap]:
        """What is missing between the files of a topic, from the day of ``from_ms`` on."""
        return [
            gap
            for (owner, _), chosen in self._pieces.items()
            if owner == topic_id
            for gap in gaps(_since(chosen, from_ms))
        ]

    def n_offsets(self, from_ms: int = 0) -> int:
        """How many offsets ``read`` looks at."""
        return sum(
            piece.file.end - piece.first
            for chosen in self._pieces.values()
            for piece in _since(chosen, from_ms)
        )

    def read(
        self,
        columns: GrowingColumns,
        from_ms: int = 0,
        on_offsets: OnOffsets | None = None,
        ends: Mapping[tuple[str, int], int] | None = None,
    ) -> Mapping[tuple[str, int], Archived]:
        """Put the clicks that arrived at ``from_ms`` or later into the columns, partition after partition.

        ``ends`` are offsets that some partitions are not to be read past. Gives what was read by topic id
        and partition. Raises ``ArchiveChanged`` where a compaction removed a file meanwhile; the columns are
        of no use then.
        """
        found = {}
        for key, chosen in self._pieces.items():
            first: int | None = None
            latest_ms = 0
            end = min(chosen[-1].file.end, (ends or {}).get(key, chosen[-1].file.end))
            for piece in _since(chosen, from_ms):
                if piece.first >= end:
                    break
                begun, latest_ms = self._read_piece(piece, columns, from_ms, latest_ms, end)
                first = begun if first is None else first
                if on_offsets is not None:
                    on_offsets(piece.file.end - piece.first)
            if first is not None:
                found[key] = Archived(first, end)
        return found

    def _read_piece(
        self, piece: Piece, columns: GrowingColumns, from_ms: int, latest_ms: int, end: int
    ) -> tuple[int | None, int]:
        """Give the offset of the first click taken, and the latest arrival so far in the partition."""
        first = None
        for rows in self._store.row_groups(piece.file, _COLUMNS, from_ms):
            offsets, arrivals = rows["offset"].to_numpy(), rows["arrival_ms"].to_numpy()
            wanted = (offsets >= piece.first) & (offsets < end) & (arrivals >= from_ms)
            if not wanted.all():
                if not wanted.any():
                    continue
                rows = rows.filter(wanted).combine_chunks()
                offsets, arrivals = offsets[wanted], arrivals[wanted]
            first = int(offsets[0]) if first is None else first
            # Append times step back where a partition's leader changes; the order of offsets must not.
            arrivals = np.maximum.accumulate(np.maximum(arrivals, latest_ms))
            latest_ms = int(arrivals[-1])
            columns.extend(
                rows["session_id"].chunk(0),
                rows["item_id"].chunk(0),
                rows["kind"].chunk(0),
                rows["time_ms"].to_numpy(),
                arrivals,
            )
        return first, latest_ms


def read_archive(location: str, topic: str, from_ms: int = 0) -> ClickColumns:
    """Read the clicks of a topic that arrived at ``from_ms`` or later, in order of arrival, without Kafka.

    Those of topics that had the name before are among them. Raises ``ArchiveError``.
    """
    store = ArchiveStore(location, topic)
    return retrying(lambda: _read(ArchiveReader(store), from_ms))


def retrying(read: Callable[[], _Read]) -> _Read:
    """Read again where a compaction came in between."""
    for _ in range(TRIES - 1):
        try:
            return read()
        except ArchiveChanged:
            continue
    return read()


def _read(reader: ArchiveReader, from_ms: int) -> ClickColumns:
    columns = GrowingColumns()
    reader.read(columns, from_ms)
    return columns.in_order_of_arrival()


def _since(chosen: list[Piece], from_ms: int) -> list[Piece]:
    """The pieces that may hold arrivals from then on: none stands in a folder of an earlier day."""
    return [piece for piece in chosen if piece.file.day >= from_ms // DAY_MS]
