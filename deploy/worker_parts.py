"""The parts of a worker, made from the settings and from what the cluster looks like."""

import dataclasses
from pathlib import Path

from deploy.settings import Settings
from streams.announcements import CANARY, PRODUCTION
from streams.canary_rule import Rule
from streams.fresh import FreshItems, FreshRules
from streams.kafka import KafkaConnection
from streams.keeper import CanaryAction, KeeperRules
from streams.metrics import WorkerMetrics
from streams.ranking import Ranking
from streams.recommender import AnswerClicks, Recommender, RepeatItems
from streams.serving import Serving
from streams.snapshot import Snapshot
from streams.topics import TopicError, require_append_time, require_topics
from streams.worker_config import WorkerConfig


def worker_config(settings: Settings, connection: KafkaConnection, name: str) -> WorkerConfig:
    """Look at the cluster: all topics there, and as many partitions as they need to share."""
    topics = settings.topics()
    needed = dataclasses.asdict(topics)
    del needed["quality"]  # statistics: sites from before there was this topic go on without
    states = require_topics(connection, *needed.values())
    require_append_time(connection, topics.clicks)
    clicks = states[topics.clicks]
    for other in (topics.recommendations, topics.sessions_changelog):
        if states[other].n_partitions != clicks.n_partitions:
            raise TopicError(
                f"topic {other} has {states[other].n_partitions} partitions, {topics.clicks} has"
                f" {clicks.n_partitions}, and they must be equal;"
                " stop all workers and run: nextclick sessions reset"
            )
    return WorkerConfig(
        connection=connection,
        topics=topics,
        group=settings.group,
        name=name,
        folder=worker_folder(settings, name),
        n_partitions=clicks.n_partitions,
        topic_id=str(clicks.topic_id),
        max_batch=settings.max_batch,
        session_expiry_ms=minutes_ms(settings.session_expiry_hours * 60),
        stop_wait_s=settings.stop_wait_seconds,
        drift_limits=settings.drift_limits(),
        drift_window_clicks=settings.drift_window_clicks,
    )


def worker_folder(settings: Settings, name: str) -> Path:
    """Where a worker keeps what is its own."""
    return settings.home.absolute() / "workers" / name


def serving_of(settings: Settings, config: WorkerConfig, metrics: WorkerMetrics) -> Serving:
    """What serves the snapshot announced as the settings' alias."""
    return Serving(
        config.connection,
        config.topics.snapshots,
        settings.alias,
        make_recommender=lambda snapshot: _recommender(settings, snapshot),
        last_good_file=config.folder / "last-good",
        metrics=metrics,
    )


def canary_of(settings: Settings, config: WorkerConfig, metrics: WorkerMetrics) -> Serving | None:
    """What serves a share of production's sessions; a worker of another alias has none."""
    if settings.alias != PRODUCTION or not settings.canary_share:
        return None
    return Serving(
        config.connection,
        config.topics.snapshots,
        CANARY,
        make_recommender=lambda snapshot: _recommender(settings, snapshot),
        last_good_file=None,
        metrics=metrics,
    )


def _recommender(settings: Settings, snapshot: Snapshot) -> Recommender:
    rules = FreshRules(settings.fresh_items, settings.fresh_min_sessions)
    return Recommender(
        snapshot,
        top_k=settings.top_k,
        repeat_items=RepeatItems(settings.repeat_items),
        ranking=Ranking(settings.ranking),
        answer_clicks=AnswerClicks(settings.answer),
        gap_ms=minutes_ms(settings.session_gap_minutes),
        fresh=FreshItems(snapshot, rules) if settings.fresh_items else None,
    )


def keeper_rules(settings: Settings) -> KeeperRules:
    """What live quality may lead to."""
    return KeeperRules(
        canary_action=CanaryAction(settings.canary_action),
        canary=Rule(enough_clicks=settings.canary_clicks),
        rolls_production_back=settings.production_action == "rollback",
    )


def minutes_ms(minutes: float) -> int:
    """Milliseconds of a setting in minutes."""
    return round(minutes * 60_000)
