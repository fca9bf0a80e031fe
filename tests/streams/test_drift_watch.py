"""A worker's watch over drift: what it counts, and when it says so."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from model.vocabulary import Vocabulary
from streams.drift import DriftLimits, Figure, counts_of_clicks
from streams.drift_watch import DriftMonitor, DriftWatch
from streams.events import ClickRef, Recommendation, ScoredItem
from streams.fresh import Items
from streams.manifest import Provenance
from streams.metrics import WorkerMetrics
from streams.quality import LiveQuality
from streams.recommender import Answers
from streams.session import SessionItem
from streams.shoppers import Habits, drifting
from streams.snapshot import Snapshot
from tests.streams.test_drift import shoppers
from tests.tiny import ITEMS, tiny_snapshot

WINDOW = 2_000


def folded(item_ids: list[str]) -> Iterator[Items]:
    return ((SessionItem(item_id, None, 0),) for item_id in item_ids)


def answers(scores: list[float], version: str = "v1", source: str = "model") -> list[Recommendation]:
    click = ClickRef(0, 0, "a", 0, None)
    return [
        Recommendation(
            session_id="s",
            snapshot=version,
            source="model" if source == "model" else "popular",
            created_ms=0,
            click=click,
            items=[ScoredItem("a", score)],
        )
        for score in scores
    ]


def watched(vocabulary: Vocabulary, item_ids: list[str]) -> dict[Figure, float]:
    watch = DriftWatch("v1", vocabulary, WINDOW)
    for begin in range(0, len(item_ids), 37):
        watch.note(folded(item_ids[begin : begin + 37]), [])
    return watch.figures()


@pytest.mark.parametrize(("habits", "alarm"), [(Habits(), []), (drifting(Habits(), 400_000), ["popularity"])])
def test_the_newest_clicks_are_compared_with_what_the_snapshot_was_made_of(
    habits: Habits, alarm: list[str]
) -> None:
    vocabulary, later = shoppers(2, habits)
    item_ids = later.item_ids.tolist()
    figures = watched(vocabulary, item_ids)
    assert DriftLimits().crossed(figures) == alarm
    of_newest = counts_of_clicks(vocabulary, item_ids[-2 * WINDOW :]).figures()
    assert figures[Figure.POPULARITY] == pytest.approx(of_newest[Figure.POPULARITY], abs=0.1)


def test_what_is_long_past_is_forgotten() -> None:
    vocabulary, _ = shoppers(1)
    known = [vocabulary.item_id(0)] * 10_000
    assert watched(vocabulary, ["new"] * 10_000 + known)[Figure.UNKNOWN] < 0.01
    assert watched(vocabulary, known + ["new"] * 10_000)[Figure.UNKNOWN] > 0.99


def test_of_few_clicks_nothing_is_said() -> None:
    vocabulary, later = shoppers(1)
    assert watched(vocabulary, later.item_ids[:999].tolist()) == {}
    assert watched(vocabulary, later.item_ids[:1_000].tolist()) != {}


@pytest.mark.parametrize(("shift", "alarm"), [(0.0, False), (1.5, True), (-1.5, True)])
def test_scores_are_compared_with_those_of_the_second_window(shift: float, alarm: bool) -> None:
    random = np.random.default_rng(0)
    watch = DriftWatch("v1", Vocabulary(["a"], np.array([1])), 1_000)
    for number in range(80):
        mean = 100.0 if number < 10 else 5.0 if number < 25 else 5.0 + shift
        scores = random.normal(mean, 1.0, 100).tolist()
        watch.note(folded(["a"] * 100), answers(scores))
        watch.note([], answers([1e6], version="v2") + answers([1e6], source="popular"))
    assert (watch.figures()[Figure.SCORES] > DriftLimits().scores) is alarm


def test_a_falling_hit_rate_is_the_share_that_is_missing() -> None:
    watch = DriftWatch("v1", Vocabulary(["a"], np.array([1])), 1_000)
    watch.note_hits(5_000, 5_000)  # in the first window of clicks: not counted
    watch.note(folded(["a"] * 1_500), [])
    watch.figures()
    watch.note_hits(1_000, 400)
    assert Figure.QUALITY not in watch.figures()
    for _ in range(100):
        watch.note_hits(100, 30)
    assert watch.figures()[Figure.QUALITY] == pytest.approx(0.25)
    for _ in range(100):
        watch.note_hits(100, 60)
    assert watch.figures()[Figure.QUALITY] == 0.0


def batch(item_ids: list[str]) -> Answers:
    return Answers({}, [], len(item_ids), 0, 0, tuple(folded(item_ids)))


def test_a_crossed_limit_is_a_metric_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    metrics = WorkerMetrics()
    monitor = DriftMonitor(DriftLimits(), WINDOW, metrics, LiveQuality())
    now_s = 0.0

    def read(name: str, figure: str) -> float | None:
        return metrics.registry.get_sample_value(f"nextclick_{name}", {"figure": figure})

    def serve(version: str, item_ids: list[str]) -> None:
        nonlocal now_s
        for _ in range(20):
            monitor.note(tiny_snapshot(version), batch(item_ids * 10))
            now_s += 10
            monitor.tell(now_s)

    usual = [item_id for n, item_id in enumerate(ITEMS) for _ in range(12 - n)]  # as the snapshot counts
    with caplog.at_level(logging.WARNING):
        serve("v1", usual)
        assert caplog.messages == []
        serve("v1", [*usual, *["new"] * 26])
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("drift: many clicks are on items that the snapshot does not know (")
    assert read("drift_alarms_total", "unknown") == 1
    assert read("drift_alarm", "unknown") == 1
    assert read("drift", "unknown") == pytest.approx(0.25, abs=0.01)
    assert read("drift_alarm", "popularity") == 0
    serve("v2", usual)
    assert read("drift_alarm", "unknown") == 0
    assert read("drift", "unknown") == 0


def test_hits_are_read_from_what_live_quality_counts() -> None:
    metrics = WorkerMetrics()
    monitor = DriftMonitor(DriftLimits(), 1_000, metrics, LiveQuality())
    metrics.compared.labels("v1").inc(10_000)  # of an earlier time under the same snapshot
    metrics.hits.labels("v1").inc(10_000)
    now_s = 0.0
    for n_hits in [0] * 8 + [40] * 30 + [10] * 60:
        monitor.note(tiny_snapshot("v1"), batch(list(ITEMS) * 10))
        metrics.compared.labels("v1").inc(100)
        metrics.hits.labels("v1").inc(n_hits)
        metrics.hits.labels("v2").inc(100)
        now_s += 10
        monitor.tell(now_s)
    found = metrics.registry.get_sample_value("nextclick_drift", {"figure": "quality"})
    assert found == pytest.approx(0.75, abs=0.1)
    assert metrics.registry.get_sample_value("nextclick_drift_alarm", {"figure": "quality"}) == 1


def refresh(version: str, parent: str) -> Snapshot:
    made = tiny_snapshot(version)
    provenance = Provenance(parent=parent, kind="refresh")
    return replace(made, manifest=msgspec.structs.replace(made.manifest, provenance=provenance))


def served(refreshes: list[Snapshot], n_hits: list[int]) -> tuple[WorkerMetrics, LiveQuality]:
    """Serve snapshots one after the other, 2,000 clicks each; hits are of a hundred."""
    metrics, quality = WorkerMetrics(), LiveQuality()
    monitor = DriftMonitor(DriftLimits(), 1_500, metrics, quality)
    now_s = 0.0
    for snapshot, hits in zip(refreshes, n_hits, strict=True):
        for _ in range(20):
            scored = answers([float(hits)] * 5 + [float(n) for n in range(95)], snapshot.version)
            clicks = batch([*list(ITEMS) * 8, *["new"] * 4])
            monitor.note(snapshot, clicks._replace(recommendations=scored))
            metrics.compared.labels(snapshot.version).inc(100)
            metrics.hits.labels(snapshot.version).inc(hits)
            now_s += 10
            monitor.tell(now_s)
    return metrics, quality


def test_what_is_usual_stays_while_the_snapshot_is_refreshed() -> None:
    chain = [tiny_snapshot("v0"), *(refresh(f"v{n}", f"v{n - 1}") for n in range(1, 8))]
    metrics, quality = served(chain, [40] * 4 + [20] * 4)

    def read(name: str, figure: str) -> float | None:
        return metrics.registry.get_sample_value(f"nextclick_{name}", {"figure": figure})

    assert read("drift", "quality") == pytest.approx(0.5, abs=0.05)
    assert read("drift_alarm", "quality") == 1
    assert read("drift_alarms_total", "quality") == 1
    told = quality.drift_from("v7")
    assert told.keys() == {"popularity", "unknown", "scores", "quality"}
    assert told["quality"] == pytest.approx(0.5, abs=0.05)
    assert told["unknown"] == pytest.approx(0.04)
    assert quality.drift_from("v6") == {}


def test_another_snapshot_begins_everything_anew() -> None:
    chain = [tiny_snapshot("v0"), *(refresh(f"v{n}", f"v{n - 1}") for n in range(1, 8)), refresh("v9", "v8")]
    metrics, quality = served(chain, [40] * 4 + [20] * 5)
    assert quality.drift_from("v9").keys() == {"popularity", "unknown"}
    assert metrics.registry.get_sample_value("nextclick_drift_alarm", {"figure": "quality"}) == 0


def test_clicks_are_counted_beside_the_newest_vocabulary() -> None:
    watch = DriftWatch("v1", Vocabulary(["a"], np.array([10])), WINDOW)
    watch.note(folded(["b"] * 1_500), [])
    assert watch.figures()[Figure.UNKNOWN] == 1.0
    watch.go_on_with("v2", Vocabulary(["a", "b"], np.array([10, 10])))
    assert watch.figures() == {}
    watch.note(folded(["b"] * 1_500), [])
    assert watch.figures()[Figure.UNKNOWN] == 0.0
