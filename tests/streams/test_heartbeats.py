"""When the coordinator was heard of last: which answers count, and from when."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest

from streams.heartbeats import Heartbeats
from tests.conftest import FreshTopics

HEARTBEAT = HeartbeatRequest("group", 1, "member")
SYNC = SyncGroupRequest("group", 1, "member", None, [])
FETCH = FetchRequest(100, 1, 100, 0, [])


@dataclass
class Answer:
    """A broker's answer, as far as it is looked at."""

    error_code: int


@dataclass
class SlowClient:
    """Stands for aiokafka's client: an answer takes two seconds."""

    error_code: int
    now_s: float = 10.0

    async def send(self, node_id: int, request: Any) -> Answer:
        self.now_s += 2.0
        return Answer(self.error_code)


@pytest.mark.parametrize(
    ("request_", "error_code", "silence_s"),
    [
        (HEARTBEAT, 0, 2.0),  # since it was asked, not since it answered
        (HEARTBEAT, 27, 2.0),
        (HEARTBEAT, 25, 0.0),  # unknown member: nothing was heard yet
        (SYNC, 0, 2.0),
        (FETCH, 0, 0.0),
    ],
)
def test_what_counts(request_: Any, error_code: int, silence_s: float) -> None:
    client = SlowClient(error_code)
    heartbeats = Heartbeats(lambda: client.now_s)
    heartbeats.listen(client)
    assert asyncio.run(client.send(1, request_)).error_code == error_code
    assert heartbeats.silence_s() == silence_s


def test_a_real_coordinator_is_heard_of(topics: FreshTopics) -> None:
    async def run() -> tuple[float, float]:
        consumer = AIOKafkaConsumer(
            topics.names.clicks,
            bootstrap_servers=topics.connection.bootstrap_servers,
            group_id="heartbeats",
            heartbeat_interval_ms=300,
        )
        heartbeats = Heartbeats()
        heartbeats.listen(consumer._client)
        await consumer.start()
        joined = heartbeats._counted_on_s
        await asyncio.sleep(1.5)
        await consumer.stop()
        assert joined is not None
        assert heartbeats._counted_on_s is not None
        return joined, heartbeats._counted_on_s

    joined, last = asyncio.run(run())
    assert last > joined + 0.5
