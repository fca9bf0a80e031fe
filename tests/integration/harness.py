"""Workers as processes, clicks in, answers out: what the integration tests share.

What is counted here shares no code with the worker: plain aiokafka and json, as a front end would.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

READY_TIMEOUT_S = 60.0
METADATA_WITHIN_S = 20.0


class Position(NamedTuple):
    """Where a record stands on its topic."""

    partition: int
    offset: int


class Record(NamedTuple):
    """A record as a plain consumer sees it."""

    position: Position
    key: bytes | None
    value: bytes | None
    headers: dict[str, str]
    timestamp_ms: int


@dataclass
class WorkerProcess:
    """``nextclick worker`` as a user runs it."""

    name: str
    home: Path
    environment: Mapping[str, str]
    arguments: Sequence[str] = ()
    module: str = "deploy.cli.main"
    port: int = 0
    started_s: float = 0.0  # on the monotonic clock
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        return self.home / f"{self.name}.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True)
        self.port = 0
        log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, "worker", "--name", self.name, *self.arguments],
                env={**os.environ, **self.environment, "NEXTCLICK_HOME": str(self.home)},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        self._log_start, self.started_s = log_start, time.monotonic()
        return self

    def wait_ready(self) -> Self:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f"worker {self.name} ended: {self.text()[-2000:]}")
            if self.is_ready():
                return self
            time.sleep(0.1)
        raise AssertionError(f"worker {self.name} is not ready: {self.text()[-2000:]}")

    def is_ready(self) -> bool:
        if not self.port:
            _, found, rest = self.text().partition("http://127.0.0.1:")
            self.port = int(rest.split("/")[0]) if found else 0
        with suppress(OSError):
            return bool(self.port) and self._get("/ready") == 200
        return False

    def _get(self, page: str) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{page}")
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code)

    def metric(self, name: str) -> float:
        """The value of one series, named with its labels, or the sum of all series of a name."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(
            float(value)
            for series, _, value in (line.rpartition(" ") for line in lines)
            if name in (series, series.split("{")[0])
        )

    def text(self) -> str:
        """What this start of the worker has logged."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """kill -9, and gone when this returns."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self.wait()

    def signal(self, number: int) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def wait(self, timeout_s: float = 30) -> int:
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM; gives the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)


def click_value(session_id: str, item_id: str, **fields: Any) -> bytes:
    """A click as any producer would write it."""
    return json.dumps({"session_id": session_id, "item_id": item_id, **fields}).encode()


async def _produce(
    servers: str, topic: str, records: Iterable[tuple[bytes | None, bytes | None]], rate: float
) -> list[Position]:
    async with AIOKafkaProducer(bootstrap_servers=servers, acks="all", linger_ms=2) as producer:
        sending, began = [], time.monotonic()
        for n, (key, value) in enumerate(records):
            if rate and (wait_s := began + n / rate - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            sending.append(await producer.send(topic, value=value, key=key))
        acknowledged = [await future for future in sending]
    return [Position(one.partition, one.offset) for one in acknowledged]


def produce(
    servers: str, topic: str, records: Iterable[tuple[bytes | None, bytes | None]], rate: float = 0
) -> list[Position]:
    """Write records and give where each of them stands; ``rate`` a second, 0 as fast as it goes."""
    return asyncio.run(_produce(servers, topic, records, rate))


async def _read(servers: str, topic: str, waits: Callable[[list[Record]], bool]) -> list[Record]:
    """Read for as long as ``waits`` says of what has newly come, and then to where the topic ends."""
    # From the earliest: a consumer that begins at the end may stand there already when it is sent back.
    async with AIOKafkaConsumer(
        bootstrap_servers=servers, enable_auto_commit=False, auto_offset_reset="earliest"
    ) as consumer:
        numbers = await partitions_of(consumer, topic)
        partitions = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(partitions)
        records: list[Record] = []
        new: list[Record] = []
        while waits(new):
            records += (new := await _fetch(consumer))
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            records += await _fetch(consumer)
    return records


async def _fetch(consumer: AIOKafkaConsumer) -> list[Record]:
    return [as_record(one) for batch in (await consumer.getmany(timeout_ms=500)).values() for one in batch]


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[int]:
    """Ask the cluster itself: what the client knows of a topic comes some time after it is asked for."""
    deadline_s = time.monotonic() + METADATA_WITHIN_S
    while True:
        try:
            cluster = await consumer._client.fetch_all_metadata()
            break
        except KafkaError:  # a broker that has only just come back names no brokers, not even itself
            if time.monotonic() > deadline_s:
                raise
            await asyncio.sleep(0.2)
    numbers = cluster.partitions_for_topic(topic)
    assert numbers, f"topic {topic} has no partitions"
    return sorted(numbers)


def as_record(one: Any) -> Record:
    """Take over what is needed of an aiokafka record."""
    headers = {name: content.decode() for name, content in one.headers or ()}
    return Record(Position(one.partition, one.offset), one.key, one.value, headers, one.timestamp)


def read_all(servers: str, topic: str) -> list[Record]:
    """Read a topic from its beginning to where it ends now."""
    return asyncio.run(_read(servers, topic, lambda new: False))


def wait_until_answered(
    servers: str, topic: str, expected: Iterable[Position], timeout_s: float = 60
) -> dict[Position, list[dict[str, Any]]]:
    """Wait until every click has an answer, and give all there are; fails with how many have none."""
    wanted = set(expected)
    missing = set(wanted)
    answers: dict[Position, list[dict[str, Any]]] = defaultdict(list)
    deadline = time.monotonic() + timeout_s

    def waits(new: list[Record]) -> bool:
        for record in new:
            missing.discard(_click_of(record)[0])
        assert not missing or time.monotonic() < deadline, (
            f"{len(missing)} of {len(wanted)} clicks have no answer, from {min(missing)} to {max(missing)}"
        )
        return bool(missing)

    for record in asyncio.run(_read(servers, topic, waits)):
        position, answer = _click_of(record)
        answers[position].append(answer)
    return dict(answers)


def _click_of(record: Record) -> tuple[Position, dict[str, Any]]:
    """Where the click stands that a recommendation names, and the recommendation."""
    assert record.value is not None
    answer = json.loads(record.value)
    return Position(answer["click"]["partition"], answer["click"]["offset"]), answer
