"""Row 16: two hours of clicks, swaps and expiring sessions; memory and open files come to rest.

New sessions come all the time and click five times each, so that as many expire as come. The short form has
the same shape in five minutes. There the databases' write buffers, 8 MiB for each partition, are still
filling, so it allows more growth: a leak of 500 bytes a click shows, less only in the long form.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from tests.faults.clicks import Sent, sent_click
from tests.faults.reading import Follower
from tests.faults.resources import open_files, resident_mb
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import Start, Stop
from tests.faults.stage import FaultError, Stage
from tests.integration.harness import Position, Record
from tests.integration.site import N_ITEMS, N_PARTITIONS, make_snapshot

RATE: Final = 500.0
ANSWERED_WITHIN_S: Final = 60.0
CLICKS_OF_A_SESSION: Final = 5
OPEN_SESSIONS: Final = 300
SAMPLES: Final = 720
CATALOGUE: Final = 20_000
N_SNAPSHOTS: Final = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """How long it takes and what happens how often, in seconds; memory of two windows is compared."""

    run_s: float
    swap_s: float
    expiry_s: float
    early_s: tuple[float, float]
    late_s: tuple[float, float]
    most_growth: float


LONG: Final = Plan(7200, 300, 600, early_s=(1800, 3600), late_s=(5400, 7200), most_growth=0.02)
SHORT: Final = Plan(300, 15, 30, early_s=(75, 150), late_s=(225, 300), most_growth=0.05)


@dataclass
class Tally:
    """Which clicks were acknowledged and which answered: two bits for each, not the clicks themselves."""

    _bits: dict[int, bytearray] = field(default_factory=dict)

    def mark(self, at: Position, bit: int) -> None:
        """Set bit 1 (acknowledged) or 2 (answered)."""
        of_partition = self._bits.setdefault(at.partition, bytearray())
        if len(of_partition) <= at.offset:
            of_partition.extend(bytes(at.offset + 100_000 - len(of_partition)))
        of_partition[at.offset] |= bit

    def count(self, bits: int) -> int:
        """How many clicks have just these bits set."""
        return sum(of_partition.count(bits) for of_partition in self._bits.values())


@dataclass(frozen=True, slots=True)
class Sample:
    """What the worker takes at a moment, in seconds after the start."""

    at_s: float
    memory_mb: float
    database_files: int
    other_files: int


def run(stage: Stage, size: Size) -> Findings:
    """Let it run, look at it again and again, and compare."""
    plan = size.choose(full=LONG, short=SHORT, quick=SHORT)
    tally = Tally()
    samples = _let_run(stage, plan, tally)
    worker = stage.workers["w1"]
    n_expired = worker.metric("nextclick_sessions_expired_total")
    n_swaps = worker.metric("nextclick_snapshot_swaps_total")
    stage.perform([Stop("w1")])
    early, late = (
        [one for one in samples if begin_s <= one.at_s <= end_s]
        for begin_s, end_s in (plan.early_s, plan.late_s)
    )
    peaks_mb = [max(one.memory_mb for one in part) for part in (early, late)]
    # A database writes a file whenever a buffer is full and merges them later: their number goes up and down.
    database_files = [max(one.database_files for one in part) for part in (early, late)]
    # The watchdog connects every few seconds: a moment's sockets do not count.
    other_files = [median(one.other_files for one in part) for part in (early, late)]
    growth = peaks_mb[1] / peaks_mb[0] - 1
    findings = Findings(
        {
            "seconds": plan.run_s,
            "clicks": tally.count(3),
            "missing": tally.count(1),
            "swaps": n_swaps,
            "sessions_expired": n_expired,
            "peaks_mb": [round(one, 1) for one in peaks_mb],
            "growth": round(growth, 4),
            "database_files": database_files,
            "other_files": other_files,
            "memory_mb_over_time": [round(one.memory_mb) for one in samples[:: SAMPLES // 24]],
        }
    )
    findings.require(growth <= plan.most_growth, f"memory grew by {growth:.1%}")
    findings.require(
        database_files[1] <= database_files[0] + N_PARTITIONS, f"more and more files: {database_files}"
    )
    findings.require(other_files[1] <= other_files[0], f"more and more sockets: {other_files}")
    findings.require(not tally.count(1), f"{tally.count(1)} clicks without an answer")
    findings.require(n_expired > 0, "no session expired")
    return findings


def _let_run(stage: Stage, plan: Plan, tally: Tally) -> list[Sample]:
    snapshots = [
        make_snapshot(stage.site.folder / "snapshots", seed, CATALOGUE) for seed in range(N_SNAPSHOTS)
    ]
    stage.perform([Start("w1", arguments=("--session-expiry-hours", str(plan.expiry_s / 3600)))])
    worker = stage.workers["w1"]
    answers = Follower(stage.site.servers, stage.site.topics.recommendations, _answered)
    producer = stage.load(coming_and_going(), RATE)
    began = time.monotonic()
    samples: list[Sample] = []
    swaps = 0
    while (now_s := time.monotonic() - began) < plan.run_s:
        samples.append(Sample(now_s, resident_mb(worker.pid), *open_files(worker.pid)))
        if now_s >= (swaps + 1) * plan.swap_s:
            next_one = snapshots[swaps % N_SNAPSHOTS]
            stage.site.announce_as(next_one.version, next_one.location, next_one.manifest_sha256)
            swaps += 1
            stage.say(f"  {now_s:.0f} s: {samples[-1]}")
            _take_stock(producer.acknowledged, answers, tally)
        time.sleep(max(0.0, len(samples) * plan.run_s / SAMPLES - (time.monotonic() - began)))
    producer.stop()
    deadline = time.monotonic() + ANSWERED_WITHIN_S
    while True:
        _take_stock(producer.acknowledged, answers, tally)
        if not tally.count(1):
            return samples
        if time.monotonic() > deadline:
            raise FaultError(f"{tally.count(1)} clicks have no answer after {ANSWERED_WITHIN_S:.0f} s")
        time.sleep(1)


def _answered(record: Record) -> Position:
    click = json.loads(record.value or b"")["click"]
    return Position(click["partition"], click["offset"])


def _take_stock(acknowledged: dict[Position, Sent], answers: Follower[Position], tally: Tally) -> None:
    """Note what was acknowledged and answered since the last time, and keep nothing else of it."""
    for at in list(acknowledged):
        del acknowledged[at]
        tally.mark(at, 1)
    for at in answers.read_on():
        tally.mark(at, 2)
    answers.records.clear()


def coming_and_going() -> Iterator[Sent]:
    """Clicks of some hundred sessions at a time, each over after a few, for ever."""
    n = 0
    while True:
        generation, session = divmod(n, OPEN_SESSIONS)
        yield sent_click(f"s{generation // CLICKS_OF_A_SESSION}-{session}", f"item-{n * 7919 % N_ITEMS}")
        n += 1


ROW = Row(
    16,
    "two hours at 500 clicks/s, a swap every 5 minutes, expiry at 10 minutes",
    "peak memory of the last half hour ≤ 1.02 × that of minutes 30-60; open files constant; nothing missing",
    run,
    quick=False,
)
