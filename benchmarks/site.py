"""Where a benchmark takes place: Kafka beside it, topics of its own for every run, processes watched.

Kafka is one broker on this machine, warm and with the thorough compiler, unless NEXTCLICK_BOOTSTRAP_SERVERS
names a cluster; then the brokers' CPU is not known.
"""

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.running import Running, RunningWorker
from deploy.broker import LocalKafka
from streams.announcements import Announcement, announce
from streams.kafka import KafkaConnection, KafkaError, TopicPartition, open_admin, open_consumer
from streams.snapshot import Snapshot
from streams.topics import TopicNames, create_topics

N_PARTITIONS = 8
QUIET_FOR_S, QUIET_SHARE = 5.0, 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """What one run has to itself: a group, topics, a folder. The clicks are the site's."""

    site: "Site"
    group: str
    topics: TopicNames
    folder: Path

    def start(self, name: str, module: str, *arguments: str, **environment: str) -> Running:
        """Start a Python module as a process."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            log_begins, started_s = output.tell(), time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=_clean_environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        return Running(name, process, log, started_s, log_begins)

    def start_worker(self, name: str = "w1", *arguments: str, home: Path | None = None) -> "RunningWorker":
        """Start ``nextclick worker`` as a user would."""
        settings = {
            "HOME": str(home or self.folder / "home"),
            "BOOTSTRAP_SERVERS": self.site.connection.bootstrap_servers,
            "GROUP": self.group,
            "CLICKS_TOPIC": self.topics.clicks,
            "RECOMMENDATIONS_TOPIC": self.topics.recommendations,
            "REJECTED_CLICKS_TOPIC": self.topics.rejected_clicks,
            "SNAPSHOTS_TOPIC": self.topics.snapshots,
            "QUALITY_TOPIC": self.topics.quality,
            "RANKING": "lstm",  # flags go before it: the engine is measured, unless the ranking is named
        }
        environment = {f"NEXTCLICK_{key}": value for key, value in settings.items()}
        flags = ("worker", "--name", name, "--start-at", "earliest", *arguments)
        begun = self.start(name, "deploy.cli.main", *flags, **environment)
        return RunningWorker(begun.name, begun.process, begun.log, begun.started_s, begun.log_begins)


@dataclass
class Site:
    """Kafka and a folder; see ``open_site``."""

    connection: KafkaConnection
    folder: Path
    brokers: Sequence[psutil.Process]
    clicks_topic: str = "clicks"
    snapshots_topic: str = "snapshots"
    n_partitions: int = N_PARTITIONS

    def broker_cpu_s(self) -> float | None:
        """Seconds of CPU of the brokers so far, where they are ours."""
        if not self.brokers:
            return None
        times = [broker.cpu_times() for broker in self.brokers]
        return float(sum(one.user + one.system for one in times))

    def create(self, names: TopicNames) -> None:
        """Make topics; there are as many partitions as the site says."""
        create_topics(self.connection, names, self.n_partitions)

    @contextmanager
    def run(
        self, name: str, *, clicks_topic: str | None = None, snapshots_topic: str | None = None
    ) -> Iterator[Run]:
        """Give a run its topics and its folder, and take them away afterwards, but for clicks and snapshots.

        What a compacted topic leaves behind would be cleaned while the next run is measured.
        """
        group = f"{name}-{secrets.token_hex(3)}"
        names = TopicNames(
            clicks=clicks_topic or self.clicks_topic,
            recommendations=f"{group}-out",
            rejected_clicks=f"{group}-rejected",
            snapshots=snapshots_topic or self.snapshots_topic,
            sessions_changelog=f"{group}-sessions-changelog",
            quality=f"{group}-quality",
        )
        self.create(names)
        folder = self.folder / group
        try:
            yield Run(self, group, names, folder)
        finally:
            self.delete(names.recommendations, names.rejected_clicks, names.sessions_changelog, names.quality)
            shutil.rmtree(folder, ignore_errors=True)

    def wait_quiet(self, longest_s: float = 120.0) -> float:
        """Wait until the brokers have done what was left to do (compaction above all); gives the seconds."""
        began = time.monotonic()
        while (waited_s := time.monotonic() - began) < longest_s:
            before = self.broker_cpu_s()
            time.sleep(QUIET_FOR_S)
            if before is None or (self.broker_cpu_s() or 0.0) - before < QUIET_SHARE * QUIET_FOR_S:
                break
        return waited_s

    def topic_mb(self, topic: str) -> float:
        """What a topic's log takes on the brokers' disks, its copies included."""
        with open_admin(self.connection) as admin:
            brokers = admin.describe_log_dirs([topic])
        found = (
            partition["partition_size"]
            for broker in brokers
            for folder in broker["log_dirs"]
            for one in folder["topics"]
            for partition in one["partitions"]
            if one["name"] == topic
        )
        return float(sum(found) / 1e6)

    def n_records(self, topic: str) -> int:
        """How many records were ever written to a topic of this run."""
        with closing(open_consumer(self.connection)) as consumer:
            ends = consumer.end_offsets([TopicPartition(topic, n) for n in range(self.n_partitions)])
        return sum(ends.values())

    def delete(self, *topics: str) -> None:
        """Delete topics; Kafka removes the files a minute later, out of the way."""
        with suppress(KafkaError), open_admin(self.connection) as admin:
            admin.delete_topics(list(topics))

    def announce(self, snapshot: Snapshot, topic: str | None = None) -> None:
        """Let the workers that follow the site's topic, or the one named, serve this snapshot."""
        announcement = Announcement(
            snapshot.version,
            snapshot.location,
            snapshot.manifest_sha256,
            announced_ms=int(time.time() * 1000),
        )
        announce(self.connection, topic or self.snapshots_topic, "production", announcement)


@contextmanager
def open_site(work: Path) -> Iterator[Site]:
    """Start Kafka in a fresh folder, or use the cluster that is named; topics for clicks and snapshots."""
    _remove_left_over(work)
    token = secrets.token_hex(3)
    folder = (work / f"site-{token}").resolve()
    servers = os.environ.get("NEXTCLICK_BOOTSTRAP_SERVERS")
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        brokers: list[psutil.Process] = []
        if servers is None:
            before = {child.pid for child in psutil.Process().children(recursive=True)}
            kafka = stack.enter_context(LocalKafka(folder / "kafka"))
            connection = kafka.connection
            children = psutil.Process().children(recursive=True)
            brokers = [child for child in children if child.pid not in before]
        else:
            connection = KafkaConnection(servers)
        site = Site(connection, folder, brokers, f"bench-{token}-clicks", f"bench-{token}-snapshots")
        folder.mkdir(parents=True, exist_ok=True)
        yield site
        if servers is not None:
            site.delete(site.clicks_topic, site.snapshots_topic)


def _remove_left_over(work: Path) -> None:
    """Remove the folders of benchmarks that were killed: nobody holds the lock of their Kafka any more."""
    for lock in work.glob("site-*/kafka/lock"):
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            shutil.rmtree(lock.parent.parent, ignore_errors=True)


def _clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("NEXTCLICK_")}
