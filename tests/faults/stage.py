"""The stage of a fault row: a site on a cluster, its workers, the shop's clicks, the auditor."""

import os
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from deploy.broker import LocalKafka
from streams.errors import NextclickError
from streams.kafka import ConfigResource, KafkaError, open_admin
from tests.faults.auditor import Audit, Auditor
from tests.faults.clicks import Sent
from tests.faults.producer import VerifiableProducer
from tests.faults.strikes import struck_ms
from tests.integration.harness import Position, WorkerProcess
from tests.integration.site import Site, open_site

ANSWERED_WITHIN_S = 120.0
STRUCK_WITHIN_S = 60.0


class FaultError(Exception):
    """Something that a script waits for does not come: the row is not held."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker's end: its exit code (negative for a signal), and the seconds since it was struck or asked."""

    worker: str
    code: int
    seconds: float


class Action(Protocol):
    """One value of a script."""

    def do(self, stage: "Stage") -> None:
        """Do it; return when it is done."""


@dataclass
class Stage:
    """Where a script is performed; what is measured on the way stays in its lists."""

    site: Site
    say: Callable[[str], None]
    producers: list[VerifiableProducer] = field(default_factory=list)
    workers: dict[str, WorkerProcess] = field(default_factory=dict)
    ready_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    endings: list[Ended] = field(default_factory=list)
    killed_ms: list[int] = field(default_factory=list)
    n_started: int = 0
    auditor: Auditor = field(init=False)

    def __post_init__(self) -> None:
        self.auditor = Auditor(self.site.servers, self.site.topics, self.site.group)

    def perform(self, script: Sequence[Action]) -> None:
        """Do one action after the other."""
        for action in script:
            self.say(f"  {action}")
            action.do(self)

    @property
    def kafka(self) -> LocalKafka:
        """The cluster, for scripts that strike its brokers."""
        return self.site.kafka

    @property
    def acknowledged(self) -> dict[Position, Sent]:
        """All that the shop knows to have been taken, and what it was."""
        return {place: sent for one in self.producers for place, sent in list(one.acknowledged.items())}

    def load(
        self, records: Iterator[Sent], rate: float, n: int | None = None, *, compression: str | None = None
    ) -> VerifiableProducer:
        """Begin to send clicks, ``n`` of them or until :meth:`end_load`."""
        chosen = records if n is None else islice(records, n)
        producer = VerifiableProducer(self.site.servers, self.site.topics.clicks, chosen, rate, compression)
        self.producers.append(producer)
        return producer.start()

    def end_load(self) -> None:
        """Send no more; all that was sent is acknowledged."""
        for producer in self.producers:
            producer.stop()

    def start(self, name: str, *arguments: str, **environment: str) -> WorkerProcess:
        """Start the worker of this name, with the faults of ``faulty_worker`` built in."""
        worker = self.workers.get(name)
        if worker is None:
            worker = self.workers[name] = self.site.worker(name)
            worker.module = "tests.faults.faulty_worker"
        worker.arguments = ("--start-at", "earliest", *arguments)
        worker.environment = self.site.environment | environment
        self.n_started += 1
        return worker.start()

    def await_ready(self, name: str) -> float:
        """Wait until it serves; gives the seconds since it was started."""
        self.workers[name].wait_ready()
        seconds = time.monotonic() - self.workers[name].started_s
        self.ready_s[name].append(round(seconds, 2))
        return seconds

    def await_struck(self, name: str, within_s: float = STRUCK_WITHIN_S) -> int:
        """Wait until the strike that is built into it has come; gives when, in ms."""
        deadline = time.monotonic() + within_s
        while (at_ms := struck_ms(self.workers[name].text())) is None:
            if time.monotonic() > deadline:
                raise FaultError(f"{name} did not come to where it was to be struck in {within_s:.0f} s")
            time.sleep(0.05)
        return at_ms

    def await_end(self, name: str, within_s: float, since_ms: int | None = None) -> Ended:
        """Wait until it has ended, counting from now or ``since_ms``; FaultError where it does not."""
        since_ms = now_ms() if since_ms is None else since_ms
        try:
            code = self.workers[name].wait(within_s)
        except subprocess.TimeoutExpired as error:
            raise FaultError(f"{name} did not end within {within_s:.0f} s") from error
        ended = Ended(name, code, round((now_ms() - since_ms) / 1000, 2))
        self.endings.append(ended)
        return ended

    def await_answers(self, timeout_s: float = ANSWERED_WITHIN_S) -> None:
        """Wait until every acknowledged click has an answer or a rejection."""
        deadline = time.monotonic() + timeout_s
        while missing := self.auditor.unanswered(self.acknowledged):
            if time.monotonic() > deadline:
                self.say("  " + self.auditor.trace(missing))
                raise FaultError(f"{len(missing)} clicks have no answer after {timeout_s:.0f} s")
            time.sleep(0.5)

    def audit(self, *, whole_changelog: bool = True) -> Audit:
        """Judge all that there is now; the load must have ended and the workers be at rest."""
        return self.auditor.audit(self.acknowledged, self.site.snapshots, whole_changelog=whole_changelog)


@contextmanager
def open_stage(kafka: LocalKafka, folder: Path, say: Callable[[str], None]) -> Iterator[Stage]:
    """A stage with topics of its own, a first snapshot announced; nothing of it runs afterwards."""
    with open_site(kafka, folder) as site:
        _note_arrivals(site)
        site.announce(seed=1)
        stage = Stage(site, say)
        try:
            yield stage
        finally:
            for producer in stage.producers:
                producer.abandon()
            for worker in site.workers:
                worker.kill()
            with suppress(KafkaError, NextclickError), open_admin(kafka.connection) as admin:
                admin.delete_topics(list(astuple(site.topics)))


def _note_arrivals(site: Site) -> None:
    """Let the brokers note when each record arrived: delays and the order of deliveries follow from it."""
    topics = (site.topics.recommendations, site.topics.rejected_clicks, site.topics.sessions_changelog)
    config = {"message.timestamp.type": "LogAppendTime"}
    with open_admin(site.kafka.connection) as admin:
        admin.alter_configs([ConfigResource("TOPIC", topic, config) for topic in topics])


def now_ms() -> int:
    """The clock that arrivals are noted by."""
    return int(time.time() * 1000)


def clean_environment() -> None:
    """Let no settings from outside reach the workers."""
    for variable in [name for name in os.environ if name.startswith("NEXTCLICK_")]:
        del os.environ[variable]
