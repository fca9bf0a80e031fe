"""The outbox: everything a worker writes to Kafka, delivered in batches and awaited.

Faust's ``topic.send`` costs a future and several calls for each message, and lets offsets be committed
ahead of what was sent. Here the records of one micro-batch become one produce batch per partition, and
``deliver`` returns only when the brokers have acknowledged every one of them.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.errors import NextclickError
from streams.kafka import KafkaConnection

PATIENCE_S: Final = 30
MAX_BATCH_BYTES: Final = 900_000  # the brokers' default limit is 1,048,588 with headers
Headers = tuple[tuple[str, bytes], ...]


class DeliveryError(NextclickError):
    """Kafka did not take what was to be written; nothing of the batch is acknowledged."""


class Outgoing(NamedTuple):
    """One record to write; a value of None is a tombstone."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Outbox:
    """The worker's only producer: idempotent, every replica in sync acknowledges.

    ``before_request`` is called right before each request is written to a socket, also when one is sent
    again: what was built before a pause of the process must not leave it afterwards.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        client_id: str,
        before_request: Callable[[], None] = lambda: None,
    ) -> None:
        self._before_request = before_request
        self._arguments: dict[str, Any] = connection.for_aiokafka() | {
            "client_id": client_id,
            "acks": "all",
            # A request that a paused broker answers late must not write behind later records.
            "enable_idempotence": True,
            "linger_ms": 0,  # a linger is paid once per batch and stalls the whole worker
            "max_batch_size": MAX_BATCH_BYTES,
            "request_timeout_ms": PATIENCE_S * 1000,
        }
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect, on the running loop."""
        self._producer = AIOKafkaProducer(**self._arguments)
        client = self._producer.client
        send = client.send

        async def checked_send(node_id: int, request: Any, **options: Any) -> Any:
            self._before_request()
            return await send(node_id, request, **options)

        client.send = checked_send
        await self._producer.start()

    async def stop(self) -> None:
        """Deliver what is under way and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def deliver(self, records: Iterable[Outgoing]) -> dict[int, int]:
        """Write the records and wait until all are acknowledged.

        Gives, by partition, the offset of the last record written to it; meaningful where all records are
        for one topic. The records of one partition keep their order. Raises :class:`DeliveryError` where
        a record is refused or not taken within ``PATIENCE_S``.
        """
        if self._producer is None:
            raise RuntimeError("the outbox is not started")
        builders: dict[tuple[str, int], Any] = {}
        deliveries: list[Any] = []
        for record in records:
            target = (record.topic, record.partition)
            builder = builders.get(target)
            if builder is None or not _append(builder, record):
                if builder is not None:
                    deliveries.append(await self._send(builder, target))
                builder = builders[target] = self._producer.create_batch()
                _append(builder, record)  # the first one always: if it is too large, the broker refuses it
        deliveries += [await self._send(builder, target) for target, builder in builders.items()]
        last: dict[int, int] = {}
        for partition, count, future in deliveries:
            try:
                metadata = await future
            except KafkaError as error:
                raise DeliveryError(
                    f"the brokers refused what was to be written, or did not take it within {PATIENCE_S} s:"
                    f" {error}; none of these clicks is acknowledged, they come again to the worker that is"
                    " started next"
                ) from error
            last[partition] = metadata.offset + count - 1
        return last

    async def _send(self, builder: Any, target: tuple[str, int]) -> tuple[int, int, asyncio.Future[Any]]:
        assert self._producer is not None
        topic, partition = target
        builder.close()
        future = await self._producer.send_batch(builder, topic, partition=partition)
        return partition, builder.record_count(), future


def _append(builder: Any, record: Outgoing) -> bool:
    added = builder.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers))
    return added is not None
