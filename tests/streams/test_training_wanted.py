"""When drift makes a trainer train from the start before that is due."""

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from streams.announcements import PRODUCTION, Announcement, announce
from streams.drift import HEAD, ClickCounts, DriftLimits, Figure
from streams.kafka import open_producer
from streams.manifest import Verdict
from streams.quality import QualityRecord, encode_quality
from streams.training_report import Kind, NothingNew, Published
from streams.training_wanted import (
    ASK_EVERY_S,
    TOLD_WITHIN_MS,
    TrainingWanted,
    mean_of_workers,
    told_by_workers,
)
from tests.conftest import FreshTopics

NOW_MS = 1_700_000_000_000
FULL = Published(
    version="v2",
    location="/snapshots/v2",
    kind=Kind.FULL,
    n_clicks=5_000,
    n_sessions=900,
    n_items=100,
    metrics={},
    metrics_of="",
    verdict=Verdict(accepted=True),
    announced=True,
    pinned_to=None,
    replaced_by=None,
    deleted=(),
    seconds=5.0,
)


def refreshed(unknown: float, n_clicks: int = 5_000, *, shifted: bool = False) -> Published:
    """With clicks on one item that the snapshot knows best, or on one that it hardly knew."""
    expected, found = np.zeros(HEAD + 2), np.zeros(HEAD + 2)
    expected[:2] = 99_000, 1_000
    found[[1 if shifted else 0, -1]] = n_clicks * (1 - unknown), n_clicks * unknown
    return replace(FULL, kind=Kind.REFRESH, drift=ClickCounts(expected, found))


def silent() -> Mapping[Figure, float]:
    return {}


def test_a_crossed_limit_asks_for_a_full_training_once() -> None:
    wanted = TrainingWanted(DriftLimits(), silent)
    outcomes = [
        refreshed(0.02),
        refreshed(0.2),
        refreshed(0.3),  # the full training is on its way
        FULL,
        refreshed(0.2),
        refreshed(0.02),
        refreshed(0.2, shifted=True),
    ]
    told = [wanted.by_round(outcome) for outcome in outcomes]
    assert (
        told[1]
        == "many clicks are on items that the snapshot does not know (unknown is 0.200, the limit 0.1)"
    )
    assert [why is None for why in told] == [True, False, True, True, True, True, False]
    assert told[-1] is not None
    assert told[-1].count(";") == 1


def test_without_a_snapshot_nothing_is_asked_for() -> None:
    wanted = TrainingWanted(DriftLimits(), silent)
    assert wanted.by_round(None) is None
    assert wanted.by_round(NothingNew(10, 400, 60)) is None


def test_a_small_shop_s_refreshes_are_summed_until_they_tell_something() -> None:
    wanted = TrainingWanted(DriftLimits(), silent)
    assert wanted.by_round(refreshed(0.02, 500)) is None
    again = refreshed(0.2, 450)
    assert wanted.by_round(replace(again, announced=False)) is None  # its clicks come with the next one
    assert wanted.by_round(again) is None
    why = wanted.by_round(refreshed(0.2, 500))
    assert why is not None
    assert "unknown is 0.138" in why  # of 1,450 clicks
    assert wanted.by_round(refreshed(0.0, 900)) is None
    assert wanted.by_round(FULL) is None  # a full training begins anew
    assert wanted.by_round(refreshed(0.0, 900)) is None
    assert wanted.by_round(refreshed(0.5, 900)) is None  # not calmed down yet


def test_workers_are_asked_now_and_then_and_heard_once() -> None:
    told: list[Mapping[Figure, float]] = [{Figure.QUALITY: 0.1}, {Figure.QUALITY: 0.3}, {Figure.QUALITY: 0.3}]
    wanted = TrainingWanted(DriftLimits(), lambda: told.pop(0))
    found = [wanted.by_workers(at_s) for at_s in (0.0, 1.0, ASK_EVERY_S, 2 * ASK_EVERY_S)]
    assert [why is None for why in found] == [True, True, False, True]
    assert (
        found[2]
        == "fewer clicks are on what was recommended than there were (quality is 0.300, the limit 0.2)"
    )
    assert told == []


def test_workers_that_cannot_be_asked_hinder_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def away() -> Mapping[Figure, float]:
        raise OSError("no broker")

    wanted = TrainingWanted(DriftLimits(), away)
    assert [wanted.by_workers(n * ASK_EVERY_S) for n in range(3)] == [None, None, None]
    assert caplog.messages == [
        "what workers tell of drift cannot be read, rounds go on as planned: no broker"
    ]


def window(worker: str, to_ms: int, clicks: int, version: str = "v1", **drift: float) -> QualityRecord:
    at_ms = NOW_MS + to_ms
    return QualityRecord("g", worker, version, at_ms - 5_000, at_ms, clicks, 0, 0.0, 0.0, drift=drift)


def test_each_worker_counts_by_its_clicks_with_its_newest_figures() -> None:
    windows = [
        window("w1", 0, 100, scores=9.0, quality=0.5),
        window("w1", 5_000, 200, scores=0.1, quality=0.2),
        window("w2", 5_000, 100, scores=0.5),
        window("w3", 5_000, 100),
    ]
    assert mean_of_workers(windows) == {
        Figure.SCORES: pytest.approx((300 * 0.1 + 100 * 0.5) / 400),
        Figure.QUALITY: 0.2,
    }
    assert mean_of_workers([]) == {}


def test_what_workers_tell_of_the_announced_snapshot_is_read_from_the_topic(topics: FreshTopics) -> None:
    connection, names, now_ms = topics.connection, topics.names, int(time.time() * 1000)

    def tell(version: str, ago_ms: int, **drift: float) -> None:
        record = window("w1", now_ms - ago_ms - NOW_MS, 50, version, **drift)
        with open_producer(connection) as producer:
            at_ms = now_ms - ago_ms
            value = encode_quality(record)
            producer.send(names.quality, key=version.encode(), value=value, timestamp_ms=at_ms).get(10)

    assert told_by_workers(connection, names, PRODUCTION, now_ms) == {}
    announce(connection, names.snapshots, PRODUCTION, Announcement("v2", "/snapshots/v2", "0"))
    tell("v2", TOLD_WITHIN_MS + 60_000, quality=0.9)
    assert told_by_workers(connection, names, PRODUCTION, now_ms) == {}
    tell("v2", 60_000, quality=0.3, scores=0.05)
    tell("v1", 1_000, quality=0.9)
    expected = {Figure.QUALITY: 0.3, Figure.SCORES: 0.05}
    assert told_by_workers(connection, names, PRODUCTION, now_ms) == expected
    assert told_by_workers(connection, replace(names, quality="never-made"), PRODUCTION, now_ms) == {}
