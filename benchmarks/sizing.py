"""How many workers, partitions and brokers, how much memory and disk: reckoned from the newest results.

``python -m benchmarks.sizing --clicks-per-s 20000 --items 100000`` tells it for a load of your own; the table
in docs/operations.md is made by the same functions. What is measured comes from the results; what is assumed
is a constant below with its reason, and nothing else.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.kept import Results, newest, read_results
from benchmarks.report import command, print_table
from streams.errors import NextclickError

SHARE_OF_PEAK: Final = 0.5
"""Of the rate measured with a backlog: room for busy minutes, a lost worker's partitions, slower cores."""
PARTITIONS_PER_WORKER: Final = 2
"""So that the workers may become twice as many without a new topic."""
MIN_PARTITIONS: Final = 8
FRONT_ENDS: Final = 1
"""Consumer groups that read all recommendations."""
DIRTY: Final = 1.5
"""A compacted topic and its not yet compacted part; RocksDB while it compacts."""
FILTER_BYTES: Final = 5
"""Of memory that RocksDB takes for a session's key, filter and index; its caches are bounded by settings."""
BROKER_MB_S: Final = 300.0
"""That a broker is to write, copies included: a quarter of a 10 Gbit/s network."""
BROKER_CORES_SHARE: Final = 0.5
CLICK_DAYS, ANSWER_HOURS = 7, 24
"""Retention as ``nextclick topics create`` sets it."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a click costs with a catalogue of some size."""

    items: int
    clicks_per_s: float  # one worker with a backlog
    cpu_us: float
    broker_cpu_us: float
    memory_mb: float  # of the worker


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures from the results."""

    costs: Sequence[Cost]  # by rising size of the catalogue
    record_bytes: float
    disk_bytes: float  # of a session in the worker's database
    cache_mb: float  # that a worker takes more once its databases' caches are full
    click_bytes: float
    answer_bytes: float
    changelog_records: float  # for each click
    recovered_per_s: float
    start_s: float  # without any session

    def cost(self, items: int) -> Cost:
        """Give the cost at the next larger catalogue measured."""
        for cost in self.costs:
            if items <= cost.items:
                return cost
        raise NextclickError(f"{items:,} items are more than were measured ({self.costs[-1].items:,})")


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the cluster, at its busiest."""

    clicks_per_s: float
    items: int = 100_000
    expiry_hours: float = 24
    clicks_per_session: float = 4
    replication: int = 3

    @property
    def sessions(self) -> float:
        """Sessions kept: those of the expiry time."""
        return self.clicks_per_s * self.expiry_hours * 3600 / self.clicks_per_session


@dataclass(frozen=True, slots=True)
class Plan:
    """What that takes; bytes per second and disks of Kafka with all copies."""

    workers: int
    partitions: int
    memory_mb: float  # of each worker
    disk_gb: float  # of each worker
    recovery_s: float  # of a worker that has lost its folder
    produced_mb_s: float
    written_mb_s: float
    read_mb_s: float
    clicks_tb: float
    answers_tb: float
    changelog_gb: float
    broker_cores: float
    brokers: int


def measured(results: Results) -> Measured | None:
    """Take the figures from the newest results; None where a benchmark has not been run."""
    scale, memory, recovery = (newest(results, kind) for kind in ("scale", "memory", "recovery"))
    if scale is None or memory is None or recovery is None:
        return None
    costs = [
        Cost(
            line["items"],
            line["clicks_per_s"],
            line["cpu_us_per_click"],
            line.get("broker_cpu_us_per_click") or 0.0,
            line["peak_rss_mb"],
        )
        for line in scale["figures"]
        if line["workers"] == 1
    ]
    few, many = memory["figures"][0], memory["figures"][-1]
    starts = {line["start"]: line["ready_s"] for line in recovery["figures"]}
    return Measured(
        costs=sorted(costs, key=lambda cost: cost.items),
        record_bytes=many["record_bytes"]["mean"],
        disk_bytes=many["disk_mb"] * 1e6 / many["sessions"],
        cache_mb=max(many["peak_rss_mb"] - few["peak_rss_mb"], 0),
        click_bytes=many["bytes_of_a_click"],
        answer_bytes=many["bytes_of_an_answer"],
        changelog_records=many["changelog_records_per_click"],
        recovered_per_s=recovery["sessions_per_s"],
        start_s=starts["no sessions"],
    )


