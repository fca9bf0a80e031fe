"""The outbox: everything a worker writes to Kafka, delivered in batches and awaited.

Faust's ``topic.send`` costs a future and several calls for each message, and lets offsets be committed
ahead of what was sent. Here the records of one micro-batch become one produce batch per partition, and
``deliver`` returns only when the brokers have acknowledged every one of them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.protocol.produce import ProduceRequest

from streams.errors import NextclickError
from streams.kafka import KafkaConnection

REQUEST_TIMEOUT_S: Final = 30
PATIENCE_S: Final = 45.0
"""More than a request takes that a paused broker never answers, so that there is a second one; less than the
watchdog's, which knows nothing of the cause."""
MAX_BATCH_BYTES: Final = 900_000  # the brokers' default limit is 1,048,588 with headers
STOP_PATIENCE_S: Final = 5.0
Headers = tuple[tuple[str, bytes], ...]
_Delivery = tuple[int, int, asyncio.Future[Any]]  # partition, records, what the brokers answer


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

    ``before_produce`` is awaited right before each produce request is written to a socket, also when one is
    sent again: what was built before a pause of the process must not leave it afterwards.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        client_id: str,
        before_produce: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._before_produce = before_produce
        self._arguments: dict[str, Any] = connection.for_aiokafka() | {
            "client_id": client_id,
            "acks": "all",
            # A request that a paused broker answers late must not write behind later records.
            "enable_idempotence": True,
            "linger_ms": 0,  # a linger is paid once per batch and stalls the whole worker
            "max_batch_size": MAX_BATCH_BYTES,
            "request_timeout_ms": REQUEST_TIMEOUT_S * 1000,
        }
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect, on the running loop."""
        self._producer = AIOKafkaProducer(**self._arguments)
        if self._before_produce is not None:
            _ask_before_produce(self._producer.client, self._before_produce)
        await self._producer.start()

    async def stop(self) -> None:
        """Deliver what is under way and disconnect; what nobody takes is given up."""
        if self._producer is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._producer.stop(), STOP_PATIENCE_S)

    async def deliver(self, records: Iterable[Outgoing]) -> dict[int, int]:
        """Write the records and wait until all are acknowledged.

        Gives, by partition, the offset of the last record written to it; meaningful where all records are
        for one topic. The records of one partition keep their order. Raises :class:`DeliveryError` where
        a record is refused or not taken within ``PATIENCE_S``.
        """
        if self._producer is None:
            raise RuntimeError("the outbox is not started")
        try:
            deliveries = await self._hand_over(records)
            # An idempotent producer goes on trying for ever.
            futures = [future for *_, future in deliveries]
            pending = (await asyncio.wait(futures, timeout=PATIENCE_S))[1] if futures else ()
            if pending:
                raise KafkaTimeoutError(f"no answer for {len(pending)} of {len(futures)} partitions")
            return {partition: future.result().offset + count - 1 for partition, count, future in deliveries}
        except KafkaError as error:
            raise DeliveryError(
                f"the brokers refused what was to be written, or did not take it within {PATIENCE_S:.0f} s:"
                f" {error}; none of these clicks is acknowledged, they come again to the worker that is"
                " started next"
            ) from error

    async def _hand_over(self, records: Iterable[Outgoing]) -> list[_Delivery]:
        """Give the producer the records, one batch a partition, or more where they are too large for it."""
        assert self._producer is not None
        builders: dict[tuple[str, int], Any] = {}
        deliveries: list[_Delivery] = []
        for record in records:
            target = (record.topic, record.partition)
            builder = builders.get(target)
            if builder is None or not _append(builder, record):
                if builder is not None:
                    deliveries.append(await self._send(builder, target))
                builder = builders[target] = self._producer.create_batch()
                _append(builder, record)  # the first one always: if it is too large, the broker refuses it
        deliveries += [await self._send(builder, target) for target, builder in builders.items()]
        return deliveries

    async def _send(self, builder: Any, target: tuple[str, int]) -> _Delivery:
        assert self._producer is not None
        topic, partition = target
        builder.close()
        future = await self._producer.send_batch(builder, topic, partition=partition)
        return partition, builder.record_count(), future


def _ask_before_produce(client: Any, ask: Callable[[], Awaitable[None]]) -> None:
    send = client.send

    async def checked_send(node_id: int, request: Any, **options: Any) -> Any:
        if isinstance(request, ProduceRequest):
            await ask()
        return await send(node_id, request, **options)

    client.send = checked_send


def _append(builder: Any, record: Outgoing) -> bool:
    added = builder.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers))
    return added is not None
