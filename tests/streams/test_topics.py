"""The topics as wished, made once, and the differences that are told."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from deploy.broker import LocalKafka
from streams.kafka import open_admin
from streams.topics import (
    TopicError,
    TopicNames,
    create_topics,
    inspect_topics,
    require_topics,
    topic_states,
    wished_topics,
)
from tests.conftest import FreshTopics


def test_policies_of_a_single_broker() -> None:
    wished = {topic.name: topic for topic in wished_topics(TopicNames(), clicks_partitions=8, n_brokers=1)}
    assert {name: topic.n_partitions for name, topic in wished.items()} == {
        "clicks": 8,
        "recommendations": 8,
        "rejected-clicks": 1,
        "snapshots": 1,
        "nextclick-sessions-changelog": 8,
        "quality": 1,
    }
    assert wished["clicks"].configs["message.timestamp.type"] == "LogAppendTime"
    assert wished["clicks"].configs["retention.ms"] == str(7 * 24 * 3600 * 1000)
    assert wished["nextclick-sessions-changelog"].configs["cleanup.policy"] == "compact"
    assert wished["snapshots"].configs["cleanup.policy"] == "compact"
    assert {topic.replication for topic in wished.values()} == {1}


@pytest.mark.parametrize(
    ("n_brokers", "replication", "min_in_sync"), [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (7, 3, "2")]
)
def test_copies_follow_the_number_of_brokers(n_brokers: int, replication: int, min_in_sync: str) -> None:
    for topic in wished_topics(TopicNames(), 8, n_brokers):
        assert (topic.replication, topic.configs["min.insync.replicas"]) == (replication, min_in_sync)


def test_segments_close_before_retention_or_compaction_matters() -> None:
    for topic in wished_topics(TopicNames(), 8, 1):
        retention_ms = int(topic.configs.get("retention.ms", 7 * 24 * 3600 * 1000))
        assert int(topic.configs["segment.ms"]) * 4 <= retention_ms


def test_creating_twice_changes_nothing(topics: FreshTopics) -> None:
    again = create_topics(topics.connection, topics.names, topics.n_partitions)
    assert [(report.exists, report.created, report.differences) for report in again] == [
        (True, False, ())
    ] * 6


def test_differences_are_told_and_left(topics: FreshTopics) -> None:
    reports = {r.wished.name: r for r in create_topics(topics.connection, topics.names, clicks_partitions=6)}
    assert reports[topics.names.clicks].differences == ("partitions: 4 instead of 6",)
    assert reports[topics.names.snapshots].differences == ()
    with open_admin(topics.connection) as admin:
        assert topic_states(admin, [topics.names.clicks])[topics.names.clicks].n_partitions == 4


def test_a_differing_policy_is_told(kafka: LocalKafka, topics: FreshTopics) -> None:
    # The old recommendations, deleted after a day, stand where clicks are wished.
    names = replace(topics.names, clicks=topics.names.recommendations)
    clicks = inspect_topics(kafka.connection, names, 4)[0]
    assert "message.timestamp.type: CreateTime instead of LogAppendTime" in clicks.differences
    assert "retention.ms: 86400000 instead of 604800000" in clicks.differences


def test_inspecting_creates_nothing(kafka: LocalKafka) -> None:
    names = TopicNames(*(f"never-made-{i}" for i in range(6)))
    assert not any(report.exists for report in inspect_topics(kafka.connection, names, 4))
    assert not any(report.exists for report in inspect_topics(kafka.connection, names, 4))


def test_a_missing_topic_is_named_with_the_remedy(topics: FreshTopics) -> None:
    with pytest.raises(TopicError, match=r"'klicks' does not exist on 127.*nextclick topics create"):
        require_topics(topics.connection, topics.names.clicks, "klicks")


def test_a_recreated_topic_has_another_id(make_topics: Callable[[int], FreshTopics]) -> None:
    topics = make_topics(1)
    name = topics.names.clicks
    before = require_topics(topics.connection, name)[name]
    with open_admin(topics.connection) as admin:
        admin.delete_topics([name])
    create_topics(topics.connection, topics.names, 1)
    after = require_topics(topics.connection, name)[name]
    assert before.n_partitions == after.n_partitions
    assert before.topic_id != after.topic_id


def test_an_impossible_topic_is_refused_in_one_line(kafka: LocalKafka) -> None:
    with pytest.raises(TopicError, match="Kafka refuses to create topic 'no spaces'"):
        create_topics(kafka.connection, TopicNames(clicks="no spaces"), 1)
