"""A worker's place in the group: one process per name, where a new group starts, a clean leave.

All of it happens with admin calls before Faust starts and after it stopped, because Faust can neither
seek to a time nor make a static member leave.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

from streams.errors import NextclickError
from streams.kafka import (
    KafkaAdminClient,
    KafkaConnection,
    KafkaConsumer,
    KafkaError,
    MemberToRemove,
    OffsetAndMetadata,
    TopicPartition,
    UnknownMemberIdError,
    open_admin,
    open_consumer,
)

COORDINATOR_TIMEOUT_S: Final = 30.0

_log = logging.getLogger(__name__)


class WorkerNameTaken(NextclickError):
    """Another process runs a worker of this name on this host."""


class GroupError(NextclickError):
    """The group's offsets or members cannot be changed."""


class StartAt(StrEnum):
    """Where a group without offsets begins to read."""

    GAP = "gap"  # with the clicks of the last session gap: sessions that are open now are known
    EARLIEST = "earliest"
    LATEST = "latest"


@contextmanager
def worker_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a worker's folder while the body runs; raises :class:`WorkerNameTaken`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+")
    except OSError as error:
        raise _cannot_write(folder, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise WorkerNameTaken(
                f"a worker named {folder.name} runs on this host already (process {file.read().strip()});"
                " give this one another --name"
            ) from None
        try:
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), str(os.getpid()).encode())
        except OSError as error:
            raise _cannot_write(folder, error) from error
        yield


def _cannot_write(folder: Path, error: OSError) -> NextclickError:
    return NextclickError(f"cannot write to the worker's folder {folder}: {error.strerror}")


def set_start_offsets(
    connection: KafkaConnection, group: str, topic: str, start_at: StartAt, gap_ms: int
) -> None:
    """Set every partition's offset for a group that has none on ``topic`` yet; other groups stay.

    A cluster's very first group waits for the brokers to make the topic that holds offsets. A group whose
    topic was made anew has lost its offsets, and waits until its dead members are forgotten, too.
    """
    deadline_s = time.monotonic() + COORDINATOR_TIMEOUT_S
    while True:
        try:
            return _set_start_offsets(connection, group, topic, start_at, gap_ms)
        except KafkaError as error:
            may_pass = error.retriable or isinstance(error, UnknownMemberIdError)
            if not may_pass or time.monotonic() > deadline_s:
                raise GroupError(f"cannot set where group {group} starts to read {topic}: {error}") from error
            time.sleep(0.2)


def _set_start_offsets(
    connection: KafkaConnection, group: str, topic: str, start_at: StartAt, gap_ms: int
) -> None:
    with open_admin(connection) as admin, open_consumer(connection) as consumer:
        partitions = [TopicPartition(topic, n) for n in sorted(consumer.partitions_for_topic(topic) or ())]
        if _has_offsets(admin, group, partitions):
            return
        offsets = _start_offsets(consumer, partitions, start_at, gap_ms)
        results = admin.alter_group_offsets(
            group, {partition: OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()}
        )
        refused = [error for error in results.values() if getattr(error, "errno", 0) != 0]
        if refused and not _has_offsets(admin, group, partitions):  # or another worker was faster
            raise refused[0]()
    by_partition = {partition.partition: offset for partition, offset in offsets.items()}
    _log.info("group %s is new: it starts at %s, offsets %s", group, start_at.value, by_partition)


def leave_group(connection: KafkaConnection, group: str, member: str) -> None:
    """Remove a static member that stopped for good, so that its partitions move at once."""
    try:
        with open_admin(connection) as admin:
            admin.remove_group_members(group, [MemberToRemove(group_instance_id=member)])
    except (KafkaError, NextclickError) as error:
        _log.warning(
            "could not leave group %s; others take over after the session time-out: %s", group, error
        )


def _has_offsets(admin: KafkaAdminClient, group: str, partitions: list[TopicPartition]) -> bool:
    committed = admin.list_group_offsets(group)[group]
    return any(partition in committed and committed[partition].offset >= 0 for partition in partitions)


def _start_offsets(
    consumer: KafkaConsumer, partitions: list[TopicPartition], start_at: StartAt, gap_ms: int
) -> dict[TopicPartition, int]:
    if start_at is StartAt.EARLIEST:
        return dict(consumer.beginning_offsets(partitions))
    ends: dict[TopicPartition, int] = dict(consumer.end_offsets(partitions))
    if start_at is StartAt.LATEST:
        return ends
    from_ms = int(time.time() * 1000) - gap_ms
    found = consumer.offsets_for_times(dict.fromkeys(partitions, from_ms))
    return {
        partition: found[partition].offset if found.get(partition) is not None else ends[partition]
        for partition in partitions
    }
