"""One process per worker name, and where a new group begins; the latter on a real Kafka."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.errors import NextclickError
from streams.kafka import open_admin, open_producer
from streams.membership import StartAt, WorkerNameTaken, set_start_offsets, worker_lock
from tests.conftest import FreshTopics

HOLD_THE_LOCK = """
import sys, pathlib
from streams.membership import worker_lock
with worker_lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_of_the_same_name_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "w-1"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent.parent,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        expected = (
            f"a worker named w-1 runs on this host already \\(process {other.pid}\\); give this one another"
        )
        with pytest.raises(WorkerNameTaken, match=expected) as raised, worker_lock(folder):
            pass
        assert "\n" not in str(raised.value)
        with worker_lock(tmp_path / "w-2"):
            other.kill()
    with worker_lock(folder):  # what a killed process held is free
        assert (folder / "lock").read_text() != str(other.pid)


def test_the_lock_is_free_after_its_body(tmp_path: Path) -> None:
    for _ in range(2):
        with worker_lock(tmp_path / "w"):
            pass


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(NextclickError, match=r"cannot write to the worker's folder .*: Not a directory"),
        worker_lock(tmp_path / "file" / "w"),
    ):
        pass


def committed(topics: FreshTopics, group: str) -> dict[int, int]:
    with open_admin(topics.connection) as admin:
        offsets = admin.list_group_offsets(group)[group]
    return {tp.partition: found.offset for tp, found in offsets.items() if found.offset >= 0}


@pytest.fixture
def old_and_new(make_topics: Callable[[int], FreshTopics]) -> FreshTopics:
    """Three clicks in partition 0, then a while later two more and one in partition 1; nothing in 2."""
    topics = make_topics(3)
    value = json.dumps({"session_id": "s", "item_id": "i"}).encode()
    with open_producer(topics.connection) as producer:
        for _ in range(3):
            producer.send(topics.names.clicks, value, partition=0).get(timeout=10)
        time.sleep(1.0)
        for partition in (0, 0, 1):
            producer.send(topics.names.clicks, value, partition=partition).get(timeout=10)
    return topics


@pytest.mark.parametrize(
    ("start_at", "gap_ms", "expected"),
    [
        (StartAt.EARLIEST, 0, {0: 0, 1: 0, 2: 0}),
        (StartAt.LATEST, 0, {0: 5, 1: 1, 2: 0}),
        (StartAt.GAP, 3_600_000, {0: 0, 1: 0, 2: 0}),
        (StartAt.GAP, 700, {0: 3, 1: 0, 2: 0}),
        (StartAt.GAP, -60_000, {0: 5, 1: 1, 2: 0}),
    ],
)
def test_where_a_new_group_starts(
    old_and_new: FreshTopics, start_at: StartAt, gap_ms: int, expected: dict[int, int]
) -> None:
    group = f"{old_and_new.group}-{start_at.value}-{abs(gap_ms)}"
    set_start_offsets(old_and_new.connection, group, old_and_new.names.clicks, start_at, gap_ms)
    assert committed(old_and_new, group) == expected
    set_start_offsets(old_and_new.connection, group, old_and_new.names.clicks, StartAt.LATEST, 0)
    assert committed(old_and_new, group) == expected  # a group with offsets stays where it is
