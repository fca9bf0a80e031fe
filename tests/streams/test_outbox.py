"""The outbox on a real Kafka: in order, every delivery awaited, large batches split."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from aiokafka.producer.message_accumulator import BatchBuilder

import streams.outbox as outbox_module
from streams.kafka import KafkaConnection, TopicPartition, open_consumer
from streams.outbox import DeliveryError, Outbox, Outgoing
from tests.conftest import FreshTopics


def deliver(connection: KafkaConnection, *batches: list[Outgoing]) -> list[dict[int, int]]:
    async def run() -> list[dict[int, int]]:
        outbox = Outbox(connection, "test")
        await outbox.start()
        try:
            return [await outbox.deliver(batch) for batch in batches]
        finally:
            await outbox.stop()

    return asyncio.run(run())


def read(topics: FreshTopics, topic: str, partition: int) -> list[Any]:
    with open_consumer(topics.connection) as consumer:
        tp = TopicPartition(topic, partition)
        consumer.assign([tp])
        consumer.seek_to_beginning(tp)
        end = consumer.end_offsets([tp])[tp]
        records: list[Any] = []
        while len(records) < end:
            records += consumer.poll(timeout_ms=500).get(tp, [])
        return records


def test_records_arrive_in_order_with_headers_and_tombstones(topics: FreshTopics) -> None:
    topic = topics.names.recommendations
    headers = (("reason", b"poison"), ("detail", "é".encode()))
    first = [Outgoing(topic, n % 2, b"k", str(n).encode()) for n in range(10)]
    second = [Outgoing(topic, 1, None, None, headers), Outgoing(topic, 1, b"", b"")]
    assert deliver(topics.connection, first, second, []) == [{0: 4, 1: 4}, {1: 6}, {}]
    assert [record.value for record in read(topics, topic, 0)] == [b"0", b"2", b"4", b"6", b"8"]
    *_, tombstone, empty = read(topics, topic, 1)
    assert (tombstone.key, tombstone.value, tuple(tombstone.headers)) == (None, None, headers)
    assert (empty.key, empty.value) == (b"", b"")


def test_more_than_a_batch_holds_is_split_and_stays_in_order(topics: FreshTopics) -> None:
    topic = topics.names.recommendations
    many = [Outgoing(topic, 0, str(n).encode(), bytes(60_000)) for n in range(40)]
    assert deliver(topics.connection, many) == [{0: 39}]
    assert [record.key for record in read(topics, topic, 0)] == [str(n).encode() for n in range(40)]


def test_the_largest_rejection_fits(topics: FreshTopics) -> None:
    largest = Outgoing(topics.names.rejected_clicks, 0, bytes(65_536), bytes(65_536))
    assert deliver(topics.connection, [largest] * 20) == [{0: 19}]


def test_a_delivery_that_the_broker_refuses_raises(topics: FreshTopics) -> None:
    small, large = (Outgoing(topics.names.clicks, 0, None, bytes(size)) for size in (10, 2_000_000))
    with pytest.raises(DeliveryError, match="MessageSizeTooLarge"):
        deliver(topics.connection, [small, large, small])


def test_it_asks_before_every_produce_request(topics: FreshTopics) -> None:
    asked: list[int] = []

    async def ask() -> None:
        asked.append(1)

    async def run() -> list[int]:
        outbox = Outbox(topics.connection, "test", ask)
        await outbox.start()
        record, counts = Outgoing(topics.names.recommendations, 0, b"k", b"1"), []
        for _ in range(3):
            counts.append(len(asked))
            await outbox.deliver([record])
        await outbox.stop()
        return [*counts, len(asked)]

    counts = asyncio.run(run())
    assert all(later > before for before, later in pairwise(counts))


class Deaf:
    """Stands for a producer whose brokers never answer: an idempotent one goes on trying for ever."""

    def __init__(self, refusal: KafkaError | None) -> None:
        self._refusal = refusal

    def create_batch(self) -> Any:
        return BatchBuilder(1000, 0)

    async def send_batch(self, *_: Any, **__: Any) -> asyncio.Future[Any]:
        if self._refusal is not None:
            raise self._refusal
        return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("refusal", [None, TopicAuthorizationFailedError("recommendations")])
def test_nobody_takes_what_is_to_be_written(
    monkeypatch: pytest.MonkeyPatch, refusal: KafkaError | None
) -> None:
    monkeypatch.setattr(outbox_module, "PATIENCE_S", 0.05)
    outbox = Outbox(KafkaConnection("nowhere:1"), "test")
    monkeypatch.setattr(outbox, "_producer", Deaf(refusal))
    with pytest.raises(DeliveryError, match="none of these clicks is acknowledged"):
        asyncio.run(outbox.deliver([Outgoing("recommendations", n, b"k", b"v") for n in range(3)]))


def test_an_outbox_that_was_not_started() -> None:
    outbox = Outbox(KafkaConnection("nowhere:1"), "test")
    with pytest.raises(RuntimeError, match="not started"):
        asyncio.run(outbox.deliver([]))
    asyncio.run(outbox.stop())
