"""Drift on real Kafka: a worker that raises the alarm, a trainer that does not wait for its time."""

import threading
import time
from itertools import count
from pathlib import Path

import pytest

from streams.replaying import send_clicks
from streams.shoppers import generate_columns
from tests.conftest import FreshTopics
from tests.integration.harness import click_value, produce, wait_until_answered
from tests.integration.site import N_PARTITIONS, Site
from tests.integration.test_trainer import TINY, read_until, send_shoppers, start_trainer

pytestmark = pytest.mark.kafka

ALARM_WITHIN_S = 30.0
UNKNOWN_ITEMS = "many clicks are on items that the snapshot does not know"


def answer_clicks(site: Site, items: str, n_clicks: int = 1_500) -> None:
    """Have each of so many sessions click on one of 50 items."""
    ids = ((f"{items}-session-{n}", f"{items}-{n % 50}") for n in range(n_clicks))
    clicks = [(session.encode(), click_value(session, item)) for session, item in ids]
    positions = produce(site.servers, site.topics.clicks, clicks)
    wait_until_answered(site.servers, site.topics.recommendations, positions)


def test_a_worker_tells_that_clicks_are_on_items_it_does_not_know(site: Site) -> None:
    site.announce(1)
    worker = site.worker("w1", NEXTCLICK_DRIFT_WINDOW_CLICKS="1000").start().wait_ready()
    answer_clicks(site, "item")
    time.sleep(6)  # figures are told every five seconds
    assert UNKNOWN_ITEMS not in worker.text()
    assert worker.metric('nextclick_drift_alarm{figure="unknown"}') == 0
    answer_clicks(site, "novelty")
    deadline_s = time.monotonic() + ALARM_WITHIN_S
    while UNKNOWN_ITEMS not in worker.text():
        assert time.monotonic() < deadline_s, worker.text()[-2000:]
        time.sleep(0.2)
    assert worker.metric('nextclick_drift_alarm{figure="unknown"}') == 1


def test_a_trainer_trains_from_the_start_when_its_refresh_finds_drift(
    topics: FreshTopics, tmp_path: Path
) -> None:
    send_shoppers(topics, 3_000)
    first = start_trainer(topics, tmp_path, "--once", *TINY)
    _, err = first.communicate(timeout=120)
    assert first.returncode == 0, err.decode()
    send_novelties(topics, 3_000)
    trainer = start_trainer(topics, tmp_path, "--every", "6h", "--refresh-every", "1h", *TINY)
    read_until(trainer.stdout, f"training from the start: {UNKNOWN_ITEMS}".encode())
    read_until(trainer.stdout, b"120 items from 6,000 clicks")
    trainer.terminate()
    _, err = trainer.communicate(timeout=60)
    assert trainer.returncode == 0, err.decode()


def test_a_trainer_that_never_refreshes_hears_what_a_worker_tells(site: Site) -> None:
    topics = FreshTopics(site.kafka.connection, site.topics, site.group, N_PARTITIONS)
    send_shoppers(topics, 3_000)
    trainer = start_trainer(topics, site.folder, "--every", "6h", "--refresh-every", "off", *TINY)
    read_until(trainer.stdout, b"announced as production")
    site.worker("w1", NEXTCLICK_DRIFT_WINDOW_CLICKS="1000").start().wait_ready()
    heard = threading.Event()

    def go_on() -> None:
        for number in count():
            if heard.wait(2.0):
                return
            send_novelties(topics, 400, f"later-{number}-")

    shoppers = threading.Thread(target=go_on)
    shoppers.start()
    try:
        read_until(trainer.stdout, f"training from the start: {UNKNOWN_ITEMS}".encode())
    finally:
        heard.set()
        shoppers.join()
        trainer.terminate()
    _, err = trainer.communicate(timeout=60)
    assert trainer.returncode == 0, err.decode()


def send_novelties(topics: FreshTopics, n_clicks: int, session_prefix: str = "later-") -> None:
    """Clicks as the shoppers', now, and on items that no snapshot knows."""
    start_ms = int(time.time() * 1000) - 60_000
    columns = generate_columns(
        2, n_clicks, n_items=60, clicks_per_s=100.0, start_ms=start_ms, session_prefix=session_prefix
    )
    items = [f"novelty-{item}" for item in columns.item_ids]
    clicks = zip(columns.time_ms.tolist(), columns.session_ids, items, strict=True)
    send_clicks(topics.connection, topics.names.clicks, clicks, None)
