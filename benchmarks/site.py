"""Where a benchmark takes place: Kafka beside it, topics of its own for every run, processes watched.

Kafka is one broker on this machine, warm and with the thorough compiler, unless NEXTCLICK_BOOTSTRAP_SERVERS
names a cluster; then the brokers' CPU is not known.
"""

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from deploy.broker import LocalKafka
from streams.announcements import Announcement, announce
from streams.errors import NextclickError
from streams.kafka import KafkaConnection, KafkaError, open_admin
from streams.snapshot import Snapshot
from streams.topics import TopicNames, create_topics

N_PARTITIONS = 8
STOP_TIMEOUT_S = 20.0


class BenchmarkError(NextclickError):
    """A benchmark that cannot go on; the text says why."""


@dataclass
class Running:
    """A process under measurement, its output in ``log``; a context manager that ends it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    _watched: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self._watched = psutil.Process(self.process.pid)

    def cpu_s(self) -> float:
        """Seconds of CPU of all its threads so far."""
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        """Resident memory."""
        return float(self._watched.memory_info().rss / 1e6)

    def check(self) -> None:
        """Raise BenchmarkError where it has ended."""
        if (code := self.process.poll()) is not None:
            raise BenchmarkError(f"{self.name} ended with {code}: {self.text()[-2000:]}")

    def text(self) -> str:
        """What it has logged."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it, by force where it takes long."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


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
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=_clean_environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        return Running(name, process, log)

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
        }
        environment = {f"NEXTCLICK_{key}": value for key, value in settings.items()}
        flags = ("worker", "--name", name, "--start-at", "earliest", *arguments)
        running = self.start(name, "deploy.cli.main", *flags, **environment)
        return RunningWorker(running.name, running.process, running.log)


class RunningWorker(Running):
    """A worker, which also tells about itself."""

    _address: str | None = None

    def get(self, path: str) -> str:
        """Ask its web server; raises OSError where it does not answer, or not with 200."""
        if self._address is None:
            found = re.search(r"http://([^/\s]+)/metrics", self.text())
            if found is None:
                raise OSError("the worker has not told its address yet")
            self._address = found[1]
        with urllib.request.urlopen(f"http://{self._address}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def metrics(self) -> dict[str, float]:
        """All series by name with labels, as Prometheus would read them."""
        lines = (line for line in self.get("/metrics").splitlines() if line and not line.startswith("#"))
        return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines)}

    def wait_ready(self, timeout_s: float = 120.0) -> float:
        """Wait until it serves; gives the seconds that took."""
        began = time.monotonic()
        while time.monotonic() - began < timeout_s:
            self.check()
            with suppress(OSError):
                self.get("/ready")
                return time.monotonic() - began
            time.sleep(0.05)
        raise BenchmarkError(f"{self.name} was not ready in {timeout_s:.0f} s: {self.text()[-2000:]}")


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
    def run(self, name: str, *, clicks_topic: str | None = None) -> Iterator[Run]:
        """Give a run its topics and its folder, and take them away afterwards.

        What a compacted topic leaves behind would be cleaned while the next run is measured.
        """
        group = f"{name}-{secrets.token_hex(3)}"
        names = TopicNames(
            clicks=clicks_topic or self.clicks_topic,
            recommendations=f"{group}-out",
            rejected_clicks=f"{group}-rejected",
            snapshots=self.snapshots_topic,
            sessions_changelog=f"{group}-sessions-changelog",
        )
        self.create(names)
        folder = self.folder / group
        try:
            yield Run(self, group, names, folder)
        finally:
            self.delete(names.recommendations, names.rejected_clicks, names.sessions_changelog)
            shutil.rmtree(folder, ignore_errors=True)

    def delete(self, *topics: str) -> None:
        """Delete topics; Kafka removes the files a minute later, out of the way."""
        with suppress(KafkaError), open_admin(self.connection) as admin:
            admin.delete_topics(list(topics))

    def announce(self, snapshot: Snapshot) -> None:
        """Let workers serve this snapshot."""
        announcement = Announcement(
            snapshot.version,
            snapshot.location,
            snapshot.manifest_sha256,
            announced_ms=int(time.time() * 1000),
        )
        announce(self.connection, self.snapshots_topic, "production", announcement)


@contextmanager
def open_site(work: Path) -> Iterator[Site]:
    """Start Kafka in a fresh folder, or use the cluster that is named; topics for clicks and snapshots."""
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


def _clean_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("NEXTCLICK_")}