def plan(load: Load, found: Measured) -> Plan:
    """Reckon it."""
    cost = found.cost(load.items)
    workers = math.ceil(load.clicks_per_s / (cost.clicks_per_s * SHARE_OF_PEAK))
    own_sessions = load.sessions / workers
    clicks_mb_s = load.clicks_per_s * found.click_bytes / 1e6
    answers_mb_s = load.clicks_per_s * found.answer_bytes / 1e6
    states_mb_s = load.clicks_per_s * found.changelog_records * found.record_bytes / 1e6
    produced_mb_s = clicks_mb_s + answers_mb_s + states_mb_s
    copies = load.replication
    written_mb_s = produced_mb_s * copies
    # A copy costs a broker about what a consumer does, and both less than the leader's own work.
    broker_cores = load.clicks_per_s * cost.broker_cpu_us / 1e6 * (1 + (copies - 1) / 2)
    brokers = max(copies, math.ceil(written_mb_s / BROKER_MB_S))
    return Plan(
        workers=workers,
        partitions=max(MIN_PARTITIONS, workers * PARTITIONS_PER_WORKER),
        memory_mb=cost.memory_mb + found.cache_mb + own_sessions * FILTER_BYTES / 1e6,
        disk_gb=own_sessions * found.disk_bytes * DIRTY / 1e9,
        recovery_s=found.start_s + own_sessions / found.recovered_per_s,
        produced_mb_s=produced_mb_s,
        written_mb_s=written_mb_s,
        read_mb_s=2 * clicks_mb_s + FRONT_ENDS * answers_mb_s,  # clicks: by the workers and by a trainer
        clicks_tb=clicks_mb_s * CLICK_DAYS * 86_400 * copies / 1e6,
        answers_tb=answers_mb_s * ANSWER_HOURS * 3_600 * copies / 1e6,
        changelog_gb=load.sessions * found.record_bytes * DIRTY * copies / 1e9,
        broker_cores=broker_cores / BROKER_CORES_SHARE,
        brokers=brokers,
    )


def lines(loads: Sequence[Load], found: Measured) -> list[dict[str, Any]]:
    """A table: a line for each quantity, a column for each load."""
    plans = [plan(load, found) for load in loads]
    rows: Sequence[tuple[str, Sequence[float]]] = (
        ("items", [load.items for load in loads]),
        ("sessions kept, millions", [load.sessions / 1e6 for load in loads]),
        ("… of so many hours", [load.expiry_hours for load in loads]),
        ("**workers**, a core each", [one.workers for one in plans]),
        ("**partitions** of clicks", [one.partitions for one in plans]),
        ("memory of a worker, GB", [one.memory_mb / 1e3 for one in plans]),
        ("disk of a worker, GB", [one.disk_gb for one in plans]),
        ("a lost folder is read again in, s", [one.recovery_s for one in plans]),
        ("written to Kafka, MB/s", [one.produced_mb_s for one in plans]),
        ("… with its copies, MB/s", [one.written_mb_s for one in plans]),
        ("read by workers, trainer, front end, MB/s", [one.read_mb_s for one in plans]),
        ("brokers' cores", [one.broker_cores for one in plans]),
        ("**brokers**", [one.brokers for one in plans]),
        ("disk of `clicks`, 7 days, TB", [one.clicks_tb for one in plans]),
        ("disk of `recommendations`, a day, TB", [one.answers_tb for one in plans]),
        ("disk of the changelog, GB", [one.changelog_gb for one in plans]),
    )
    heads = [f"{load.clicks_per_s:,.0f} clicks/s" for load in loads]
    return [{"": name, **dict(zip(heads, map(_shown, values), strict=True))} for name, values in rows]


def _shown(value: float) -> str:
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2g}"


def main() -> None:
    """Print the plan of a load."""
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    flags.add_argument("--clicks-per-s", type=float, required=True, help="at the busiest")
    flags.add_argument("--items", type=int, default=100_000)
    flags.add_argument("--expiry-hours", type=float, default=24, help="session_expiry_hours")
    flags.add_argument("--clicks-per-session", type=float, default=4)
    flags.add_argument("--replication", type=int, default=3)
    asked = flags.parse_args()
    found = measured(read_results())
    if found is None:
        raise NextclickError("no results yet: run make bench-scale, bench-memory and bench-recovery")
    print_table(lines([Load(**vars(asked))], found))


if __name__ == "__main__":
    command(main)
