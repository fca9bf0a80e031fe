"""What workers tell of live quality, and what the keeper announces, on real Kafka."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from streams.announcements import CANARY, PRODUCTION, Announcement, announce, read_current
from streams.kafka import KafkaConnection, TopicPartition, open_consumer, open_producer
from streams.keeper import CanaryAction, Keeper, KeeperRules
from streams.live_figures import BEFORE_MS, HORIZON_MS, LiveFigures
from streams.metrics import WorkerMetrics
from streams.quality import LiveQuality, QualityRecord, decode_quality, encode_quality
from streams.quality_watch import QualityWatch, Reporter
from streams.snapshot import Provenance, Snapshot, save_snapshot
from streams.topics import TopicNames
from tests.conftest import FreshTopics
from tests.streams.test_quality import answer
from tests.tiny import tiny_parts


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> list[Snapshot]:
    folder = str(tmp_path_factory.mktemp("snapshots"))
    return [
        save_snapshot(folder, *tiny_parts(seed), Provenance(), created_ms=1_700_000_000_000 + seed * 60_000)
        for seed in range(3)
    ]


def now_ms() -> int:
    return int(time.time() * 1000)


def say(
    topics: FreshTopics, alias: str, snapshot: Snapshot, before: Snapshot | None = None, *, ago_ms: int = 0
) -> None:
    previous = None if before is None else before.version
    announcement = Announcement(
        snapshot.version,
        snapshot.location,
        snapshot.manifest_sha256,
        previous=previous,
        announced_ms=now_ms() - ago_ms,
    )
    announce(topics.connection, topics.names.snapshots, alias, announcement)


def tell(topics: FreshTopics, snapshot: Snapshot, clicks: int, hits: int, *, ago_ms: int = 0) -> None:
    """Write a window as a worker does."""
    at_ms = now_ms() - ago_ms
    record = QualityRecord(
        "g", "w1", snapshot.version, at_ms - 5_000, at_ms, clicks, hits, hits / 2, hits / 4
    )
    with open_producer(topics.connection) as producer:
        value = encode_quality(record)
        producer.send(topics.names.quality, key=b"x", value=value, timestamp_ms=at_ms).get(10)


def keeper_of(topics: FreshTopics, figures: LiveFigures, action: CanaryAction) -> Keeper:
    return Keeper(topics.connection, topics.names, figures, KeeperRules(canary_action=action))


@pytest.fixture
def figures(topics: FreshTopics) -> LiveFigures:
    return LiveFigures(topics.connection, topics.names, 1, now_ms=now_ms())


def announced(topics: FreshTopics) -> dict[str, str]:
    current = read_current(topics.connection, topics.names.snapshots)
    return {alias: one.version + (" pinned" if one.pinned else "") for alias, one in current.items()}


def test_a_bad_canary_is_given_back_and_the_next_one_begins_anew(
    topics: FreshTopics, figures: LiveFigures, published: list[Snapshot]
) -> None:
    good, bad, fine = published
    keeper = keeper_of(topics, figures, CanaryAction.ROLLBACK)
    assert keeper.look(now_ms()) == []  # nothing is announced
    say(topics, PRODUCTION, good)
    tell(topics, good, 5_000, 5_000, ago_ms=60_000)  # before the canary: not counted
    say(topics, CANARY, bad)
    tell(topics, good, 500, 250)
    tell(topics, bad, 40, 1)
    assert keeper.look(now_ms()) == []
    tell(topics, bad, 40, 1)
    (decision,) = keeper.look(now_ms())
    assert decision.reason == (
        f"{bad.version} is worse: hit rate 0.025 and MRR 0.013 of 80 clicks, against 0.500 and 0.250 of 500"
    )
    assert announced(topics) == {PRODUCTION: good.version}
    assert keeper.look(now_ms()) == []
    assert figures.reasons[CANARY] == decision.reason
    say(topics, CANARY, fine)
    tell(topics, fine, 80, 40)
    tell(topics, good, 500, 250)
    assert keeper.look(now_ms()) == []
    comparison = figures.comparisons[CANARY]
    assert (comparison.first.clicks, comparison.second.clicks) == (80, 500)
    with LiveFigures(topics.connection, topics.names, 1, now_ms=now_ms()) as another:  # it sees the same
        assert another.read(now_ms())[CANARY].first == comparison.first
        assert another.served_since(now_ms() - 50_000) == {good.version, bad.version, fine.version}
    figures.close()


def test_a_canary_is_judged_by_all_of_its_clicks_while_production_is_refreshed(
    topics: FreshTopics, figures: LiveFigures, published: list[Snapshot]
) -> None:
    first, canary, refreshed = published
    keeper = keeper_of(topics, figures, CanaryAction.ROLLBACK)
    say(topics, PRODUCTION, first, ago_ms=900_000)
    say(topics, CANARY, canary, ago_ms=600_000)
    tell(topics, first, 500, 250, ago_ms=400_000)
    tell(topics, canary, 40, 1, ago_ms=400_000)
    assert keeper.look(now_ms()) == []
    say(topics, PRODUCTION, refreshed, before=first, ago_ms=300_000)
    assert keeper.look(now_ms()) == []
    tell(topics, refreshed, 500, 250)
    tell(topics, canary, 40, 1)
    with LiveFigures(topics.connection, topics.names, 1, now_ms=now_ms()) as another:
        seen_anew = another.read(now_ms())[CANARY]
    (decision,) = keeper.look(now_ms())
    assert decision.reason == (
        f"{canary.version} is worse: hit rate 0.025 and MRR 0.013 of 80 clicks,"
        " against 0.500 and 0.250 of 1,000"
    )
    assert (seen_anew.first.clicks, seen_anew.second.clicks) == (80, 1_000)
    assert announced(topics) == {PRODUCTION: refreshed.version}
    figures.close()


def test_windows_of_more_than_six_hours_ago_leave_the_sums(
    topics: FreshTopics, figures: LiveFigures, published: list[Snapshot]
) -> None:
    production, canary, _ = published
    say(topics, PRODUCTION, production, ago_ms=HORIZON_MS)
    say(topics, CANARY, canary, ago_ms=HORIZON_MS)
    for ago_ms in (5 * 3_600_000, 60_000):
        tell(topics, production, 500, 250, ago_ms=ago_ms)
        tell(topics, canary, 40, 20, ago_ms=ago_ms)
    keeper = keeper_of(topics, figures, CanaryAction.ROLLBACK)
    assert keeper.look(now_ms()) == []
    assert figures.comparisons[CANARY].first.clicks == 80
    assert keeper.look(now_ms() + 2 * 3_600_000) == []
    assert figures.comparisons[CANARY].first.clicks == 40
    figures.close()


def test_a_good_canary_is_promoted_where_that_is_asked_for(
    topics: FreshTopics, figures: LiveFigures, published: list[Snapshot]
) -> None:
    old, new, _ = published
    say(topics, PRODUCTION, old)
    say(topics, CANARY, new)
    tell(topics, old, 18_000, 9_000)
    tell(topics, new, 2_000, 1_400)
    assert keeper_of(topics, figures, CanaryAction.ROLLBACK).look(now_ms()) == []
    decisions = keeper_of(topics, figures, CanaryAction.PROMOTE).look(now_ms())
    assert [one.alias for one in decisions] == [PRODUCTION, CANARY]
    assert announced(topics) == {PRODUCTION: new.version}
    assert read_current(topics.connection, topics.names.snapshots)[PRODUCTION].previous == old.version
    figures.close()


def test_a_production_that_collapses_is_rolled_back_once_and_trainers_go_on(
    topics: FreshTopics, figures: LiveFigures, published: list[Snapshot]
) -> None:
    _, old, new = published
    keeper = keeper_of(topics, figures, CanaryAction.ROLLBACK)
    say(topics, PRODUCTION, new, before=old, ago_ms=120_000)
    tell(topics, old, 9_000, 100, ago_ms=BEFORE_MS + 600_000)  # too long ago
    tell(topics, old, 9_000, 4_500, ago_ms=300_000)
    tell(topics, new, 600, 180, ago_ms=60_000)  # two fifths less: that may be the shop
    assert keeper.look(now_ms()) == []
    tell(topics, new, 1_800, 0)
    (decision,) = keeper.look(now_ms())
    assert "hit rate 0.075" in str(decision)
    assert announced(topics) == {PRODUCTION: old.version}  # a trainer's next one may follow
    tell(topics, old, 5_000, 0)  # it is no better: the shop has changed, and going further back is no help
    assert keeper.look(now_ms()) == []
    assert announced(topics) == {PRODUCTION: old.version}
    figures.close()


def test_a_collapse_with_nothing_to_return_to_is_told_once(
    topics: FreshTopics,
    figures: LiveFigures,
    published: list[Snapshot],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    only = save_snapshot(str(tmp_path), *tiny_parts(3), Provenance(), created_ms=1_700_000_300_000)
    say(topics, PRODUCTION, only, before=published[0], ago_ms=60_000)
    tell(topics, published[0], 9_000, 4_500, ago_ms=120_000)
    tell(topics, only, 1_000, 0)
    keeper = keeper_of(topics, figures, CanaryAction.ROLLBACK)
    assert keeper.look(now_ms()) == keeper.look(now_ms()) == []
    assert caplog.text.count("and stays: there is none before it to return to") == 1
    assert announced(topics) == {PRODUCTION: only.version}
    figures.close()


def test_what_somebody_announced_meanwhile_counts(
    topics: FreshTopics, figures: LiveFigures, published: list[Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad, other = published
    say(topics, PRODUCTION, good)
    say(topics, CANARY, bad)
    tell(topics, good, 500, 250)
    tell(topics, bad, 80, 1)
    keeper = keeper_of(topics, figures, CanaryAction.ROLLBACK)
    read = figures.read

    def read_and_be_overtaken(at_ms: int) -> object:
        found = read(at_ms)
        say(topics, CANARY, other)
        return found

    monkeypatch.setattr(figures, "read", read_and_be_overtaken)
    assert keeper.look(now_ms()) == []
    assert announced(topics)[CANARY] == other.version
    figures.close()


def make_watch(
    connection: KafkaConnection, names: TopicNames, quality: LiveQuality, metrics: WorkerMetrics
) -> QualityWatch:
    return QualityWatch(
        connection, names, Reporter("g", "w1"), quality, metrics, KeeperRules(), lambda: True, every_s=0.2
    )


def count_one_hit(quality: LiveQuality) -> None:
    quality.note([answer("s", "a", ["x", "b"]), answer("s", "b", [])])


def value(metrics: WorkerMetrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"nextclick_quality_{name}_total", {"version": "v1"})


def test_counts_are_told_to_the_metrics_and_the_topic(topics: FreshTopics) -> None:
    quality, metrics = LiveQuality(), WorkerMetrics()
    running = make_watch(topics.connection, topics.names, quality, metrics)
    running.start()
    count_one_hit(quality)
    with open_consumer(topics.connection) as consumer:
        partition = TopicPartition(topics.names.quality, 0)
        consumer.assign([partition])
        consumer.seek_to_beginning(partition)
        (records,) = consumer.poll(timeout_ms=20_000).values()
    running.stop()
    found = decode_quality(records[0].value)
    assert found is not None
    assert (found.group, found.worker, found.snapshot) == ("g", "w1", "v1")
    assert (found.clicks, found.hits, found.reciprocal_ranks) == (1, 1, 0.5)
    assert found.from_ms < found.to_ms <= now_ms()
    assert [value(metrics, name) for name in ("clicks", "hits", "reciprocal_ranks")] == [1, 1, 0.5]


def test_without_the_topic_counts_go_to_the_metrics_alone(
    topics: FreshTopics, caplog: pytest.LogCaptureFixture
) -> None:
    quality, metrics = LiveQuality(), WorkerMetrics()
    running = make_watch(topics.connection, replace(topics.names, quality="never-made"), quality, metrics)
    running.start()
    count_one_hit(quality)
    deadline = time.monotonic() + 20
    while "is absent: live quality is counted and not told" not in caplog.text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.stop()
    assert value(metrics, "clicks") == 1
    assert len(caplog.messages) == 1


def test_a_broker_that_is_away_stops_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.quality_watch.CONNECT_TIMEOUT_MS", 200)
    quality, metrics = LiveQuality(), WorkerMetrics()
    running = make_watch(KafkaConnection("127.0.0.1:1"), TopicNames(), quality, metrics)
    count_one_hit(quality)
    running._turn()
    count_one_hit(quality)
    running._turn()
    assert value(metrics, "clicks") == 3  # the click on a after b, too
    assert caplog.text.count("live quality is not told until Kafka takes it") == 1


def test_series_of_old_versions_are_dropped() -> None:
    quality, metrics = LiveQuality(), WorkerMetrics()
    running = make_watch(KafkaConnection("nowhere:1"), TopicNames(), quality, metrics)
    for n in range(1, 11):
        quality.note([answer("s", "a", ["b"], snapshot=f"v{n}"), answer("s", "b", [], snapshot=f"v{n}")])
        running._show(quality.take())
        quality.forget()
    versions = {
        sample.labels["version"] for family in metrics.compared.collect() for sample in family.samples
    }
    assert versions == {f"v{n}" for n in range(3, 11)}
