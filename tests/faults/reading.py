"""What the auditor reads, with plain aiokafka: topics as they grow, and the commits of a group."""

import asyncio
import struct
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.integration.harness import Record, as_record, partitions_of

T = TypeVar("T")
COMMITS_TOPIC = "__consumer_offsets"


class Follower(Generic[T]):
    """A topic as it grows; ``records`` holds what ``keep`` made of every record, in order by partition.

    What ``keep`` gives as None is not kept.
    """

    def __init__(self, servers: str, topic: str, keep: Callable[[Record], T | None]) -> None:
        self.records: list[T] = []
        self._servers = servers
        self._topic = topic
        self._keep = keep
        self._next: dict[int, int] = {}

    def read_on(self) -> list[T]:
        """Read to where the topic ends now, and give all that was kept so far."""
        asyncio.run(self._read())
        return self.records

    async def _read(self) -> None:
        async with AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=12_000_000,
        ) as consumer:
            numbers = await partitions_of(consumer, self._topic)
            partitions = [TopicPartition(self._topic, number) for number in numbers]
            consumer.assign(partitions)
            for partition in partitions:
                if (offset := self._next.get(partition.partition)) is not None:
                    consumer.seek(partition, offset)
            ends = await consumer.end_offsets(partitions)
            while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    kept = (self._keep(as_record(one)) for one in batch)
                    self.records += [one for one in kept if one is not None]
            for partition in partitions:
                self._next[partition.partition] = await consumer.position(partition)


class Commit(NamedTuple):
    """An offset as it was committed: everything below it was said to be done at that time."""

    partition: int
    offset: int
    at_ms: int


def commits_of(group: str, topic: str) -> Callable[[Record], Commit | None]:
    """Give what to keep of the topic in which Kafka keeps all commits: this group's on this topic."""

    def keep(record: Record) -> Commit | None:
        if record.key is None or record.value is None:
            return None
        (kind,) = struct.unpack_from(">h", record.key)
        if kind > 1:
            return None  # a member's metadata
        name, at = _text(record.key, 2)
        of, at = _text(record.key, at)
        if (name, of) != (group, topic):
            return None
        (partition,) = struct.unpack_from(">i", record.key, at)
        # A value begins with its version and the offset; its time is the one of the record.
        _, offset = struct.unpack_from(">hq", record.value)
        return Commit(partition, offset, record.timestamp_ms)

    return keep


def _text(content: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", content, at)
    return content[at + 2 : at + 2 + length].decode(), at + 2 + length
