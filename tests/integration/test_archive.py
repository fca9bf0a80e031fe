"""The archive of a real topic: killed archivers, two at once, deleted records, a topic made anew."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path

import pytest

from deploy.cli.main import run
from streams.archive import DAY_MS, SCHEMA, ArchivedFile, ArchiveError, Gap, by_partition
from streams.archive_compaction import compact
from streams.archive_reading import ArchiveReader, read_archive
from streams.archive_store import ArchiveStore
from streams.archiving import archive_clicks
from streams.clickfile import ClickColumns
from streams.clicklog import read_window
from streams.kafka import TopicPartition, open_admin
from streams.replaying import recorded_clicks, send_clicks
from streams.shoppers import generate_columns
from streams.topics import create_topics
from tests.conftest import FreshTopics
from tests.integration.harness import click_value, produce, read_all

Row = tuple[int, int, int, str, str, str]


def test_archivers_killed_again_and_again_lose_no_click_and_double_none(
    topics: FreshTopics, tmp_path: Path
) -> None:
    """Clicks come all the time; each archiver is killed -9 at a moment of its own, and two run at once."""
    location, servers = str(tmp_path / "archive"), topics.connection.bootstrap_servers
    store = ArchiveStore(location, topics.names.clicks)
    enough = threading.Event()

    def clicks() -> Iterator[tuple[bytes, bytes]]:
        for n in takewhile(lambda n: not enough.is_set(), count()):
            session = f"s{n % 97}"
            yield (
                session.encode(),
                click_value(session, f"i{n}", kind="view") if n % 500 != 5 else b"no click",
            )

    producer = threading.Thread(target=produce, args=(servers, topics.names.clicks, clicks(), 500))
    producer.start()
    moments = random.Random(6)
    try:
        for _ in range(3):
            with archiver(topics, location) as first, archiver(topics, location) as second:
                begun, deadline = len(store.files()), time.monotonic() + 60
                while len(store.files()) <= begun:
                    assert time.monotonic() < deadline, "nothing is archived any more"
                    time.sleep(0.02)
                for process in (first, second):
                    time.sleep(moments.random() * 0.5)
                    process.kill()
    finally:
        enough.set()
        producer.join()
    archive_clicks(topics.connection, topics.names.clicks, store)
    written = {
        (one.position.partition, one.position.offset): (
            one.timestamp_ms,
            click["session_id"],
            click["item_id"],
        )
        for one in read_all(servers, topics.names.clicks)
        if one.value is not None and (click := as_click(one.value))
    }
    assert len(written) > 1_000
    for _ in range(2):
        rows = rows_of(store)
        assert len(rows) == len(written)
        assert {(row[0], row[1]): row[2:5] for row in rows} == written
        compact(store, int(time.time() * 1000) // DAY_MS + 1)  # as if the day were over
    assert len(store.files()) == len({file.partition for file in store.files()})
    whole, both = (
        read_window(topics.connection, topics.names.clicks, 0, archive=archive)
        for archive in (None, location)
    )
    ends = [{number: end for number, (_, end) in one.offsets.items()} for one in (both, whole)]
    assert ends[0] == ends[1]
    assert lists(both.clicks) == lists(whole.clicks) == lists(read_archive(location, topics.names.clicks))


def test_the_topic_goes_on_where_the_archive_ends(topics: FreshTopics, tmp_path: Path) -> None:
    store = ArchiveStore(str(tmp_path), topics.names.clicks)
    connection, topic = topics.connection, topics.names.clicks

    def send(first: int, end: int) -> None:
        clicks = [(f"s{n % 7}".encode(), click_value(f"s{n % 7}", f"i{n}")) for n in range(first, end)]
        produce(connection.bootstrap_servers, topic, clicks)

    send(0, 100)
    first = archive_clicks(connection, topic, store)
    assert (first.n_clicks, first.gaps, first.made_anew) == (100, (), False)
    assert archive_clicks(connection, topic, store).n_files == 0
    send(100, 150)
    window = read_window(connection, topic, 0, archive=str(tmp_path))
    assert sorted(window.clicks.item_ids) == sorted(f"i{n}" for n in range(150))
    assert (window.n_missing, window.n_rejected) == (0, 0)
    # Kafka deletes what is archived, and then what is not.
    _, end = window.offsets[0]
    delete_records(topics, {number: file.end for number, file in newest(store).items()})
    assert len(read_window(connection, topic, 0, archive=str(tmp_path)).clicks) == 150
    begun = newest(store)[0].end
    assert begun < end
    delete_records(topics, {0: end})
    late = read_window(connection, topic, 0, archive=str(tmp_path))
    assert late.n_missing == end - begun
    assert len(late.clicks) == 150 - late.n_missing
    send(150, 200)
    second = archive_clicks(connection, topic, store)
    assert second.gaps == (Gap(0, begun, end),)
    assert read_window(connection, topic, 0, archive=str(tmp_path)).n_missing == end - begun
    assert len(read_archive(str(tmp_path), topic)) == 200 - (end - begun)


def test_a_first_round_that_was_killed_is_no_gap_in_the_partitions_it_did_not_come_to(
    topics: FreshTopics, tmp_path: Path
) -> None:
    """The topic had lost its oldest clicks, as after its retention, before anything was archived."""
    connection, topic = topics.connection, topics.names.clicks
    clicks = [(f"s{n % 97}".encode(), click_value(f"s{n % 97}", f"i{n}")) for n in range(400)]
    produce(connection.bootstrap_servers, topic, clicks)
    deleted = dict.fromkeys(range(topics.n_partitions), 10)
    delete_records(topics, deleted)
    store = ArchiveStore(str(tmp_path), topic)
    archive_clicks(connection, topic, store)
    for written in store.files():
        if written.partition != 0:  # as if the round had been killed after the first file
            store.remove(written)
    again = archive_clicks(connection, topic, store)
    assert again.gaps == ()
    assert {number: file.first for number, file in newest(store).items()} == deleted
    assert len(rows_of(store)) == 400 - sum(deleted.values())


def test_what_was_damaged_and_removed_is_archived_again(topics: FreshTopics, tmp_path: Path) -> None:
    store = ArchiveStore(str(tmp_path), topics.names.clicks)
    connection, topic = topics.connection, topics.names.clicks
    for first in (0, 100, 200):
        clicks = [(b"s", click_value("s", f"i{n}")) for n in range(first, first + 100)]
        produce(connection.bootstrap_servers, topic, clicks)
        archive_clicks(connection, topic, store)
    before = rows_of(store)
    assert len(before) == 300
    damaged = store.files()[1]
    path = tmp_path / topic / damaged.path
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ArchiveError, match=f"{path} cannot be read"):
        read_window(connection, topic, 0, archive=str(tmp_path))
    path.unlink()
    assert len(read_window(connection, topic, 0, archive=str(tmp_path)).clicks) == 200
    again = archive_clicks(connection, topic, store)
    assert (again.n_clicks, again.gaps) == (200, ())
    assert rows_of(store) == before
    assert archive_clicks(connection, topic, store).n_files == 0


def test_a_topic_made_anew_is_archived_beside_the_one_before(topics: FreshTopics, tmp_path: Path) -> None:
    connection, names = topics.connection, topics.names
    store = ArchiveStore(str(tmp_path), names.clicks)
    produce(connection.bootstrap_servers, names.clicks, [(b"s", click_value("s", "old"))] * 3)
    archive_clicks(connection, names.clicks, store)
    with open_admin(connection) as admin:
        admin.delete_topics([names.clicks])
    create_topics(connection, names, topics.n_partitions)
    produce(connection.bootstrap_servers, names.clicks, [(b"s", click_value("s", "new"))] * 2)
    clicks = read_window(connection, names.clicks, 0, archive=str(tmp_path)).clicks
    assert clicks.item_ids.tolist() == ["old"] * 3 + ["new"] * 2
    assert archive_clicks(connection, names.clicks, store).made_anew
    assert not archive_clicks(connection, names.clicks, store).made_anew
    assert read_archive(str(tmp_path), names.clicks).item_ids.tolist() == ["old"] * 3 + ["new"] * 2


def test_the_command_archives_once_and_tells(
    topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in topics.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("deploy.cli.archive.be_considerate", lambda: 1)  # pytest is not to become nice
    clicks = [(b"s", click_value("s", "a")), (b"s", b"none")]
    produce(topics.connection.bootstrap_servers, topics.names.clicks, clicks)
    assert run(["archive", "--archive", str(tmp_path)]) == 0
    assert "1 clicks archived in 1 files" in capsys.readouterr().out
    assert run(["archive", "--archive", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["clicks"], answer["files"], answer["gaps"]) == (0, 0, [])
    store = ArchiveStore(str(tmp_path), topics.names.clicks)
    produce(topics.connection.bootstrap_servers, topics.names.clicks, clicks)
    with archiver(topics, str(tmp_path)) as following:
        deadline = time.monotonic() + 60
        while len(store.files()) < 2:
            assert time.monotonic() < deadline, "nothing is archived"
            time.sleep(0.05)
        following.terminate()
        assert following.wait(30) == 0


def test_a_trainer_learns_what_the_topic_has_no_more(
    topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in topics.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NEXTCLICK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("deploy.cli.trainer.be_considerate", lambda: 1)  # pytest is not to become nice
    connection, topic, location = topics.connection, topics.names.clicks, str(tmp_path / "archive")
    start_ms = int(time.time() * 1000) - 3_600_000
    columns = generate_columns(1, 3_000, n_items=60, clicks_per_s=100.0, start_ms=start_ms)
    send_clicks(connection, topic, recorded_clicks(columns, limit=2_000), None)
    store = ArchiveStore(location, topic)
    archive_clicks(connection, topic, store)
    delete_records(topics, {number: file.end for number, file in newest(store).items()})
    rest = zip(
        columns.time_ms[2_000:].tolist(), columns.session_ids[2_000:], columns.item_ids[2_000:], strict=True
    )
    send_clicks(connection, topic, rest, None)
    assert run(["trainer", "--once", "--json", "--archive", location, "--units", "16", "--epochs", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["clicks"] == 3_000


@contextmanager
def archiver(topics: FreshTopics, location: str) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli.main", "archive", "--every", "0.2s", "--archive", location],
        env={**os.environ, **topics.environment},
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def as_click(value: bytes) -> dict[str, str] | None:
    try:
        click: dict[str, str] = json.loads(value)
    except ValueError:
        return None
    return click


def newest(store: ArchiveStore) -> dict[int, ArchivedFile]:
    reader = ArchiveReader(store)
    (topic_id,) = reader.topic_ids()
    return reader.newest(topic_id)


def rows_of(store: ArchiveStore) -> list[Row]:
    """Every row that a reader takes."""
    return [
        tuple(row[name] for name in ("partition", "offset", "arrival_ms", "session_id", "item_id", "kind"))
        for chosen in by_partition(store.files()).values()
        for piece in chosen
        for table in store.row_groups(piece.file, SCHEMA.names)
        for row in table.to_pylist()
        if row["offset"] >= piece.first
    ]


def delete_records(topics: FreshTopics, before: dict[int, int]) -> None:
    with open_admin(topics.connection) as admin:
        admin.delete_records(
            {TopicPartition(topics.names.clicks, number): offset for number, offset in before.items()}
        )


def lists(clicks: ClickColumns) -> list[list[object]]:
    return [
        clicks.session_ids.tolist(),
        clicks.item_ids.tolist(),
        clicks.time_ms.tolist(),
        clicks.each_kind().tolist(),
    ]
