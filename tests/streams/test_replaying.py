import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from streams.clickfile import ClickColumns
from streams.kafka import KafkaTimeoutError
from streams.replaying import (
    Sender,
    SendingError,
    Sent,
    TimedClick,
    at_rate,
    at_speed,
    recorded_clicks,
)

START_MS = 1_396_808_691_295


class Delivery:
    """What the producer gives back for a record: delivered at once, or failed."""

    is_done = True

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def get(self, timeout: float) -> None:
        if self._error is not None:
            raise self._error


class Recorder:
    """Stands where the producer stands and notes when each record came."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.records: list[tuple[float, bytes, dict[str, Any]]] = []
        self._fail_at = fail_at

    def send(self, topic: str, *, key: bytes, value: bytes) -> Delivery:
        self.records.append((time.monotonic(), key, json.loads(value)))
        failed = self._fail_at is not None and len(self.records) > self._fail_at
        return Delivery(KafkaTimeoutError("too late") if failed else None)

    def flush(self, timeout: float) -> None:
        pass


def clicks(n: int, step_ms: int = 1000) -> Iterator[TimedClick]:
    for number in range(n):
        yield START_MS + step_ms * number, f"s{number % 3}", f"i{number}"


def columns(times_ms: list[int]) -> ClickColumns:
    ids = np.array([f"x{n}" for n in range(len(times_ms))], dtype=object)
    return ClickColumns(ids, ids, np.array(times_ms, dtype=np.int64))


def test_recorded_clicks_keep_their_times_and_order() -> None:
    assert list(recorded_clicks(columns([START_MS, START_MS + 5]))) == [
        (START_MS, "x0", "x0"),
        (START_MS + 5, "x1", "x1"),
    ]


def test_recorded_clicks_can_be_moved_prefixed_and_cut() -> None:
    moved = recorded_clicks(columns([1000, 2000, 4000]), start_ms=START_MS, session_prefix="b-", limit=2)
    assert list(moved) == [(START_MS, "b-x0", "x0"), (START_MS + 1000, "b-x1", "x1")]


@pytest.mark.parametrize("start_ms", [None, 0, -(10**17)])
def test_times_before_2000_must_be_moved(start_ms: int | None) -> None:
    with pytest.raises(SendingError, match="before 2000 are rejected; move them: --start now"):
        recorded_clicks(columns([1000, 2000]), start_ms=start_ms)


def test_schedules() -> None:
    assert [at_rate(4.0)(n, 0) for n in (0, 1, 8)] == [0.0, 0.25, 2.0]
    due = at_speed(10.0, START_MS)
    assert [due(0, START_MS + ms) for ms in (0, 1000, 60_000)] == [0.0, 0.1, 6.0]


@pytest.mark.parametrize("rate", [50.0, 2_000.0])
def test_clicks_go_out_when_they_are_due(rate: float) -> None:
    recorder = Recorder()
    n_clicks = int(rate * 0.5)
    began = time.monotonic()  # the first record may come late on a busy machine
    sent = Sender(recorder, "clicks").run(clicks(n_clicks), at_rate(rate), threading.Event(), None)
    assert sent.n_clicks == n_clicks
    late = [when - began - n / rate for n, (when, _, _) in enumerate(recorder.records)]
    assert min(late) > -0.02
    assert sorted(late)[len(late) // 2] < 0.02  # in the median, whatever else the machine does


def test_a_click_carries_its_fields_and_its_session_as_the_key() -> None:
    recorder = Recorder()
    Sender(recorder, "clicks").run(clicks(1), None, threading.Event(), None)
    ((_, key, value),) = recorder.records
    assert key == b"s0"
    assert value == {"session_id": "s0", "item_id": "i0", "timestamp_ms": START_MS}


def test_the_kind_goes_along_where_the_file_has_one() -> None:
    plain = columns([START_MS, START_MS + 1])
    kinds = np.array(["view", "buy"], dtype=object)
    with_kinds = ClickColumns(plain.session_ids, plain.item_ids, plain.time_ms, kinds)
    recorder = Recorder()
    Sender(recorder, "clicks").run(recorded_clicks(with_kinds), None, threading.Event(), None)
    assert [value["kind"] for _, _, value in recorder.records] == ["view", "buy"]


def test_nobody_clicks_in_the_future() -> None:
    recorder = Recorder()
    before_ms = int(time.time() * 1000)
    Sender(recorder, "clicks").run([(2**45, "s", "i")], None, threading.Event(), None)
    assert before_ms <= recorder.records[0][2]["timestamp_ms"] <= int(time.time() * 1000)


def test_a_delivery_that_failed_is_not_passed_over() -> None:
    sender = Sender(Recorder(fail_at=3), "clicks")
    with pytest.raises(KafkaTimeoutError):
        sender.run(clicks(10), None, threading.Event(), None)
    assert sender.n_delivered == 3


def test_a_stop_ends_the_waiting_and_counts_what_went_out() -> None:
    recorder, stop = Recorder(), threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    sent = Sender(recorder, "clicks").run(clicks(5), at_speed(0.01, START_MS), stop, None)
    assert time.monotonic() - began < 2
    assert sent.stopped
    assert sent.n_clicks == len(recorder.records) == 1


def test_progress_is_reported_and_ends_with_the_whole() -> None:
    reports: list[Sent] = []
    Sender(Recorder(), "clicks").run(clicks(100), at_rate(200), threading.Event(), reports.append)
    assert reports[-1].n_clicks == 100
    assert 2 <= len(reports) <= 20
