"""Row 6: a tenth of all records is no click, some of them of 1 and 10 MB, compressed with gzip.

What a corrupt record costs is measured as the worker's CPU time per record, in portions that are clean and
corrupt by turns: the worker is one core's work, so its throughput is the inverse, and other processes on the
machine do not count.
"""

import os
import time
from pathlib import Path
from statistics import median

from streams.kafka import ConfigResource, open_admin
from tests.faults.clicks import clicks
from tests.faults.corrupt import MEGABYTE, partly_corrupt
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, Start, Stop
from tests.faults.stage import FaultError, Stage
from tests.integration.harness import Position, read_all

SHARE = 0.1
LARGE = (MEGABYTE, MEGABYTE, 10 * MEGABYTE)
MOST_SLOWDOWN = 0.2
AS_FAST_AS_IT_GOES = 50_000.0
HANDLED_WITHIN_S = 120.0


def run(stage: Stage, size: Size) -> Findings:
    """Send clean and corrupt portions by turns; then look at what was rejected."""
    n_rounds = size.choose(full=7, short=3, quick=1)
    n = size.choose(full=20_000, short=10_000, quick=3_000)
    _allow_records_of(stage, 12 * MEGABYTE)
    stage.perform([Start("w1")])
    worker = stage.workers["w1"]
    _portion(stage, clean=True, seed=1, n=n // 2)  # to be warm
    clean_us, corrupt_us = [], []
    for round_ in range(n_rounds):
        clean_us.append(_portion(stage, clean=True, seed=100 + round_, n=n))
        corrupt_us.append(_portion(stage, clean=False, seed=200 + round_, n=n))
    slowdown = 1 - median(clean_us) / median(corrupt_us)
    rejected_metric = worker.metric("nextclick_rejected_clicks_total")
    stage.perform([AwaitAnswers(), Stop("w1")])
    audit = stage.audit()
    n_corrupt = sum(one.reason is not None for one in stage.acknowledged.values())
    findings = Findings(
        {
            "records": audit.clicks,
            "corrupt": n_corrupt,
            "of_1_and_10_MB": n_rounds * len(LARGE),
            **audit.figures(),
            "cpu_us_per_record_clean": round(median(clean_us), 1),
            "cpu_us_per_record_corrupt": round(median(corrupt_us), 1),
            "throughput_down": round(slowdown, 3),
        },
        audit.problems(duplicates_allowed=False),
    )
    findings.require(
        audit.rejected.total() == n_corrupt, f"{audit.rejected.total()} of {n_corrupt} were rejected"
    )
    findings.require(rejected_metric == n_corrupt, f"the metric says {rejected_metric:.0f} were rejected")
    # A handful of thousand records is too few to time.
    if size is not Size.QUICK:
        findings.require(slowdown < MOST_SLOWDOWN, f"throughput is down by {slowdown:.0%}")
    _check_forms(stage, findings)
    return findings


def _allow_records_of(stage: Stage, n_bytes: int) -> None:
    config = {"max.message.bytes": str(n_bytes)}
    with open_admin(stage.kafka.connection) as admin:
        admin.alter_configs([ConfigResource("TOPIC", stage.site.topics.clicks, config)])


def _portion(stage: Stage, *, clean: bool, seed: int, n: int) -> float:
    """Send so many records and wait until the worker is through; gives its CPU time per record in µs."""
    worker = stage.workers["w1"]
    before_s, handled = _cpu_s(worker.pid), _n_handled(stage)
    records = clicks(seed) if clean else partly_corrupt(seed, n, SHARE, LARGE)
    stage.load(records, AS_FAST_AS_IT_GOES, n, compression="gzip").join(HANDLED_WITHIN_S)
    deadline = time.monotonic() + HANDLED_WITHIN_S
    while _n_handled(stage) < handled + n:
        if time.monotonic() > deadline:
            raise FaultError(f"{n} records were not handled within {HANDLED_WITHIN_S:.0f} s")
        time.sleep(0.05)
    return (_cpu_s(worker.pid) - before_s) / n * 1e6


def _n_handled(stage: Stage) -> float:
    names = ("clicks", "replays_skipped", "rejected_clicks")
    return sum(stage.workers["w1"].metric(f"nextclick_{name}_total") for name in names)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
