"""The worker as a process against Apache Kafka: every click answered, also through kills, swaps, garbage."""

import asyncio
import json
import random
import signal
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from deploy.broker import LocalKafka
from streams.kafka import ConfigResource, open_admin
from streams.topics import create_topics
from tests.integration.harness import (
    click_value,
    produce,
    wait_until_answered,
)
from tests.integration.site import N_ITEMS, Site

pytestmark = pytest.mark.kafka

Records = list[tuple[bytes | None, bytes | None]]


def make_clicks(n: int, n_sessions: int, seed: int = 0) -> Records:
    """Clicks of many sessions, interleaved; one item in twenty is unknown to every snapshot."""
    chance = random.Random(seed)
    records: Records = []
    for _ in range(n):
        session = f"s{chance.randrange(n_sessions)}"
        item = f"item-{chance.randrange(N_ITEMS)}" if chance.random() < 0.95 else "item-unknown"
        records.append(
            (session.encode(), click_value(session, item, event_id=f"e{chance.randrange(10 * n)}"))
        )
    return records


def test_every_click_is_answered_once(site: Site) -> None:
    snapshot = site.announce(seed=1)
    worker = site.worker().start().wait_ready()
    clicks = make_clicks(1500, n_sessions=200)
    positions = produce(site.servers, site.topics.clicks, clicks, rate=500)
    answers = wait_until_answered(site.servers, site.topics.recommendations, positions)

    assert answers.keys() == set(positions)
    for position, (key, value) in zip(positions, clicks, strict=True):
        (answer,) = answers[position]
        click = json.loads(value or b"")
        assert key is not None
        assert answer["session_id"] == key.decode() == click["session_id"]
        assert answer["click"]["item_id"] == click["item_id"]
        assert answer["snapshot"] == snapshot.version
        assert len(answer["items"]) == 20
        scores = [item["score"] for item in answer["items"]]
        assert scores == sorted(scores, reverse=True)
        assert click["item_id"] not in [item["item_id"] for item in answer["items"]]
    assert worker.metric("nextclick_clicks_total") == len(clicks)
    assert worker.stop() == 0


def test_without_a_snapshot_the_worker_waits(site: Site) -> None:
    worker = site.worker().start()
    deadline = time.monotonic() + 30
    while "waiting for a first production snapshot" not in worker.text():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    worker.signal(signal.SIGTERM)
    assert worker.wait(15) == 0


def test_one_worker_of_a_name(site: Site) -> None:
    site.announce(seed=1)
    first = site.worker("twin").start().wait_ready()
    second = site.worker("twin").start()
    assert second.wait() == 1
    assert "a worker named twin runs on this host already" in second.text()
    assert first.stop() == 0


def test_a_transactions_marker_is_no_click_that_waits(site: Site) -> None:
    site.announce(seed=1)
    worker = site.worker("w1", "--watchdog-seconds", "6").start().wait_ready()
    asyncio.run(produce_in_a_transaction(site))
    time.sleep(16)
    assert worker.stop() == 0


async def produce_in_a_transaction(site: Site) -> None:
    async with (
        AIOKafkaProducer(bootstrap_servers=site.servers, transactional_id=site.group) as producer,
        producer.transaction(),
    ):
        value = click_value("s1", "item-1")
        await producer.send_and_wait(site.topics.clicks, value=value, key=b"s1")


def test_a_topic_of_producers_times_is_refused(site: Site) -> None:
    site.announce(seed=1)
    with open_admin(site.kafka.connection) as admin:
        resource = ConfigResource("TOPIC", site.topics.clicks, {"message.timestamp.type": "CreateTime"})
        admin.alter_configs([resource])
    worker = site.worker().start()
    assert worker.wait(30) == 1
    assert "it must be LogAppendTime" in worker.text()


def test_a_worker_stops_also_when_kafka_is_gone(site: Site, tmp_path: Path) -> None:
    with LocalKafka(tmp_path / "other", short_lived=True) as kafka:
        own = Site(kafka, tmp_path / "own", site.topics, site.group)
        create_topics(kafka.connection, own.topics, 4)
        own.announce(seed=1)
        worker = own.worker("w1", "--stop-wait-seconds", "2").start().wait_ready()
        produce(own.servers, own.topics.clicks, make_clicks(100, n_sessions=5))
        kafka.stop()
        worker.signal(signal.SIGTERM)
        worker.wait(30)
        assert worker.text().count("\n") < 60, "it floods its log without a broker"
