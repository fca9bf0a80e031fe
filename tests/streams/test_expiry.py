"""Idle sessions leave the store and the changelog: a bounded number at a time, the tombstone first."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from streams import expiry as expiry_module
from streams.expiry import Expiry
from streams.outbox import Outbox, Outgoing
from streams.session import Session, encode_session, session_key
from streams.table import FAUST_OFFSET_KEY, IDENTITY_KEY, SessionTable
from tests.streams.tables import make_table

DAY_MS = 86_400_000
NOW_MS = 1_700_000_000_000


class RecordingOutbox(Outbox):
    """Delivers to a list, and knows what the store held when it did."""

    def __init__(self, table: SessionTable) -> None:
        self.delivered: list[Outgoing] = []
        self.in_store: list[bytes | None] = []
        self.fails = False
        self._table = table

    async def deliver(self, records: Iterable[Outgoing]) -> dict[int, int]:
        if self.fails:
            raise ConnectionError("no broker")
        for record in records:
            self.delivered.append(record)
            self.in_store += self._table.read(record.partition, [record.key or b""])
        return {record.partition: 100 + len(self.delivered) for record in self.delivered}


@pytest.fixture
def table(tmp_path: Path) -> SessionTable:
    return make_table(tmp_path)


@pytest.fixture
def outbox(table: SessionTable) -> RecordingOutbox:
    return RecordingOutbox(table)


def store(table: SessionTable, partition: int, **last_ms: int) -> None:
    records: dict[bytes, bytes | None] = {
        session_key(id_): encode_session(Session("v", 1, ms, ms, 1, b"")) for id_, ms in last_ms.items()
    }
    table.write(partition, {**records, IDENTITY_KEY: b"topic"}, 1)


def left(table: SessionTable, partition: int) -> list[bytes]:
    return [key for key, _ in table.scan(partition, b"", 1000)]


def run(expiry: Expiry, n_turns: int = 1) -> list[int]:
    return [asyncio.run(expiry.run(lambda: None)) for _ in range(n_turns)]


def test_idle_sessions_go_and_the_others_stay(table: SessionTable, outbox: RecordingOutbox) -> None:
    store(table, 0, old=NOW_MS - DAY_MS - 1, border=NOW_MS - DAY_MS, young=NOW_MS)
    expiry = Expiry(table, outbox, DAY_MS)
    expiry.note(0, NOW_MS)
    assert run(expiry, 2) == [1, 0]
    assert left(table, 0) == [b"sborder", b"syoung"]
    assert outbox.delivered == [Outgoing("nextclick-sessions-changelog", 0, b"sold", None)]
    assert table.read(0, [FAUST_OFFSET_KEY, IDENTITY_KEY]) == [b"101", b"topic"]


def test_the_tombstone_is_delivered_before_the_record_goes(
    table: SessionTable, outbox: RecordingOutbox
) -> None:
    store(table, 0, a=0, b=0)
    expiry = Expiry(table, outbox, DAY_MS)
    expiry.note(0, NOW_MS)
    outbox.fails = True
    with pytest.raises(ConnectionError):
        run(expiry)
    assert left(table, 0) == [b"sa", b"sb"]
    outbox.fails = False
    assert run(expiry) == [2]
    assert None not in outbox.in_store
    assert left(table, 0) == []


def test_nothing_is_written_for_a_partition_that_moved_on(
    table: SessionTable, outbox: RecordingOutbox
) -> None:
    store(table, 0, a=0)
    expiry = Expiry(table, outbox, DAY_MS)
    expiry.note(0, NOW_MS)

    def moved() -> None:
        raise PermissionError

    def moved_meanwhile() -> None:
        if outbox.delivered:
            raise PermissionError

    for check in (moved, moved_meanwhile):
        with pytest.raises(PermissionError):
            asyncio.run(expiry.run(check))
        assert left(table, 0) == [b"sa"]
    assert len(outbox.delivered) == 1


def test_a_turn_looks_at_a_bounded_number_and_turns_go_round(
    table: SessionTable, outbox: RecordingOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry_module, "SCAN_LIMIT", 10)
    store(table, 0, **{f"{n:02}": 0 if n % 2 else NOW_MS for n in range(25)})
    expiry = Expiry(table, outbox, DAY_MS)
    expiry.note(0, NOW_MS)
    assert run(expiry, 3) == [5, 5, 2]
    assert len(left(table, 0)) == 13
    store(table, 0, **{"00": 0})
    assert run(expiry, 2) == [1, 0]


def test_partitions_take_turns(table: SessionTable, outbox: RecordingOutbox) -> None:
    store(table, 0, a=0)
    store(table, 1, b=0, c=0)
    expiry = Expiry(table, outbox, DAY_MS)
    expiry.note(0, NOW_MS)
    expiry.note(1, NOW_MS)
    assert sorted(run(expiry, 2)) == [1, 2]
    assert [(one.partition, one.key) for one in outbox.delivered] == [(0, b"sa"), (1, b"sb"), (1, b"sc")]


def test_time_is_the_partitions_own(table: SessionTable, outbox: RecordingOutbox) -> None:
    store(table, 0, old=5)
    expiry = Expiry(table, outbox, DAY_MS)
    assert run(expiry) == [0]  # nothing was consumed yet, however late it is
    expiry.note(0, DAY_MS)
    assert run(expiry) == [0]
    expiry.note(0, DAY_MS + 6)
    assert run(expiry) == [1]


def test_other_partitions_after_a_new_assignment(table: SessionTable, outbox: RecordingOutbox) -> None:
    store(table, 0, old=0)
    expiry = Expiry(table, outbox, DAY_MS)
    expiry.note(0, NOW_MS)
    expiry.forget()
    assert run(expiry) == [0]
    assert left(table, 0) == [b"sold"]


def test_what_nobody_can_read_goes(table: SessionTable, outbox: RecordingOutbox) -> None:
    table.write(0, {b"sbad": b"\x07", b"sworse": b"\x01\x98\xa1\xff"}, 1)
    expiry = Expiry(table, outbox, DAY_MS)
    expiry.note(0, 0)
    assert run(expiry) == [2]
