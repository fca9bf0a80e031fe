"""How fast a process works through a backlog, seen from outside.

The end offsets of its output topic say how many clicks it has answered; they are asked for a few times a
second, and with each answer goes the CPU that the process and the brokers have used by then. The start, where
caches are cold and Faust is still assigning, and the very end are left out.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import psutil

from benchmarks.running import BenchmarkError, Running, RunningWorker
from benchmarks.site import Site
from streams.kafka import TopicPartition, open_consumer

SAMPLE_EVERY_S = 0.25
LEFT_OUT_FIRST, LEFT_OUT_LAST = 0.10, 0.05
PATIENCE_S = 60.0


class Sample(NamedTuple):
    """What was seen at one moment; CPU in seconds since the process began."""

    at_s: float
    answered: int
    cpu_s: tuple[float, ...]  # one for each process
    broker_cpu_s: float
    own_cpu_s: float


@dataclass(frozen=True, slots=True)
class Steady:
    """The middle part of a run."""

    clicks: float
    seconds: float
    cpu_us: tuple[float, ...]  # per click, one for each process
    broker_cpu_us: float | None
    own_cpu_us: float

    @property
    def clicks_per_s(self) -> float:
        """The rate."""
        return self.clicks / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """For JSON; CPU in microseconds per click."""
        return {
            "clicks_per_s": round(float(self.clicks_per_s), 1),
            "cpu_us_per_click": round(sum(self.cpu_us), 1),
            "broker_cpu_us_per_click": None if self.broker_cpu_us is None else round(self.broker_cpu_us, 1),
            "meter_cpu_us_per_click": round(self.own_cpu_us, 1),
            "window_clicks": round(self.clicks),
            "window_s": round(self.seconds, 2),
        }


def watch(
    site: Site,
    topic: str,
    processes: Sequence[Running],
    n_clicks: int,
    max_seconds: float,
    on_sample: Callable[[Sample], None] = lambda sample: None,
) -> list[Sample]:
    """Sample until all clicks are answered, or for so many seconds after the first answer."""
    own = psutil.Process()
    partitions = [TopicPartition(topic, n) for n in range(site.n_partitions)]
    samples: list[Sample] = []
    with closing(open_consumer(site.connection)) as consumer:
        progressed = time.monotonic()
        first_answer: float | None = None
        while True:
            for process in processes:
                process.check()
            answered = sum(consumer.end_offsets(partitions).values())
            now = time.monotonic()
            mine = own.cpu_times()
            cpu = tuple(process.cpu_s() for process in processes)
            samples.append(Sample(now, answered, cpu, site.broker_cpu_s() or 0.0, mine.user + mine.system))
            on_sample(samples[-1])
            if len(samples) == 1 or answered > samples[-2].answered:
                progressed = now
            if answered and first_answer is None:
                first_answer = now
            if answered >= n_clicks or (first_answer is not None and now - first_answer > max_seconds):
                return samples
            if now - progressed > PATIENCE_S:
                raise BenchmarkError(f"{processes[0].name} stands still at {answered} of {n_clicks} clicks")
            time.sleep(SAMPLE_EVERY_S)


def steady(
    samples: Sequence[Sample],
    has_broker: bool = True,
    *,
    after_clicks: float = 0.0,
    last_share: float = LEFT_OUT_LAST,
) -> Steady:
    """Leave out the first clicks (and at least ``after_clicks``) and the last ones, and divide."""
    answered = np.array([sample.answered for sample in samples], dtype=float)
    times = np.array([sample.at_s for sample in samples])
    total = answered[-1]
    moving = np.concatenate([[True], np.diff(answered) > 0])
    first, last = max(LEFT_OUT_FIRST * total, after_clicks), (1 - last_share) * total
    if first >= last:
        raise BenchmarkError(f"only {total:,.0f} clicks were answered: too few to leave out start and end")
    begin, end = np.interp([first, last], answered[moving], times[moving])
    clicks = float(last - first)

    def used_us(cpu_s: Sequence[float]) -> float:
        used = np.interp([begin, end], times, cpu_s)
        return float((used[1] - used[0]) / clicks * 1e6)

    n_processes = len(samples[0].cpu_s)
    return Steady(
        clicks,
        float(end - begin),
        tuple(used_us([sample.cpu_s[n] for sample in samples]) for n in range(n_processes)),
        used_us([sample.broker_cpu_s for sample in samples]) if has_broker else None,
        used_us([sample.own_cpu_s for sample in samples]),
    )


class Stages:
    """What a worker's own metrics say about the steady part: stage times and batch sizes."""

    def __init__(self, worker: RunningWorker, n_clicks: int) -> None:
        self._worker = worker
        self._from = LEFT_OUT_FIRST * n_clicks
        self._first: dict[str, float] | None = None
        self._last: dict[str, float] | None = None

    def sample(self, sample: Sample) -> None:
        """Read the metrics once after the start, and again from time to time."""
        if sample.answered >= self._from:
            if self._first is None:
                self._first = self._worker.metrics()
            elif int(sample.at_s / SAMPLE_EVERY_S) % 8 == 0:
                self._last = self._worker.metrics()

    def as_dict(self) -> dict[str, Any]:
        """Microseconds per click by stage, and clicks per batch."""
        if self._first is None or self._last is None:
            return {}
        rise = {key: value - self._first.get(key, 0.0) for key, value in self._last.items()}
        clicks = rise["nextclick_batch_clicks_sum"]
        batches = rise["nextclick_batch_clicks_count"]
        if not clicks or not batches:
            return {}
        prefix = 'nextclick_stage_seconds_sum{stage="'
        stages = {
            key.removeprefix(prefix).rstrip('"}'): round(value / clicks * 1e6, 2)
            for key, value in rise.items()
            if key.startswith(prefix)
        }
        return {"clicks_per_batch": round(clicks / batches, 1), "stage_us_per_click": stages}
