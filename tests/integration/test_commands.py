"""Commands that need Kafka and are small: replay, generate, watch, sessions."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.cli.main import run
from streams.clickfile import write_click_file
from streams.clicklog import read_window
from streams.events import ClickRef, Recommendation, ScoredItem, encode_recommendation
from streams.kafka import open_admin, open_consumer, open_producer
from streams.session import Session, SessionItem, encode_session, session_key
from streams.shoppers import generate_columns
from tests.conftest import FreshTopics


@pytest.fixture(autouse=True)
def environment(topics: FreshTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in topics.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NEXTCLICK_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("deploy.cli.trainer.be_considerate", lambda: 1)  # pytest is not to become nice


def test_a_replay_sends_every_click_of_the_file_in_order(
    topics: FreshTopics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = generate_columns(1, 3_000, n_items=60, start_ms=1_396_742_400_000)
    write_click_file(tmp_path / "clicks.csv.gz", columns)
    file = str(tmp_path / "clicks.csv.gz")
    assert run(["replay", file, "--rate", "0", "--session-prefix", "p-", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["clicks"], answer["stopped"]) == (3_000, False)
    clicks = read_window(topics.connection, topics.names.clicks, 0).clicks
    assert len(clicks) == 3_000
    for session_id in ("0", "17", "200"):
        mine, theirs = columns.session_ids == session_id, clicks.session_ids == f"p-{session_id}"
        assert mine.any()
        assert columns.item_ids[mine].tolist() == clicks.item_ids[theirs].tolist()
        assert columns.time_ms[mine].tolist() == clicks.time_ms[theirs].tolist()


def test_a_replay_keeps_its_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_click_file(tmp_path / "clicks.tsv", generate_columns(1, 2_000, start_ms=1_396_742_400_000))
    file = str(tmp_path / "clicks.tsv")
    assert run(["replay", file, "--rate", "500", "--limit", "1000", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["clicks"] == 1_000
    assert answer["seconds"] == pytest.approx(2.0, abs=0.5)


def test_times_from_before_2000_are_moved_to_now(
    topics: FreshTopics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.tsv").write_text("SessionId\tItemId\tTime\n1\ta\t1\n1\tb\t2\n2\ta\t900000\n")
    assert run(["replay", str(tmp_path / "rows.tsv"), "--rate", "0"]) == 1
    assert "before 2000 are rejected; move them: --start now" in capsys.readouterr().err
    before_ms = int(time.time() * 1000)
    assert run(["replay", str(tmp_path / "rows.tsv"), "--rate", "0", "--start", "now"]) == 0
    window = read_window(topics.connection, topics.names.clicks, 0)
    assert window.n_rejected == 0
    assert len(window.clicks) == 3
    assert all(before_ms <= time_ms <= before_ms + 60_000 for time_ms in window.clicks.time_ms.tolist())


def test_shoppers_click_at_the_rate_asked_for(
    topics: FreshTopics, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["generate", "--rate", "300", "--shoppers", "100", "--minutes", "0.05", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["clicks"] == pytest.approx(900, rel=0.2)
    assert len(read_window(topics.connection, topics.names.clicks, 0).clicks) == answer["clicks"]


def test_a_topic_that_is_absent_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_click_file(tmp_path / "clicks.tsv", generate_columns(1, 10, start_ms=1_396_742_400_000))
    file = str(tmp_path / "clicks.tsv")
    for arguments in (
        ["replay", file, "--clicks-topic", "absent"],
        ["generate", "--clicks", "1", "--clicks-topic", "absent"],
        ["trainer", "--once", "--clicks-topic", "absent"],
        ["watch", "--recommendations-topic", "absent"],
        ["snapshots", "rollback", "--snapshots-topic", "absent"],
        ["sessions", "reset", "--yes", "--clicks-topic", "absent"],
    ):
        assert run(arguments) == 1
        assert "topic 'absent' does not exist" in capsys.readouterr().err.splitlines()[-1]


def recommendation(session_id: str, offset: int) -> bytes:
    now_ms = int(time.time() * 1000)
    click = ClickRef(0, offset, "red-tent", now_ms - 7)
    items = [ScoredItem(f"blue-{name}", 1.0) for name in ("tent", "rug", "desk", "kettle", "apron")]
    return encode_recommendation(Recommendation(session_id, "v1", "model", now_ms, click, items))


def watch(topics: FreshTopics, *arguments: str) -> list[str]:
    """What ``nextclick watch`` prints of some recommendations that come while it runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli.main", "watch", "--limit", "2", *arguments],
        env={**os.environ, **topics.environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    with open_producer(topics.connection) as producer:
        offset = 0
        while process.poll() is None:
            for session_id in ("s-1", "s-2"):
                value = recommendation(session_id, offset)
                producer.send(topics.names.recommendations, key=session_id.encode(), value=value)
            producer.send(topics.names.recommendations, key=b"s-1", value=b"garbage")
            producer.flush()
            offset += 1
            time.sleep(0.1)
    out, _ = process.communicate()
    assert process.returncode == 0
    return out.splitlines()


def test_watch_shows_the_recommendations_of_a_session_as_they_come(topics: FreshTopics) -> None:
    lines = watch(topics, "--session", "s-2")
    assert len(lines) == 2
    for line in lines:
        assert line.endswith("red-tent → blue-tent, blue-rug, blue-desk, blue-kettle")
        assert "7 ms  s-2 " in line


def test_watch_gives_the_records_as_they_are(topics: FreshTopics) -> None:
    records = [json.loads(line) for line in watch(topics, "--json-lines")]
    assert [record["items"][0]["item_id"] for record in records] == ["blue-tent", "blue-tent"]


def store_session(topics: FreshTopics, session_id: str, offset: int | None, partition: int) -> None:
    record = None
    if offset is not None:
        items = (
            SessionItem("red-tent", None, 1_396_742_400_000),
            SessionItem("rug", "cart", 1_396_742_401_000),
        )
        session = Session("v1", offset, 1_396_742_401_000, 1_396_742_401_005, 2, b"\0\x3c" * 4, items)
        record = encode_session(session)
    with open_producer(topics.connection) as producer:
        producer.send(
            topics.names.sessions_changelog, key=session_key(session_id), value=record, partition=partition
        ).get(10)


def test_a_session_is_shown_as_it_was_stored_last(
    topics: FreshTopics, capsys: pytest.CaptureFixture[str]
) -> None:
    for offset in (3, 4):
        for partition, session_id in enumerate(("s-1", "s-2", "s-3", "s-4")):
            store_session(topics, session_id, offset, partition)
    assert run(["sessions", "show", "s-3", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["partition"], record["offset"], record["snapshot"]) == (2, 4, "v1")
    assert record["items"] == [
        {"item_id": "red-tent", "kind": "view", "timestamp_ms": 1_396_742_400_000},
        {"item_id": "rug", "kind": "cart", "timestamp_ms": 1_396_742_401_000},
    ]
    assert record["state"] == [1.0] * 4
    assert run(["sessions", "show", "s-3"]) == 0
    assert "cart      rug" in capsys.readouterr().out
    assert run(["sessions", "show", "nobody"]) == 1
    assert "session 'nobody' has no record" in capsys.readouterr().err
    store_session(topics, "s-3", None, 2)
    assert run(["sessions", "show", "s-3"]) == 1


def n_records(topics: FreshTopics) -> int:
    from streams.kafka import TopicPartition

    partitions = [TopicPartition(topics.names.sessions_changelog, number) for number in range(4)]
    with open_consumer(topics.connection) as consumer:
        return sum(consumer.end_offsets(partitions).values())


def test_a_reset_forgets_the_sessions_and_is_refused_while_a_worker_lives(
    topics: FreshTopics, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.sessionlog.MEMBERS_GONE_S", 1.0)
    store_session(topics, "s-1", 3, 1)
    database = tmp_path / "home" / "workers" / "w1" / "faust" / "v1"
    database.mkdir(parents=True)
    kept = tmp_path / "home" / "workers" / "w1" / "last-good"
    kept.write_text("v1")
    member = open_consumer(topics.connection, group_id=topics.group, client_id="worker-7")
    member.subscribe([topics.names.clicks])
    while not member.assignment():
        member.poll(timeout_ms=200)
    assert run(["sessions", "reset", "--yes"]) == 1
    assert "has 1 running workers (worker-7); stop them" in capsys.readouterr().err
    assert n_records(topics) == 1
    member.commit()
    member.close()
    assert run(["sessions", "reset", "--yes", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["partitions"] == 4
    assert n_records(topics) == 0
    assert not database.exists()
    assert kept.exists()
    with open_admin(topics.connection) as admin:
        assert not any(
            offset.offset >= 0 for offset in admin.list_group_offsets(topics.group)[topics.group].values()
        )
    assert run(["sessions", "reset", "--yes"]) == 0  # again does no harm


def test_a_reset_asks_first(topics: FreshTopics, monkeypatch: pytest.MonkeyPatch) -> None:
    store_session(topics, "s-1", 3, 1)
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli.main", "sessions", "reset"],
        env={**os.environ, **topics.environment},
        input=b"n\n",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 130
    assert b"Forget all sessions" in done.stderr
    assert n_records(topics) == 1
