"""The product's topics: their names, how they should be set up, and how the cluster's differ from that."""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from streams.errors import NextclickError
from streams.kafka import ConfigResource, KafkaAdminClient, KafkaConnection, KafkaError, open_admin

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MAX_REPLICATION = 3

_ALREADY_EXISTS = 36  # Kafka's error code, met when two create at the same time


class TopicError(NextclickError):
    """A topic is missing or the cluster refuses to create it."""


@dataclass(frozen=True, slots=True)
class TopicNames:
    """What the topics are called; every name is a setting, the changelog's follows from the group's."""

    clicks: str = "clicks"
    recommendations: str = "recommendations"
    rejected_clicks: str = "rejected-clicks"
    snapshots: str = "snapshots"
    sessions_changelog: str = "nextclick-sessions-changelog"
    quality: str = "quality"


@dataclass(frozen=True, slots=True)
class WishedTopic:
    """A topic as it should be; ``configs`` holds only what differs from Kafka's own defaults on purpose."""

    name: str
    n_partitions: int
    replication: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the cluster has it; ``topic_id`` is another one after a recreation under the same name."""

    name: str
    n_partitions: int
    replication: int
    topic_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class TopicReport:
    """What became of one wished topic: made just now, there before, or absent; and how it differs."""

    wished: WishedTopic
    exists: bool
    created: bool = False
    differences: tuple[str, ...] = ()


def wished_topics(names: TopicNames, clicks_partitions: int, n_brokers: int) -> tuple[WishedTopic, ...]:
    """Return all topics as they should be on a cluster of ``n_brokers``.

    Retention and compaction work on closed segments only, so each topic closes its segments in time: with
    Kafka's 7 days or 1 GiB a day's recommendations would stay for a week, and the changelog would be
    compacted so late that a new worker reads every state that a session ever had.
    """
    replication = min(MAX_REPLICATION, n_brokers)
    # With two copies a demand for both would stop all writes as soon as one broker is away.
    safety = {"min.insync.replicas": "2" if replication >= 3 else "1"}

    def topic(name: str, n_partitions: int, **configs: str | int) -> WishedTopic:
        written = {key.replace("_", "."): str(value) for key, value in configs.items()}
        return WishedTopic(name, n_partitions, replication, written | safety)

    delete, compact = {"cleanup_policy": "delete"}, {"cleanup_policy": "compact"}
    return (
        topic(
            names.clicks,
            clicks_partitions,
            **delete,
            retention_ms=7 * DAY_MS,
            segment_ms=DAY_MS,
            message_timestamp_type="LogAppendTime",
        ),
        topic(
            names.recommendations, clicks_partitions, **delete, retention_ms=DAY_MS, segment_ms=6 * HOUR_MS
        ),
        topic(names.rejected_clicks, 1, **delete, retention_ms=30 * DAY_MS, segment_ms=DAY_MS),
        topic(names.snapshots, 1, **compact, segment_ms=DAY_MS),
        topic(
            names.sessions_changelog,
            clicks_partitions,
            **compact,
            # 32 MiB are some 50,000 records, ten seconds of recovery, that stay uncompacted per partition.
            segment_bytes=32 * 1024 * 1024,
            segment_ms=DAY_MS,
            min_cleanable_dirty_ratio="0.2",
        ),
        topic(names.quality, 1, **delete, retention_ms=7 * DAY_MS, segment_ms=DAY_MS),
    )


def create_topics(
    connection: KafkaConnection, names: TopicNames, clicks_partitions: int
) -> list[TopicReport]:
    """Make the topics that are absent, wait until they can be used, and report on all of them.

    Existing ones stay as they are. Raises BrokerUnreachable, and TopicError where the cluster refuses.
    """
    with _admin(connection) as admin:
        wished = wished_topics(names, clicks_partitions, _count_brokers(admin))
        before = topic_states(admin, (topic.name for topic in wished))
        absent = [topic for topic in wished if topic.name not in before]
        if absent:
            _create(admin, absent)
        return [replace(report, created=report.wished in absent) for report in _compare(admin, wished)]


def inspect_topics(
    connection: KafkaConnection, names: TopicNames, clicks_partitions: int
) -> list[TopicReport]:
    """Report on all topics and change nothing; raises BrokerUnreachable."""
    with _admin(connection) as admin:
        return _compare(admin, wished_topics(names, clicks_partitions, _count_brokers(admin)))


def require_topics(connection: KafkaConnection, *names: str) -> dict[str, TopicState]:
    """Return the state of these topics; raises TopicError naming the first that is absent, and the remedy."""
    with _admin(connection) as admin:
        states = topic_states(admin, names)
    for name in names:
        if name not in states:
            raise TopicError(
                f"topic {name!r} does not exist on {connection.bootstrap_servers};"
                " create the topics with: nextclick topics create"
            )
    return states


def require_append_time(connection: KafkaConnection, name: str) -> None:
    """Raise TopicError unless the topic's records carry the time of their arrival.

    Expiry and training windows go by it; a producer's own time would expire sessions that are open.
    """
    key, wished = "message.timestamp.type", "LogAppendTime"
    with open_admin(connection) as admin:
        described = admin.describe_configs([ConfigResource("TOPIC", name)], config_filter="all")
    if key not in described["topic"].get(name, {}):
        raise TopicError(
            f"the configuration of topic {name!r} cannot be read: the user needs the right to describe it"
            " (DescribeConfigs)"
        )
    found = described["topic"][name][key].get("value")
    if found != wished:
        raise TopicError(
            f"topic {name!r} has {key} = {found}, it must be {wished}: set it with kafka-configs --alter"
            f" --entity-type topics --entity-name {name} --add-config {key}={wished}"
        )


def topic_states(admin: KafkaAdminClient, names: Iterable[str]) -> dict[str, TopicState]:
    """Return those of the named topics that exist."""
    return {
        topic["name"]: TopicState(
            name=topic["name"],
            n_partitions=len(topic["partitions"]),
            replication=min(len(partition["replica_nodes"]) for partition in topic["partitions"]),
            topic_id=uuid.UUID(str(topic["topic_id"])),
        )
        for topic in admin.describe_topics(list(names))
        if topic["error_code"] == 0 and topic["partitions"]
    }


@contextmanager
def _admin(connection: KafkaConnection) -> Iterator[KafkaAdminClient]:
    with open_admin(connection) as admin:
        try:
            yield admin
        except KafkaError as error:
            where = connection.bootstrap_servers
            raise TopicError(f"{where} does not tell or change its topics: {error}") from error


def _count_brokers(admin: KafkaAdminClient) -> int:
    return len(admin.describe_cluster()["brokers"])


def _create(admin: KafkaAdminClient, topics: list[WishedTopic]) -> None:
    request = {
        topic.name: {
            "num_partitions": topic.n_partitions,
            "replication_factor": topic.replication,
            "configs": dict(topic.configs),
        }
        for topic in topics
    }
    for answer in admin.create_topics(request, raise_errors=False)["topics"]:
        if answer["error_code"] not in (0, _ALREADY_EXISTS):
            raise TopicError(f"Kafka refuses to create topic {answer['name']!r}: {answer['error_message']}")
    admin.wait_for_topics(list(request))


def _compare(admin: KafkaAdminClient, wished: tuple[WishedTopic, ...]) -> list[TopicReport]:
    states = topic_states(admin, (topic.name for topic in wished))
    resources = [ConfigResource("TOPIC", name) for name in states]
    described = admin.describe_configs(resources, config_filter="all") if resources else {}
    configs = described.get("topic", {})
    return [
        TopicReport(topic, True, False, tuple(_differences(topic, states[topic.name], configs[topic.name])))
        if topic.name in states
        else TopicReport(topic, False)
        for topic in wished
    ]


def _differences(
    topic: WishedTopic, state: TopicState, configs: Mapping[str, Mapping[str, str]]
) -> Iterable[str]:
    if state.n_partitions != topic.n_partitions:
        yield f"partitions: {state.n_partitions} instead of {topic.n_partitions}"
    if state.replication != topic.replication:
        yield f"replication: {state.replication} instead of {topic.replication}"
    for key, value in topic.configs.items():
        found = configs.get(key, {}).get("value")
        if found != value:
            yield f"{key}: {found} instead of {value}"
