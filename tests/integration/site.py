"""A site of one's own on a cluster: unique topics and group, a folder, workers, snapshots to announce."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deploy.broker import LocalKafka
from index.build import build_index
from model.encoder import EncoderConfig, SessionEncoder
from model.vocabulary import Vocabulary
from streams.announcements import Announcement, announce
from streams.snapshot import Provenance, Snapshot, save_snapshot
from streams.topics import TopicNames, create_topics
from tests.integration.harness import WorkerProcess
from tests.tiny import tiny_ranking

N_ITEMS = 300
N_PARTITIONS = 4


def make_snapshot(folder: Path | str, seed: int, n_items: int = N_ITEMS, *, ranked: bool = False) -> Snapshot:
    """A snapshot with random weights: what it recommends is of no matter here, only that it is one model."""
    encoder = SessionEncoder(EncoderConfig(n_units=24, embedding_dim=24), n_items, seed=seed).eval()
    vocabulary = Vocabulary([f"item-{n}" for n in range(n_items)], np.arange(n_items, 0, -1, dtype=np.int64))
    index = build_index(encoder.item_vectors())
    ranking = tiny_ranking(seed, n_items) if ranked else None
    return save_snapshot(str(folder), encoder, vocabulary, index, Provenance(), ranking=ranking)


@dataclass
class Site:
    """Everything one test has to itself on the shared cluster."""

    kafka: LocalKafka
    folder: Path
    topics: TopicNames
    group: str
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def servers(self) -> str:
        return self.kafka.bootstrap_servers

    @property
    def environment(self) -> dict[str, str]:
        return {
            "NEXTCLICK_BOOTSTRAP_SERVERS": self.servers,
            "NEXTCLICK_GROUP": self.group,
            "NEXTCLICK_CLICKS_TOPIC": self.topics.clicks,
            "NEXTCLICK_RECOMMENDATIONS_TOPIC": self.topics.recommendations,
            "NEXTCLICK_REJECTED_CLICKS_TOPIC": self.topics.rejected_clicks,
            "NEXTCLICK_SNAPSHOTS_TOPIC": self.topics.snapshots,
            "NEXTCLICK_QUALITY_TOPIC": self.topics.quality,
        }

    def worker(self, name: str = "w1", *arguments: str, **environment: str) -> WorkerProcess:
        home = self.folder / "home"
        worker = WorkerProcess(
            name, home, self.environment | environment, ("--start-at", "earliest", *arguments)
        )
        self.workers.append(worker)
        return worker

    def announce(self, seed: int, *, ranked: bool = False) -> Snapshot:
        """Make a snapshot and announce it."""
        snapshot = make_snapshot(self.folder / "snapshots", seed, ranked=ranked)
        self.snapshots[snapshot.version] = snapshot
        self.announce_as(snapshot.version, snapshot.location, snapshot.manifest_sha256)
        return snapshot

    def announce_as(self, version: str, location: str, sha256: str) -> None:
        announcement = Announcement(version, location, sha256, announced_ms=int(time.time() * 1000))
        announce(self.kafka.connection, self.topics.snapshots, "production", announcement)


@contextmanager
def open_site(kafka: LocalKafka, folder: Path) -> Iterator[Site]:
    """A site with its topics made; its workers are gone afterwards."""
    unique = uuid.uuid4().hex[:8]
    group = f"test-{unique}"
    topics = TopicNames(
        clicks=f"{unique}-clicks",
        recommendations=f"{unique}-recommendations",
        rejected_clicks=f"{unique}-rejected",
        snapshots=f"{unique}-snapshots",
        sessions_changelog=f"{group}-sessions-changelog",
        quality=f"{group}-quality",
    )
    create_topics(kafka.connection, topics, N_PARTITIONS)
    site = Site(kafka, folder, topics, group)
    try:
        yield site
    finally:
        for worker in site.workers:
            worker.kill()
