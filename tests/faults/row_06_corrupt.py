"""Row 6: a tenth of all records is no click, some of them of 1 and 10 MB, compressed with gzip.

Throughput is that of a worker started on a backlog, from its first outcome to its last by the brokers'
clock. Backlogs are clean and corrupt by turns, so that whatever else the machine does meets both.
"""

import time
from statistics import median
from typing import Final, NamedTuple

from streams.kafka import ConfigResource, open_admin
from tests.faults.clicks import clicks
from tests.faults.corrupt import MEGABYTE, partly_corrupt
from tests.faults.resources import cpu_s
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, Start, Stop
from tests.faults.stage import FaultError, Stage
from tests.integration.harness import Position, read_all

SHARE: Final = 0.1
LARGE: Final = (MEGABYTE, MEGABYTE, 10 * MEGABYTE)
MOST_SLOWDOWN: Final = 0.2
AS_FAST_AS_IT_GOES: Final = 50_000.0
HANDLED_WITHIN_S: Final = 120.0
OUTCOMES: Final = ("clicks", "replays_skipped", "rejected_clicks")


class Drained(NamedTuple):
    """A backlog that was handled: its records and the CPU time of the worker for each."""

    records: set[Position]
    cpu_us: float


def run(stage: Stage, size: Size) -> Findings:
    """Let a worker drain clean and corrupt backlogs by turns; then look at what was rejected."""
    n_rounds = size.choose(full=7, short=3, quick=1)
    n = size.choose(full=20_000, short=20_000, quick=2_500)
    _allow_records_of(stage, 12 * MEGABYTE)
    clean, corrupt = [], []
    for round_ in range(n_rounds):
        if size is not Size.QUICK:  # some thousand records are too few to time
            clean.append(_drain(stage, n, clean=True, seed=100 + round_))
        corrupt.append(_drain(stage, n, clean=False, seed=200 + round_))
    stage.perform([AwaitAnswers()])
    audit = stage.audit()
    n_corrupt = sum(one.reason is not None for one in stage.acknowledged.values())
    findings = Findings(
        {
            "records": audit.clicks,
            "corrupt": n_corrupt,
            "of_1_and_10_MB": n_rounds * len(LARGE),
            **audit.figures(),
        },
        audit.problems(duplicates_allowed=False),
    )
    n_rejected = audit.rejected.total()
    findings.require(n_rejected == n_corrupt, f"{n_rejected} of {n_corrupt} were rejected")
    _check_forms(stage, findings)
    if clean:
        _compare_rates(stage, findings, clean, corrupt)
    return findings


def _compare_rates(stage: Stage, findings: Findings, clean: list[Drained], corrupt: list[Drained]) -> None:
    clean_per_s, corrupt_per_s = (
        median(_rate(stage, one.records) for one in drained) for drained in (clean, corrupt)
    )
    down = 1 - corrupt_per_s / clean_per_s
    findings.figures |= {
        "clean_records_per_s": round(clean_per_s),
        "corrupt_records_per_s": round(corrupt_per_s),
        "throughput_down": round(down, 3),
        "clean_cpu_us": round(median(one.cpu_us for one in clean)),
        "corrupt_cpu_us": round(median(one.cpu_us for one in corrupt)),
    }
    findings.require(down < MOST_SLOWDOWN, f"throughput is down by {down:.0%}")


def _allow_records_of(stage: Stage, n_bytes: int) -> None:
    config = {"max.message.bytes": str(n_bytes)}
    with open_admin(stage.kafka.connection) as admin:
        admin.alter_configs([ConfigResource("TOPIC", stage.site.topics.clicks, config)])


def _drain(stage: Stage, n: int, *, clean: bool, seed: int) -> Drained:
    """Let a backlog of so many records come up while the worker is away, and the worker drain it."""
    records = clicks(seed) if clean else partly_corrupt(seed, n, SHARE, LARGE)
    producer = stage.load(records, AS_FAST_AS_IT_GOES, n, compression="gzip")
    producer.join(HANDLED_WITHIN_S)
    stage.perform([Start("w1")])
    worker = stage.workers["w1"]
    begun_s = cpu_s(worker.pid)
    deadline = time.monotonic() + HANDLED_WITHIN_S
    while sum(worker.metric(f"nextclick_{name}_total") for name in OUTCOMES) < n:
        if time.monotonic() > deadline:
            raise FaultError(f"{n} records were not handled within {HANDLED_WITHIN_S:.0f} s")
        time.sleep(0.5)
    used_s = cpu_s(worker.pid) - begun_s
    n_rejected = sum(one.reason is not None for one in producer.acknowledged.values())
    if (counted := worker.metric("nextclick_rejected_clicks_total")) != n_rejected:
        raise FaultError(f"the metric says that {counted:.0f} of {n_rejected} were rejected")
    stage.perform([Stop("w1")])
    return Drained(set(producer.acknowledged), used_s / n * 1e6)


def _rate(stage: Stage, records: set[Position]) -> float:
    """Records a second, from the first outcome to the last."""
    done_ms = [one.append_ms for one in stage.auditor.answers.records if one.click in records]
    done_ms += [one.append_ms for one in stage.auditor.refused.records if one.click in records]
    return len(records) / (max(done_ms) - min(done_ms)) * 1000


def _check_forms(stage: Stage, findings: Findings) -> None:
    """What was rejected is kept as it came, up to 64 KiB, and says what it was."""
    clicks_by_position = {one.position: one for one in stage.auditor.clicks.records}
    for record in read_all(stage.site.servers, stage.site.topics.rejected_clicks):
        headers = record.headers
        click = clicks_by_position[Position(int(headers["partition"]), int(headers["offset"]))]
        whole = click.value or b""
        as_it_came = record.key == click.key and record.value == (
            None if click.value is None else whole[: 1 << 16]
        )
        described = (
            headers["topic"] == stage.site.topics.clicks
            and int(headers["original_bytes"]) == len(whole)
            and len(headers["detail"].encode()) <= 256
        )
        findings.require(as_it_came and described, f"{click.position}: not rejected as it came: {headers}")


ROW = Row(
    6,
    "10 % of records corrupt, of every kind, some of 1 and 10 MB",
    "all of them in rejected-clicks, as they came and with the right reason; no good click lost; throughput"
    " down < 20 %",
    run,
)
