"""A micro-batch before Kafka sees any of it: decoding, the bound on rebuilds, and isolating poison."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pytest

from streams.canary import Sides
from streams.events import MAX_VALUE_BYTES, Reason, Rejection
from streams.microbatch import (
    MAX_REBUILDS,
    Rejected,
    answer_or_isolate,
    decode_batch,
    first_beyond_rebuilds,
    rejection_record,
)
from streams.recommender import Answers, Arrival, Recommender, SessionRef
from streams.session import Session
from streams.steps import Step, ignore
from tests.tiny import tiny_snapshot

NOW_MS = 1_700_000_000_000
RECOMMENDER = Recommender(tiny_snapshot("v1"))
NEWER = Recommender(tiny_snapshot("v2", seed=2))


class Record(NamedTuple):
    """What a record is to the code under test."""

    key: bytes | None
    value: bytes | None
    partition: int = 0
    offset: int = 0
    timestamp: int = NOW_MS
    topic: str = "clicks"


def click(session_id: str, item_id: str, offset: int, partition: int = 0) -> Record:
    value = json.dumps({"session_id": session_id, "item_id": item_id}).encode()
    return Record(session_id.encode(), value, partition, offset)


def test_a_bad_record_becomes_a_rejection_and_the_rest_go_on() -> None:
    records = [click("s-1", "item-01", 5), Record(b"s-1", b"{", 1, 6), click("s-2", "item-02", 7, 1)]
    decoded = decode_batch(records)
    assert [(one.partition, one.offset, one.append_ms) for one in decoded.arrivals] == [
        (0, 5, NOW_MS),
        (1, 7, NOW_MS),
    ]
    assert decoded.rejected[0].record is records[1]
    assert decoded.rejected[0].rejection.reason is Reason.NOT_JSON


def sessions_of(n: int) -> dict[SessionRef, Session]:
    records = [click(f"s-{n}", "item-01", n) for n in range(n)]
    return RECOMMENDER.answer(decode_batch(records).arrivals, {}, created_ms=0).sessions


def stale(sessions: Mapping[SessionRef, Session], recommender: Recommender) -> set[SessionRef]:
    return Sides(recommender).stale(sessions)


def test_at_most_64_sessions_are_rebuilt_in_a_batch() -> None:
    assert MAX_REBUILDS == 64
    stored = sessions_of(70)
    again = [click(f"s-{n}", "item-02", 100 + n) for n in range(70)]
    twice = decode_batch([*again[:64], *again[:64], *again[64:]]).arrivals  # the same ones count once
    assert first_beyond_rebuilds(twice, stale(stored, NEWER)) == twice[128]
    assert first_beyond_rebuilds(twice[:128], stale(stored, NEWER)) is None
    assert first_beyond_rebuilds(twice, stale(stored, RECOMMENDER)) is None
    new = decode_batch([click(f"new-{n}", "item-02", n) for n in range(200)]).arrivals
    assert first_beyond_rebuilds(new, stale(stored, NEWER)) is None
    rebuilt = NEWER.answer(twice[:128], stored, created_ms=0)
    assert rebuilt.n_rebuilt == 64
    assert first_beyond_rebuilds(twice[64:], stale(stored | rebuilt.sessions, NEWER)) is None


class Poisoned(Recommender):
    """Raises wherever it meets one item; at whatever it is asked where that is None."""

    raises_at: str | None = "item-06"

    def answer(
        self,
        arrivals: Sequence[Arrival],
        sessions: Mapping[SessionRef, Session],
        *,
        created_ms: int,
        done: Callable[[Step], None] = ignore,
    ) -> Answers:
        if self.raises_at is None or any(one.click.item_id == self.raises_at for one in arrivals):
            raise ZeroDivisionError("by nothing")
        return super().answer(arrivals, sessions, created_ms=created_ms, done=done)


def test_only_the_click_that_raises_is_rejected(caplog: pytest.LogCaptureFixture) -> None:
    good = [click("s-1", "item-01", 0), click("s-2", "item-02", 1), click("s-1", "item-03", 3, 0)]
    records = [good[0], good[1], click("s-1", "item-06", 2), good[2], good[0], click("s-3", "item-06", 5, 1)]
    poisoned = Poisoned(tiny_snapshot("v1"))
    answers, poison = answer_or_isolate(poisoned, records, decode_batch(records).arrivals, {}, NOW_MS)
    expected = RECOMMENDER.answer(decode_batch(good).arrivals, {}, created_ms=NOW_MS)
    assert answers.sessions == expected.sessions
    assert answers.recommendations == expected.recommendations
    assert answers.n_replays == 1
    assert [one.record for one in poison] == [records[2], records[5]]
    assert [one.rejection for one in poison] == [
        Rejection(Reason.POISON, "ZeroDivisionError while it was answered")
    ] * 2
    assert "a batch of 6 clicks failed" in caplog.text


class Broken(Recommender):
    """Raises whatever it is asked."""

    def answer(
        self,
        arrivals: Sequence[Arrival],
        sessions: Mapping[SessionRef, Session],
        *,
        created_ms: int,
        done: Callable[[Step], None] = ignore,
    ) -> Answers:
        raise MemoryError


def test_a_broken_recommender_is_no_clicks_fault() -> None:
    records = [click("s-1", "item-01", 0), click("s-2", "item-02", 1)]
    with pytest.raises(MemoryError):
        answer_or_isolate(Broken(tiny_snapshot("v1")), records, decode_batch(records).arrivals, {}, NOW_MS)


def test_what_raises_nothing_is_answered_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    arrivals = decode_batch([click("s-1", "item-01", 0)]).arrivals
    answers, poison = answer_or_isolate(RECOMMENDER, [], arrivals, {}, NOW_MS)
    assert (answers, poison) == (RECOMMENDER.answer(arrivals, {}, created_ms=NOW_MS), [])
    assert not caplog.records


def test_sessions_rebuilt_one_by_one_are_counted() -> None:
    records = [*(click(f"s-{n}", "item-02", 100 + n) for n in range(3)), click("s-9", "item-06", 200)]
    newer = Poisoned(tiny_snapshot("v2", seed=2))
    answers, poison = answer_or_isolate(newer, records, decode_batch(records).arrivals, sessions_of(3), 0)
    assert (answers.n_rebuilt, len(poison)) == (3, 1)


def test_the_record_of_a_rejection() -> None:
    record = Record(b"s-1", b"{", 3, 1042, NOW_MS, "shop-clicks")
    outgoing = rejection_record("rejected-clicks", 0, Rejected(record, Rejection(Reason.NOT_JSON, "no é")))
    assert (outgoing.topic, outgoing.partition) == ("rejected-clicks", 0)
    assert (outgoing.key, outgoing.value) == (b"s-1", b"{")
    assert outgoing.headers == (
        ("reason", b"not-json"),
        ("detail", "no é".encode()),
        ("topic", b"shop-clicks"),
        ("partition", b"3"),
        ("offset", b"1042"),
        ("original_bytes", b"1"),
    )


def test_the_record_of_a_rejection_is_bounded() -> None:
    huge = Record(b"k" * 200_000, b"v" * 10_000_000)
    outgoing = rejection_record("r", 0, Rejected(huge, Rejection(Reason.RECORD_TOO_LARGE, "")))
    assert outgoing.value == b"v" * MAX_VALUE_BYTES
    assert outgoing.key == b"k" * MAX_VALUE_BYTES
    assert dict(outgoing.headers)["original_bytes"] == b"10000000"
    empty = rejection_record("r", 0, Rejected(Record(None, None), Rejection(Reason.NOT_JSON, "")))
    assert (empty.key, empty.value) == (None, None)
    assert dict(empty.headers)["original_bytes"] == b"0"
