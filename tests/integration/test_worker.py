"""The worker as a process against Apache Kafka: every click answered, also through kills, swaps, garbage."""

import asyncio
import json
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from deploy.broker import LocalKafka
from streams.endings import EXIT_PAUSED
from streams.kafka import ConfigResource, open_admin
from streams.topics import create_topics
from tests.integration.harness import (
    Position,
    click_value,
    produce,
    read_all,
    wait_until_answered,
)
from tests.integration.site import N_ITEMS, Site
from tests.oracle import differences, fold_one_by_one, read_click

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


def stored_sessions(site: Site) -> dict[tuple[int, str], bytes]:
    """What the changelog says of every session at its end."""
    records = {
        (record.position.partition, record.key[1:].decode()): record.value
        for record in read_all(site.servers, site.topics.sessions_changelog)
        if record.key is not None and record.key.startswith(b"s")
    }
    return {key: value for key, value in records.items() if value is not None}


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


def test_kill_nine_loses_nothing(site: Site) -> None:
    site.announce(seed=1)
    worker = site.worker().start().wait_ready()
    clicks = make_clicks(4000, n_sessions=300)
    positions: list[Position] = []
    producing = threading.Thread(
        target=lambda: positions.extend(produce(site.servers, site.topics.clicks, clicks, rate=400))
    )
    producing.start()
    for _ in range(2):
        time.sleep(1.5)
        worker.kill()
        began = time.monotonic()
        worker.start().wait_ready()
        assert time.monotonic() - began < 20, "a killed worker is slow to come back"
    producing.join()
    answers = wait_until_answered(site.servers, site.topics.recommendations, positions)
    assert worker.stop() == 0
    check_against_oracle(site, clicks, positions, answers)


def check_against_oracle(
    site: Site, clicks: Records, positions: list[Position], answers: dict[Position, list[dict[str, Any]]]
) -> None:
    """Compare every stored session with the same clicks folded one by one, without Kafka."""
    append_ms = {
        record.position: record.timestamp_ms for record in read_all(site.servers, site.topics.clicks)
    }
    folded = fold_one_by_one(
        (
            read_click(*position, append_ms[position], value or b"")
            for position, (_, value) in sorted(zip(positions, clicks, strict=True))
        ),
        site.snapshots,
        {position: given[-1]["snapshot"] for position, given in answers.items()},
    )
    assert not differences(folded, stored_sessions(site))


def test_terminated_worker_answers_once_and_leaves(site: Site) -> None:
    site.announce(seed=1)
    worker = site.worker().start().wait_ready()
    clicks = make_clicks(2000, n_sessions=100)
    positions: list[Position] = []
    producing = threading.Thread(
        target=lambda: positions.extend(produce(site.servers, site.topics.clicks, clicks, rate=500))
    )
    producing.start()
    time.sleep(1.5)
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 15
    worker.start().wait_ready()
    producing.join()
    answers = wait_until_answered(site.servers, site.topics.recommendations, positions)
    assert Counter(len(given) for given in answers.values()) == {1: len(clicks)}
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


def test_two_workers_share_and_one_takes_over(site: Site) -> None:
    site.announce(seed=1)
    first = site.worker("one").start().wait_ready()
    second = site.worker("two").start().wait_ready()
    clicks = make_clicks(3000, n_sessions=200)
    positions: list[Position] = []
    producing = threading.Thread(
        target=lambda: positions.extend(produce(site.servers, site.topics.clicks, clicks, rate=300))
    )
    producing.start()
    time.sleep(4)
    second.kill()
    producing.join()
    answers = wait_until_answered(site.servers, site.topics.recommendations, positions)
    assert first.stop() == 0
    check_against_oracle(site, clicks, positions, answers)


def test_a_click_that_ends_the_process_is_quarantined_after_three_deaths(site: Site) -> None:
    site.announce(seed=1)
    worker = site.worker()
    worker.module = "tests.integration.dying_worker"
    good = make_clicks(60, n_sessions=6)
    deadly = (b"s1", click_value("s1", "item-deadly"))
    positions = produce(site.servers, site.topics.clicks, [*good[:30], deadly, *good[30:]])
    for _ in range(4):  # once in a batch, then three times alone
        worker.start()
        assert worker.wait(60) == -signal.SIGABRT
    worker.start()
    answers = wait_until_answered(
        site.servers, site.topics.recommendations, [*positions[:30], *positions[31:]]
    )
    assert positions[30] not in answers
    (rejected,) = read_all(site.servers, site.topics.rejected_clicks)
    assert rejected.headers["reason"] == "poison"
    assert rejected.headers["detail"] == "ended the process 3 times running"
    assert worker.stop() == 0


def test_a_paused_worker_does_not_write_over_its_successor(site: Site) -> None:
    site.announce(seed=1)
    paused = site.worker("paused").start().wait_ready()
    clicks = make_clicks(6000, n_sessions=100)
    positions = produce(site.servers, site.topics.clicks, clicks)  # a backlog: it is stopped in a batch
    paused.signal(signal.SIGSTOP)
    other = site.worker("other", "--verbose").start()
    answers = wait_until_answered(site.servers, site.topics.recommendations, positions)
    paused.signal(signal.SIGCONT)
    assert paused.wait(20) == EXIT_PAUSED
    assert other.stop() == 0
    check_against_oracle(site, clicks, positions, answers)


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
