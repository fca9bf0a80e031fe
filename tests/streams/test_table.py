"""The batched store, on a real RocksDB."""

import gc
from pathlib import Path

import pytest
from faust.exceptions import ConsistencyError

from streams.session import session_key
from streams.table import FAUST_OFFSET_KEY, IDENTITY_KEY, SessionTable, explain
from tests.streams.tables import make_table


@pytest.fixture
def table(tmp_path: Path) -> SessionTable:
    return make_table(tmp_path)


def test_read_and_write_many(table: SessionTable) -> None:
    table.write(0, {b"sa": b"1", b"sb": b"2", b"sc": b""}, 7)
    assert table.read(0, [b"sb", b"s?", b"sa", b"sb", b"sc"]) == [b"2", None, b"1", b"2", b""]
    assert table.read(0, []) == []


def test_partitions_are_apart(table: SessionTable) -> None:
    table.write(0, {b"sa": b"1"}, 7)
    assert table.read(1, [b"sa"]) == [None]
    assert sorted(table.open_partitions()) == [0, 1]


def test_a_write_replaces_and_none_deletes(table: SessionTable) -> None:
    table.write(0, {b"sa": b"1", b"sb": b"2"}, 7)
    table.write(0, {b"sa": b"3", b"sb": None, b"never": None}, 9)
    assert table.read(0, [b"sa", b"sb", b"never"]) == [b"3", None, None]


def test_the_changelog_offset_is_written_with_the_records(table: SessionTable) -> None:
    table.write(0, {b"sa": b"1"}, 7)
    assert table.read(0, [FAUST_OFFSET_KEY]) == [b"7"]
    table.write(0, {b"sa": b"2"}, None)
    assert table.read(0, [FAUST_OFFSET_KEY]) == [b"7"]


def test_what_is_written_is_there_after_a_restart(tmp_path: Path) -> None:
    table = make_table(tmp_path)
    table.write(0, {b"sa": b"1"}, 7)
    del table
    gc.collect()
    assert make_table(tmp_path).read(0, [b"sa", FAUST_OFFSET_KEY]) == [b"1", b"7"]


def test_scan_goes_on_after_a_key_and_sees_sessions_only(table: SessionTable) -> None:
    ids = ["", "a", "ab", "b", "ü", "\U0010ffff", "__faust\0offset__"]
    table.write(0, {session_key(id_): id_.encode() for id_ in ids} | {IDENTITY_KEY: b"x", b"t": b"y"}, 7)
    in_order = sorted(id_.encode() for id_ in ids)
    assert [record for _, record in table.scan(0, b"", 100)] == in_order
    position, found = b"", []
    while scanned := list(table.scan(0, position, 2)):
        assert len(scanned) <= 2
        found += [record for _, record in scanned]
        position = scanned[-1][0]
    assert found == in_order
    assert list(table.scan(1, b"", 100)) == []


def test_the_changelog_has_the_name_that_topics_create_gives_it(table: SessionTable) -> None:
    assert table.changelog_topic == "nextclick-sessions-changelog"


def test_a_disk_or_a_changelog_that_ends_a_worker_is_told_in_a_line() -> None:
    full = explain(Exception("IO error: No space left on device: While appending to file: /w1/000004.log"))
    assert "cannot be stored: IO error: No space left on device" in str(full)
    assert "cannot be stored: [Errno 30] Read-only file system" in str(
        explain(OSError(30, "Read-only file system"))
    )
    assert "run: nextclick sessions reset" in str(explain(ConsistencyError("persisted offset")))
    assert "is damaged: Corruption: no CURRENT" in str(explain(Exception("Corruption: no CURRENT")))
    assert explain(ValueError("IO error")) is None
    assert explain(ConnectionResetError(104, "Connection reset by peer")) is None
    assert explain(Exception("unexpected")) is None
    assert explain(None) is None
