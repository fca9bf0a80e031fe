"""Small files of the archive merged into large ones, a day and a partition at a time.

The large file is written first and the small ones are removed then: whoever is killed in between leaves
offsets that stand twice, of which readers take one, and the next compaction removes the rest. Only a file
whose offsets all stand in a larger one is ever removed, so two compactions at once do no harm either.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from streams.archive import SCHEMA, ArchiveChanged, ArchivedFile, ArchiveError, Piece, by_partition
from streams.archive_store import ArchiveStore

MAX_OFFSETS: Final = 1_000_000
"""In one merged file: what is merged is held in memory, some 300 MB."""
MAX_BYTES: Final = 128 << 20
"""In one merged file before it is compressed: contexts may be large, and memory holds them twice or more."""
MANY: Final = 32
"""So many small files of a day that is still going on are merged without waiting for its end."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """Files merged into so many, and files removed: those, and what killed writers had left."""

    n_merged: int
    n_written: int
    n_removed: int


def compact(
    store: ArchiveStore,
    today: int,
    *,
    stop: threading.Event | None = None,
    many: int = MANY,
    max_offsets: int = MAX_OFFSETS,
    max_bytes: int = MAX_BYTES,
) -> Compacted:
    """Merge the files of days before ``today`` (counted from 1970), and of a later one where they are many.

    A file that another compaction has merged meanwhile is left to that one. Raises ``ArchiveError`` for the
    first file that cannot be read or written, after all else is merged.
    """
    stop = stop or threading.Event()
    n_merged = n_written = 0
    failed: ArchiveError | None = None
    for chosen in by_partition(store.files()).values():
        for group in _groups(chosen, max_offsets):
            if stop.is_set():
                break
            enough = 2 if group[0].file.day < today else many
            if len(group) < enough:
                continue
            try:
                for part in _parts(store, group, max_bytes):
                    if len(part) >= enough:
                        _merge(store, part)
                        n_merged += len(part)
                        n_written += 1
            except ArchiveChanged:
                continue
            except ArchiveError as error:
                failed = failed or error
    n_removed = _remove_merged(store) + store.remove_left_over()
    if failed is not None:
        raise failed
    return Compacted(n_merged, n_written, n_removed)


def _groups(chosen: list[Piece], max_offsets: int) -> Iterator[list[Piece]]:
    """Neighbours of one day without a gap between them, up to the size of a merged file."""
    group: list[Piece] = []
    for piece in chosen:
        if group and not (
            piece.file.day == group[0].file.day
            and piece.first == group[-1].file.end
            and piece.file.end - group[0].first <= max_offsets
        ):
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _parts(store: ArchiveStore, group: list[Piece], max_bytes: int) -> list[list[Piece]]:
    """Divide neighbours further, so that each merged file keeps to its size in bytes."""
    parts: list[list[Piece]] = []
    n_bytes = 0
    for piece in group:
        of_piece = store.unpacked_bytes(piece.file)
        if not parts or n_bytes + of_piece > max_bytes:
            parts.append([])
            n_bytes = 0
        parts[-1].append(piece)
        n_bytes += of_piece
    return parts


def _merge(store: ArchiveStore, group: list[Piece]) -> None:
    # The first file is taken whole, even where one before it reaches into it: so it lies in the merged one.
    first, last = group[0].file, group[-1].file
    tables: list[Any] = [SCHEMA.empty_table(), *store.row_groups(first, SCHEMA.names)]
    for piece in group[1:]:
        for table in store.row_groups(piece.file, SCHEMA.names):
            tables.append(table.filter(pc.greater_equal(table["offset"], piece.first)))
    merged = ArchivedFile(last.topic_id, last.partition, first.first, last.end, last.day)
    try:
        rows = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    except pa.ArrowException as error:
        text = str(error).partition("\n")[0]
        raise ArchiveError(f"the files from {first.path} to {last.path} cannot be merged: {text}") from error
    store.write(merged, rows)


def _remove_merged(store: ArchiveStore) -> int:
    """Remove each file that lies in a larger one."""
    n_removed = 0
    files = sorted(store.files(), key=lambda file: (file.topic_id, file.partition, file.first, -file.end))
    larger: ArchivedFile | None = None
    for file in files:
        if larger is not None and file.lies_in(larger):
            store.remove(file)
            n_removed += 1
            continue
        same = larger is not None and _owner(file) == _owner(larger)
        larger = file if larger is None or not same or file.end > larger.end else larger
    return n_removed


def _owner(file: ArchivedFile) -> tuple[str, int]:
    return file.topic_id, file.partition
