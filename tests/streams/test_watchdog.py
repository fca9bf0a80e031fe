"""When a worker stands still: judged from observations alone."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from streams import watchdog as watchdog_module
from streams.endings import EXIT_STUCK
from streams.kafka import BrokerUnreachable, KafkaConnection
from streams.watchdog import StandstillJudge, Watchdog


def test_a_partition_that_does_not_move_while_clicks_wait() -> None:
    judge = StandstillJudge(patience_s=60)
    assert judge.observe(0, {0: 10, 1: 5}, {0: 20, 1: 5}) is None
    assert judge.observe(60, {0: 10, 1: 5}, {0: 30, 1: 5}) is None
    problem = judge.observe(61, {0: 10, 1: 5}, {0: 30, 1: 5})
    assert problem == "partition 0 has stood still for 61 s with 20 clicks waiting"


def test_one_partition_that_moves_does_not_excuse_another() -> None:
    judge = StandstillJudge(patience_s=60)
    for now_s in range(0, 60, 5):
        assert judge.observe(now_s, {0: now_s, 1: 7}, {0: 1000, 1: 8}) is None
    assert "partition 1" in str(judge.observe(65, {0: 65, 1: 7}, {0: 1000, 1: 8}))


@pytest.mark.parametrize(
    ("committed", "end"), [(10, 10), (0, 0), (12, 10)], ids=["all done", "empty", "recreated topic"]
)
def test_nothing_waits(committed: int, end: int) -> None:
    judge = StandstillJudge(patience_s=60)
    for now_s in range(0, 1000, 100):
        assert judge.observe(now_s, {0: committed}, {0: end}) is None
    assert judge.observe(1000, {0: committed}, {0: committed + 1}) is None  # the first one to wait


def test_a_step_back_is_a_move_too() -> None:
    judge = StandstillJudge(patience_s=60)
    assert judge.observe(0, {0: 10}, {0: 20}) is None
    assert judge.observe(50, {0: 5}, {0: 20}) is None
    assert judge.observe(110, {0: 5}, {0: 20}) is None
    assert judge.observe(111, {0: 5}, {0: 20}) is not None


def test_a_partition_that_went_and_came_back_is_judged_anew() -> None:
    judge = StandstillJudge(patience_s=60)
    assert judge.observe(0, {0: 10, 1: 1}, {0: 20, 1: 2}) is None
    assert judge.observe(50, {1: 2}, {1: 2}) is None
    assert judge.observe(100, {0: 10, 1: 2}, {0: 20, 1: 2}) is None


def test_after_forgetting_patience_begins_anew() -> None:
    judge = StandstillJudge(patience_s=60)
    assert judge.observe(0, {0: 10}, {0: 20}) is None
    judge.forget()
    assert judge.observe(61, {0: 10}, {0: 20}) is None
    assert judge.observe(122, {0: 10}, {0: 20}) is not None


LOOKS = 12
"""So many that a patience of four has run out twice."""


def watch(
    monkeypatch: pytest.MonkeyPatch,
    *,
    broker: bool = True,
    committed: int = 10,
    topic_ids: Iterable[str] = (),
    clicks_wait: bool = True,
    assigned: Callable[[], set[int] | None] = lambda: {0},
    recovered: Callable[[], int] = lambda: 0,
) -> list[int]:
    """Run a watchdog of 20 ms of patience until it ends or has looked often; give the codes it ended with."""
    ended: list[int] = []
    looks, ids = itertools.count(1), iter(topic_ids)
    done = threading.Event()

    def end(code: int) -> None:
        ended.append(code)
        done.set()

    def look() -> set[int] | None:
        if next(looks) > LOOKS:  # the looks before this one have been judged
            done.set()
        return assigned()

    def ask_broker(*_: Any) -> tuple[str, dict[int, int], dict[int, int]]:
        if not broker:
            raise BrokerUnreachable("nobody there")
        return next(ids, "id-1"), {0: committed}, {0: 20}

    monkeypatch.setattr(Watchdog, "_ask_broker", ask_broker)
    monkeypatch.setattr(Watchdog, "_broker_answers", lambda _: broker)
    monkeypatch.setattr(Watchdog, "_clicks_wait", lambda *_: clicks_wait)
    dog = Watchdog(
        KafkaConnection("nowhere:1"),
        "nextclick",
        "clicks",
        "id-1",
        patience_s=0.02,
        recovery_patience_s=0.02,
        end=end,
        assigned=look,
        recovered=recovered,
    )
    dog.start()
    assert done.wait(60)
    dog.stop()
    dog._thread.join()
    return ended


def test_it_ends_a_worker_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch(monkeypatch)[0] == EXIT_STUCK


def test_it_lets_a_worker_be_that_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch(monkeypatch, committed=20) == []


def test_it_lets_a_worker_be_where_only_a_marker_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch(monkeypatch, clicks_wait=False) == []


def test_it_ends_a_worker_whose_topic_was_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch(monkeypatch, committed=20, topic_ids=itertools.repeat("id-2"))[0] == EXIT_STUCK


def test_one_answer_about_another_topic_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch(monkeypatch, committed=20, topic_ids=["id-1", "", "id-1", "id-1", "id-2", "id-1"]) == []


def test_it_goes_on_where_the_worker_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count(1)

    def changing() -> set[int] | None:
        if next(looks) % 3 == 0:
            raise RuntimeError("dictionary changed size during iteration")
        return {0}

    assert watch(monkeypatch, assigned=changing)[0] == EXIT_STUCK


def test_it_ends_a_recovery_that_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watch(monkeypatch, assigned=lambda: None)[0] == EXIT_STUCK


def test_a_recovery_that_goes_on_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    growing = iter(range(10**9))
    assert watch(monkeypatch, assigned=lambda: None, recovered=lambda: next(growing)) == []


@pytest.mark.parametrize("assigned", [None, {0}])
def test_a_process_that_was_stopped_for_a_while_is_not_stuck(
    monkeypatch: pytest.MonkeyPatch, assigned: set[int] | None
) -> None:
    monkeypatch.setattr(watchdog_module, "PAUSE_S", 0.01)

    def slowly() -> set[int] | None:
        time.sleep(0.03)  # every check comes late
        return assigned

    assert watch(monkeypatch, assigned=slowly) == []


@pytest.mark.parametrize("assigned", [None, {0}])
def test_a_broker_that_is_away_is_no_fault_of_the_worker(
    monkeypatch: pytest.MonkeyPatch, assigned: set[int] | None
) -> None:
    assert watch(monkeypatch, broker=False, assigned=lambda: assigned) == []
