"""The changelog of sessions as an operator sees it: look one session up, or forget them all.

Workers write the changelog and only they may. Looking reads; forgetting is refused while a worker lives.
"""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streams.errors import NextclickError
from streams.kafka import (
    KafkaConnection,
    KafkaError,
    TopicPartition,
    murmur2,
    open_admin,
    open_consumer,
)
from streams.session import Session, SessionFormatError, decode_session, session_key
from streams.topics import TopicNames, create_topics, require_topics, topic_states

STALLED_S: Final = 30.0
DELETION_S: Final = 30.0
MEMBERS_GONE_S: Final = 12.0  # a little over the workers' session time-out
GROUP_ID_NOT_FOUND: Final = 69


class SessionLogError(NextclickError):
    """Sessions cannot be looked up or forgotten; the text says why."""


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session's record and where it stands in the changelog."""

    session: Session
    partition: int
    offset: int
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a reset removed."""

    n_partitions: int
    folders: tuple[Path, ...]


def find_session(connection: KafkaConnection, changelog: str, session_id: str) -> StoredSession | None:
    """The session's last record, None where there is none or it has expired.

    The partition that usual producers give the id is read first, then the others: a producer may
    partition in its own way.
    """
    n_partitions = require_topics(connection, changelog)[changelog].n_partitions
    usual = (murmur2(session_id.encode()) & 0x7FFFFFFF) % n_partitions
    key = session_key(session_id)
    with open_consumer(connection, enable_auto_commit=False, max_poll_records=5_000) as consumer:
        for number in sorted(range(n_partitions), key=lambda number: number != usual):
            last = None
            for record in _records(consumer, TopicPartition(changelog, number)):
                if record.key == key:
                    last = record
            if last is not None:
                return _decode(last)
    return None


def _decode(record: Any) -> StoredSession | None:
    if record.value is None:
        return None
    try:
        session = decode_session(record.value)
    except SessionFormatError as error:
        raise SessionLogError(
            f"partition {record.partition}, offset {record.offset} of {record.topic}: {error}"
        ) from error
    return StoredSession(session, record.partition, record.offset, len(record.value))


def _records(consumer: Any, partition: TopicPartition) -> Iterator[Any]:
    """All records of a partition up to the end of now."""
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    deadline = time.monotonic() + STALLED_S
    while consumer.position(partition) < end:
        polled = consumer.poll(timeout_ms=500)
        for records in polled.values():
            yield from records
        if polled:
            deadline = time.monotonic() + STALLED_S
        elif time.monotonic() > deadline:
            raise SessionLogError(f"topic {partition.topic} gave no records for {STALLED_S:.0f} s")


def forget_sessions(
    connection: KafkaConnection, topics: TopicNames, group: str, workers_folder: Path
) -> Forgotten:
    """Delete all sessions of the group: changelog, committed offsets, local databases.

    1. Refuse while the group has members: a worker would write on.
    2. Delete the group, and its offsets with it; workers then start as a new group does.
    3. Delete the changelog and make it anew, with as many partitions as ``clicks`` has.
    4. Delete the databases of this host's workers; elsewhere the same command does it.

    Raises ``SessionLogError`` where a step is refused; it can be run again then.
    """
    n_partitions = require_topics(connection, topics.clicks)[topics.clicks].n_partitions
    try:
        with open_admin(connection) as admin:
            _require_no_members(admin, group)
            _delete_group(admin, group)
            if topic_states(admin, [topics.sessions_changelog]):
                admin.delete_topics([topics.sessions_changelog])
                _wait_until_gone(admin, topics.sessions_changelog)
    except KafkaError as error:
        raise SessionLogError(f"cannot forget the sessions of group {group}: {error}") from error
    create_topics(connection, topics, n_partitions)
    return Forgotten(n_partitions, tuple(_delete_databases(workers_folder)))


def _require_no_members(admin: Any, group: str) -> None:
    """A worker that was killed or crashed is a member for some seconds more: those are waited for."""
    deadline = time.monotonic() + MEMBERS_GONE_S
    while members := admin.describe_groups([group])[group]["members"]:
        if time.monotonic() > deadline:
            names = ", ".join(sorted(str(m.get("group_instance_id") or m.get("client_id")) for m in members))
            raise SessionLogError(
                f"group {group} has {len(members)} running workers ({names}); stop them and run this again"
            )
        time.sleep(0.5)


def _delete_group(admin: Any, group: str) -> None:
    for error in admin.delete_groups([group]).values():
        if getattr(error, "errno", 0) not in (0, GROUP_ID_NOT_FOUND):
            raise SessionLogError(f"Kafka refuses to delete the offsets of group {group}: {error}")


def _wait_until_gone(admin: Any, topic: str) -> None:
    deadline = time.monotonic() + DELETION_S
    while topic_states(admin, [topic]):
        if time.monotonic() > deadline:
            raise SessionLogError(f"topic {topic} is still there {DELETION_S:.0f} s after its deletion")
        time.sleep(0.2)


def _delete_databases(workers_folder: Path) -> Iterator[Path]:
    for folder in sorted(workers_folder.glob("*/faust")):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise SessionLogError(f"cannot delete {folder}: {error.strerror or error}") from error
        yield folder
