"""The items a model knows: outside id to inside row and back.

Only this module of the package knows item ids; everything else speaks rows. Rows are ordered by
popularity, so that "the k most popular items" is simply rows 0..k-1.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.arrays import Int64Array

ITEMS_AT_ONCE = 4_096
"""So many become Python objects in one go, or are freed, in under a millisecond. A worker loads in a thread
beside the one that answers, and a million in one go kept that one waiting for over a tenth of a second."""
PAUSE_S = 0.000_2


class VocabularyError(ValueError):
    """A stored vocabulary that cannot be used; the text says why."""


class Vocabulary:
    """Item ids and how often each was clicked; row 0 is the most popular item."""

    __slots__ = ("_counts", "_item_ids", "_rows")

    def __init__(self, item_ids: Sequence[str], counts: Int64Array) -> None:
        counts = np.asarray(counts, dtype=np.int64)
        if counts.shape != (len(item_ids),):
            raise VocabularyError(f"{len(item_ids)} items but counts of shape {counts.shape}")
        if np.any(counts[1:] > counts[:-1]):
            raise VocabularyError("items are not ordered by falling count")
        self._item_ids = list(item_ids)
        self._counts = counts
        self._counts.setflags(write=False)
        self._rows: dict[str, int] = {}
        for part in _parts(len(self._item_ids)):
            self._rows.update(zip(self._item_ids[part], range(part.start, part.stop), strict=True))
        if len(self._rows) != len(self._item_ids):
            raise VocabularyError("an item id stands twice in the vocabulary")

    def __del__(self) -> None:
        """Free a large one part by part, wherever its last user lets go of it."""
        rows: dict[str, int] = getattr(self, "_rows", {})  # neither is there where it could not be made
        item_ids: list[str] = getattr(self, "_item_ids", [])
        for part in _parts(len(item_ids)):
            for item_id in item_ids[part]:
                rows.pop(item_id, None)
        for _ in _parts(len(item_ids)):
            del item_ids[-ITEMS_AT_ONCE:]

    @classmethod
    def from_clicks(cls, item_ids: Iterable[str], min_count: int = 1) -> Self:
        """Count the clicked items; those clicked fewer than `min_count` times stay unknown.

        Items of one count are ordered by id, so that the rows depend on the clicks only, not on their order.
        """
        ids = item_ids if isinstance(item_ids, np.ndarray) else list(item_ids)
        table = pa.array(ids, type=pa.string()).value_counts()
        names: list[str] = table.field("values").to_pylist()
        counts: list[int] = table.field("counts").to_pylist()
        ranked = sorted((-n, name) for name, n in zip(names, counts, strict=True) if n >= min_count)
        return cls([name for _, name in ranked], np.array([-n for n, _ in ranked], dtype=np.int64))

    def __len__(self) -> int:
        return len(self._item_ids)

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._rows

    @property
    def item_ids(self) -> tuple[str, ...]:
        """Item ids in row order; a copy."""
        return tuple(self._item_ids)

    @property
    def counts(self) -> Int64Array:
        """Clicks per row, falling; read-only."""
        return self._counts

    def row(self, item_id: str) -> int | None:
        """Row of one item, None where it is unknown."""
        return self._rows.get(item_id)

    def rows(self, item_ids: Iterable[str]) -> Int64Array:
        """Rows of many items, -1 where one is unknown."""
        find = self._rows.get
        return np.array([find(item_id, -1) for item_id in item_ids], dtype=np.int64)

    def item_id(self, row: int) -> str:
        """Id of the item in a row."""
        return self._item_ids[row]

    def rows_in(self, other: Vocabulary) -> Int64Array:
        """For every item of this vocabulary its row in `other`, -1 where it has none."""
        return other.rows(self._item_ids)

    def save(self, path: Path) -> None:
        """Write the vocabulary as Parquet: item_id, row, count."""
        rows = np.arange(len(self), dtype=np.int64)
        columns = {
            "item_id": pa.array(self._item_ids, pa.string()),
            "row": pa.array(rows),
            "count": pa.array(self._counts),
        }
        pq.write_table(pa.table(columns), path, compression="zstd")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a vocabulary written by `save`.

        Raises:
            VocabularyError: the file is damaged or is not a vocabulary.
        """
        try:
            table = pq.read_table(path, columns=["item_id", "row", "count"], use_threads=False)
            rows = table["row"].to_numpy()
            column = table["item_id"].combine_chunks()
            item_ids: list[str] = []
            for part in _parts(len(column)):
                item_ids += column[part].to_pylist()
            counts = table["count"].to_numpy().astype(np.int64)
        except (pa.ArrowException, OSError, KeyError) as error:
            raise VocabularyError(f"{path.name} is not a readable vocabulary: {error}") from error
        if not np.array_equal(rows, np.arange(len(item_ids))) or column.null_count:
            raise VocabularyError(f"{path.name} does not number its items 0, 1, 2, …")
        del table, column
        pa.default_memory_pool().release_unused()  # it keeps what was read otherwise
        return cls(item_ids, counts)


def _parts(n_items: int) -> Iterator[slice]:
    """Slices of 0..n_items, between which other threads get the interpreter.

    A pause is a real one: who only offers the interpreter takes it again before a waiting thread wakes up.
    """
    for begin in range(0, n_items, ITEMS_AT_ONCE):
        if begin:
            time.sleep(PAUSE_S)
        yield slice(begin, min(begin + ITEMS_AT_ONCE, n_items))
