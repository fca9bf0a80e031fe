"""Expiry: sessions idle for long leave RocksDB and the changelog, a bounded number at a time.

Time is the partition's own: its newest consumed append time, never the wall clock. A worker that was away
for a day therefore finds its sessions, and expires them only as clicks go on.
"""

from collections.abc import Callable
from typing import Final

from streams.outbox import Outbox, Outgoing
from streams.session import SessionFormatError, decode_session
from streams.table import SessionTable

SCAN_LIMIT: Final = 250  # sessions looked at in one turn: about a millisecond


class Expiry:
    """Goes round the sessions of each partition, key by key, and removes the idle ones."""

    def __init__(self, table: SessionTable, outbox: Outbox, idle_ms: int) -> None:
        self._table = table
        self._outbox = outbox
        self._idle_ms = idle_ms
        self._newest_append_ms: dict[int, int] = {}
        self._position: dict[int, bytes] = {}

    def forget(self) -> None:
        """Begin anew: the partitions were assigned again."""
        self._newest_append_ms.clear()
        self._position.clear()

    def note(self, partition: int, append_ms: int) -> None:
        """Take note of how far a partition's time has come."""
        self._newest_append_ms[partition] = append_ms

    async def run(self, check_ownership: Callable[[], None]) -> int:
        """Look at the next sessions of one partition, partitions in turn; give how many were removed.

        The tombstones are delivered before the local records go, so that a crash in between leaves a
        record that the next round removes, never one that comes back from the changelog.
        """
        if not self._newest_append_ms:
            return 0
        partition = next(iter(self._newest_append_ms))
        limit_ms = self._newest_append_ms[partition] - self._idle_ms
        scanned = list(self._table.scan(partition, self._position.get(partition, b""), SCAN_LIMIT))
        idle = [key for key, record in scanned if _is_idle(record, limit_ms)]
        if idle:
            check_ownership()
            topic = self._table.changelog_topic
            last = await self._outbox.deliver(Outgoing(topic, partition, key, None) for key in idle)
            check_ownership()
            self._table.write(partition, dict.fromkeys(idle), last[partition])
        self._position[partition] = scanned[-1][0] if len(scanned) == SCAN_LIMIT else b""
        self._newest_append_ms[partition] = self._newest_append_ms.pop(partition)  # to the end of the row
        return len(idle)


def _is_idle(record: bytes, limit_ms: int) -> bool:
    try:
        return decode_session(record).append_ms < limit_ms
    except SessionFormatError:
        return True  # nobody can use it
