import time
from collections.abc import Callable

import pytest

from deploy.broker import LocalKafka
from streams.announcements import Announcement, AnnouncementFollower, announce, read_current
from streams.kafka import open_producer
from streams.topics import TopicNames, create_topics
from tests.conftest import FreshTopics

FIRST = Announcement("v1", "/snapshots/v1", "1" * 64)
SECOND = FIRST.succeeding(None, announced_ms=1)
THIRD = Announcement("v3", "/snapshots/v3", "3" * 64, pinned=True)


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_counts_is_the_last_of_each_alias(topics: FreshTopics) -> None:
    connection, topic = topics.connection, topics.names.snapshots
    assert read_current(connection, topic) == {}
    announce(connection, topic, "production", FIRST)
    announce(connection, topic, "canary", FIRST)
    announce(connection, topic, "production", THIRD)
    announce(connection, topic, "canary", None)
    assert read_current(connection, topic) == {"production": THIRD}


def test_a_follower_reports_what_stands_there_first_and_then_every_change(topics: FreshTopics) -> None:
    connection, topic = topics.connection, topics.names.snapshots
    announce(connection, topic, "production", FIRST)
    announce(connection, topic, "production", SECOND)
    heard: list[Announcement | None] = []
    follower = AnnouncementFollower(connection, topic, "production", heard.append)
    follower.start()
    assert follower.wait_caught_up(20)
    assert heard == [SECOND]
    announce(connection, topic, "canary", FIRST)
    announce(connection, topic, "production", None)
    with open_producer(connection) as producer:
        producer.send(topic, key=b"production", value=b"garbage").get(10)
    announce(connection, topic, "production", THIRD)
    eventually(lambda: heard == [SECOND, THIRD])
    follower.stop()
    announce(connection, topic, "production", FIRST)
    assert heard == [SECOND, THIRD]


def test_a_canary_that_is_given_back_is_reported_as_none(topics: FreshTopics) -> None:
    connection, topic = topics.connection, topics.names.snapshots
    heard: list[Announcement | None] = []
    follower = AnnouncementFollower(connection, topic, "canary", heard.append)
    follower.start()
    assert follower.wait_caught_up(20)
    announce(connection, topic, "canary", FIRST)
    announce(connection, topic, "canary", None)
    eventually(lambda: heard == [None, FIRST, None])
    follower.stop()


def test_a_listener_that_raises_hears_the_next_announcement(topics: FreshTopics) -> None:
    connection, topic = topics.connection, topics.names.snapshots
    heard: list[Announcement | None] = []

    def listen(announcement: Announcement | None) -> None:
        heard.append(announcement)
        raise RuntimeError("of no matter")

    follower = AnnouncementFollower(connection, topic, "production", listen)
    follower.start()
    announce(connection, topic, "production", FIRST)
    eventually(lambda: heard[-1:] == [FIRST])
    announce(connection, topic, "production", THIRD)
    eventually(lambda: heard[-1:] == [THIRD])
    follower.stop()


def test_a_listener_that_asks_for_it_hears_the_same_again(topics: FreshTopics) -> None:
    connection, topic = topics.connection, topics.names.snapshots
    heard: list[Announcement | None] = []

    def listen(announcement: Announcement | None) -> bool:
        heard.append(announcement)
        if len(heard) == 2:
            raise RuntimeError("is to be repeated, too")
        return announcement == FIRST and len(heard) < 4

    announce(connection, topic, "production", FIRST)
    follower = AnnouncementFollower(connection, topic, "production", listen, repeat_s=0.1)
    follower.start()
    eventually(lambda: heard == [FIRST] * 4)
    time.sleep(0.5)
    assert heard == [FIRST] * 4
    announce(connection, topic, "production", THIRD)
    eventually(lambda: heard == [FIRST] * 4 + [THIRD])
    follower.stop()


@pytest.mark.kafka
def test_a_follower_waits_for_a_broker_that_is_away(tmp_path_factory: pytest.TempPathFactory) -> None:
    names = TopicNames()
    with LocalKafka(tmp_path_factory.mktemp("restarted"), short_lived=True) as kafka:
        create_topics(kafka.connection, names, 1)
        announce(kafka.connection, names.snapshots, "production", FIRST)
        heard: list[Announcement | None] = []
        follower = AnnouncementFollower(
            kafka.connection, names.snapshots, "production", heard.append, retry_s=0.2
        )
        follower.start()
        eventually(lambda: heard == [FIRST])
        kafka.stop_broker(1)
        time.sleep(0.5)
        kafka.start_broker(1)
        announce(kafka.connection, names.snapshots, "production", THIRD)
        eventually(lambda: heard == [FIRST, THIRD], 60)
        follower.stop()
