"""The sessions table: Faust's RocksDB table as a batched store.

Faust gives assignment, the course of a recovery and one database per partition. Reading, writing and
recovering go past its one-record-at-a-time interface: many keys in one read, one write batch per partition
that also holds the changelog offset it corresponds to, under the key where Faust itself looks for it. This
is the only module that touches Faust's table internals; ``tests/streams/test_faust_internals.py`` fails
when they change.
"""

import errno
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import faust
from faust.exceptions import ConsistencyError
from faust.tables.manager import TableManager
from faust.tables.table import Table
from rocksdict import WriteBatch

from streams.errors import NextclickError
from streams.intake import FetchedBatch

TABLE_NAME: Final = "sessions"
SESSION_PREFIX: Final = b"s"
IDENTITY_KEY: Final = b"mtopic"  # which topic the partition's sessions belong to
FAUST_OFFSET_KEY: Final = b"__faust\0offset__"

# Faust's defaults are 2 GiB of block cache and 192 MiB of memtables for every partition, and 90 % of the
# file limit each. Session records are small and read at random, a partition's working set fits in this.
_ROCKSDB_OPTIONS: Final = {
    "block_cache_size": 32 * 1024 * 1024,
    "write_buffer_size": 8 * 1024 * 1024,
    "max_write_buffer_number": 3,
    "target_file_size_base": 16 * 1024 * 1024,
    "max_open_files": 128,
    "bloom_filter_size": 10,
}

_DISK_ERRORS: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}

_log = logging.getLogger(__name__)


class StoreError(NextclickError):
    """The local database cannot be used; the text says why and what to do."""


def explain(error: BaseException | None) -> StoreError | None:
    """Say in a line what ended the worker where it was its local database or its disk; else None."""
    if isinstance(error, ConsistencyError):
        return StoreError(
            "the changelog of the sessions ends before what the local database has seen of it: it was emptied"
            " or made anew. Stop all workers and run: nextclick sessions reset"
        )
    # RocksDB's errors come as plain exceptions; only their text tells.
    text = " ".join(str(error).split())
    if type(error) is Exception and text.startswith("Corruption"):
        return StoreError(
            f"the local database is damaged: {text}. Delete its folder; the sessions are read again from the"
            " changelog"
        )
    of_rocksdb = type(error) is Exception and text.startswith("IO error")
    if of_rocksdb or (isinstance(error, OSError) and error.errno in _DISK_ERRORS):
        return StoreError(
            f"the sessions cannot be stored: {text}. What was not stored is not committed and comes again;"
            " mend the disk, then start the worker again"
        )
    return None


class PromptTables(TableManager):  # type: ignore[misc]
    """Faust's tables, without the second that it waits at every start for tables to be declared meanwhile.

    Ours is declared before the app starts.
    """

    async def on_start(self) -> None:
        """Begin at once."""
        await self._update_channels()
        await self.recovery.start()


class _BatchTable(Table):  # type: ignore[misc]
    """Faust's table, recovered by whole fetched batches: Faust's own way takes 190 µs for each record."""

    async def on_changelog_event(self, event: Any) -> None:
        """Write what was fetched of the changelog, and with it how far that is, at once.

        Faust buffers, and what is left in the buffer is written at the next recovery, over newer states.
        A write that fails it logs and counts as recovered; here that ends the worker.
        """
        fetched: FetchedBatch = event.message
        recovery = self.app.tables.recovery
        if fetched.tp not in recovery.active_tps:
            return  # revoked meanwhile
        try:
            self.data._db_for_partition(fetched.partition).write(_recovered(fetched))
        except Exception as error:
            recovery.active_offsets[fetched.tp] = fetched.records[0].offset - 1
            await self.crash(error)

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Nothing: the events that Faust gathered are written already."""


def _recovered(fetched: FetchedBatch) -> WriteBatch:
    """Give the write that brings a partition to the end of ``fetched``, the last record of a key counting.

    What no worker has written there is left out. It must not keep the partition from being recovered.
    """
    batch, n_strange = WriteBatch(raw_mode=True), 0
    for record in fetched.records:
        key, value = record.key, record.value
        if key is None or not key.startswith((SESSION_PREFIX, IDENTITY_KEY)):
            n_strange += 1
        elif value is None:
            batch.delete(key)
        else:
            batch.put(key, value)
    if n_strange:
        _log.warning(
            "%s partition %d: skipped %d records up to offset %d that no worker has written there",
            fetched.topic,
            fetched.partition,
            n_strange,
            fetched.offset,
        )
    batch.put(FAUST_OFFSET_KEY, str(fetched.offset).encode())
    return batch


class SessionTable:
    """Raw keys and raw records by partition; what the bytes mean is the caller's business."""

    def __init__(self, app: faust.App, n_partitions: int) -> None:
        self._table = app.tables.add(
            _BatchTable(
                app,
                name=TABLE_NAME,
                beacon=app.tables.beacon,
                partitions=n_partitions,
                key_type=bytes,
                value_type=bytes,
                options=dict(_ROCKSDB_OPTIONS),
                recovery_buffer_size=2,  # fetched batches; with 1 Faust goes on reading after the recovery
            )
        )
        self.changelog_topic: str = self._table.changelog_topic_name

    def read(self, partition: int, keys: Sequence[bytes]) -> list[bytes | None]:
        """Read many keys of one partition in one go; None where there is no record."""
        if not keys:
            return []
        found: list[bytes | None] = self._db(partition).get(list(keys))
        return found

    def write(
        self, partition: int, records: Mapping[bytes, bytes | None], changelog_offset: int | None
    ) -> None:
        """Write records (None deletes) and the changelog offset they are at, all or nothing."""
        batch = WriteBatch(raw_mode=True)
        for key, record in records.items():
            if record is None:
                batch.delete(key)
            else:
                batch.put(key, record)
        if changelog_offset is not None:
            batch.put(FAUST_OFFSET_KEY, str(changelog_offset).encode())
        self._db(partition).write(batch)

    def scan(self, partition: int, after: bytes, limit: int) -> Iterator[tuple[bytes, bytes]]:
        """Give up to ``limit`` session records whose key comes after ``after``, in the order of keys."""
        start = max(after + b"\0", SESSION_PREFIX)
        for n, (key, record) in enumerate(self._db(partition).items(from_key=start)):
            if n == limit or not key.startswith(SESSION_PREFIX):
                return
            yield key, record

    def open_partitions(self) -> list[int]:
        """Give the partitions whose databases are open here."""
        return list(self._store._dbs)

    @property
    def _store(self) -> Any:
        return self._table.data

    def _db(self, partition: int) -> Any:
        return self._store._db_for_partition(partition)
