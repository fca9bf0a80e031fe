"""Row 12: a hundred swaps under load.

Every answer is computed once more, from its session as the oracle has it and from the snapshot that it names:
its scores show whether encoder, vocabulary and index were all that snapshot's.
"""

import itertools
import json
import time
from typing import Any, Final

import numpy as np

from index.protocol import Float32Array
from streams.snapshot import Snapshot
from tests.faults.clicks import UNKNOWN_ITEM
from tests.faults.resources import resident_mb
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, EndLoad, Load, Start, Stop, Wait
from tests.faults.stage import FaultError, Stage
from tests.integration.harness import Position, read_all
from tests.integration.site import make_snapshot
from tests.oracle import OracleSession, each_fold, read_click

SWAPPED_WITHIN_S: Final = 60.0
MOST_GROWTH: Final = 0.10
SCORE_TOLERANCE: Final = (
    0.02  # the states differ by half-precision rounding; another model's scores by whole units
)


def run(stage: Stage, size: Size) -> Findings:
    """Announce one snapshot after the other while clicks come, then compute all answers again."""
    n_swaps = size.choose(full=100, short=30, quick=4)
    n_items = size.choose(full=20_000, short=20_000, quick=300)
    snapshots = [_make(stage, seed, n_items) for seed in range(size.choose(full=10, short=10, quick=2))]
    _announce(stage, snapshots[0])
    stage.perform([Start("w1"), Load(rate=300.0), Wait(size.choose(full=20, short=10, quick=1))])
    worker = stage.workers["w1"]
    before_mb = resident_mb(worker.pid)
    announced = [snapshots[0].version]
    for n in range(1, n_swaps + 1):
        announced.append(_announce(stage, snapshots[n % len(snapshots)]))
        _await_swaps(stage, n)
        time.sleep(0.2)
    time.sleep(size.choose(full=20, short=10, quick=1))
    after_mb = resident_mb(worker.pid)
    n_rebuilt = worker.metric("nextclick_sessions_rebuilt_total")
    stage.perform([EndLoad(), AwaitAnswers(), Stop("w1")])
    audit = stage.audit()
    answers = [
        json.loads(one.value or b"")
        for one in read_all(stage.site.servers, stage.site.topics.recommendations)
    ]
    mixed = _mixed_answers(stage, answers)
    delays_ms = sorted(audit.delays_ms.values())
    findings = Findings(
        {
            "swaps": n_swaps,
            "items": n_items,
            "rebuilt": n_rebuilt,
            **audit.figures(),
            "answers_not_of_one_version": len(mixed),
            "memory_before_mb": round(before_mb),
            "memory_after_mb": round(after_mb),
            "p99_delay_ms": delays_ms[len(delays_ms) * 99 // 100],
            "worst_delay_ms": delays_ms[-1],
        },
        audit.problems(duplicates_allowed=False) + mixed[:5],
    )
    findings.require(n_rebuilt > 0, "no session was rebuilt")
    for partition, seen in _versions_in_order(answers).items():
        findings.require(_follows(seen, announced), f"partition {partition}: versions out of order")
    if size is not Size.QUICK:  # a few swaps of small snapshots show nothing
        growth = after_mb / before_mb - 1
        findings.require(growth < MOST_GROWTH, f"memory grew by {growth:.1%}")
    return findings


def _make(stage: Stage, seed: int, n_items: int) -> Snapshot:
    snapshot = make_snapshot(stage.site.folder / "snapshots", 100 + seed, n_items)
    stage.site.snapshots[snapshot.version] = snapshot
    return snapshot


def _announce(stage: Stage, snapshot: Snapshot) -> str:
    stage.site.announce_as(snapshot.version, snapshot.location, snapshot.manifest_sha256)
    return snapshot.version


def _await_swaps(stage: Stage, n: int) -> None:
    deadline = time.monotonic() + SWAPPED_WITHIN_S
    while stage.workers["w1"].metric("nextclick_snapshot_swaps_total") < n:
        if time.monotonic() > deadline:
            raise FaultError(f"swap {n} did not come within {SWAPPED_WITHIN_S:.0f} s")
        time.sleep(0.1)


def _mixed_answers(stage: Stage, answers: list[dict[str, Any]]) -> list[str]:
    """Say which answers are not what their snapshot gives for their session."""
    by_click = {Position(one["click"]["partition"], one["click"]["offset"]): one for one in answers}
    records = {one.position: one for one in stage.auditor.clicks.records}
    folds = each_fold(
        (read_click(*at, records[at].timestamp_ms, records[at].value or b"") for at in sorted(by_click)),
        stage.site.snapshots,
        {at: one["snapshot"] for at, one in by_click.items()},
    )
    vectors = {version: one.encoder.item_vectors() for version, one in stage.site.snapshots.items()}
    problems = []
    for click, session in folds:
        answer = by_click[Position(click.partition, click.offset)]
        if answer["source"] != "model" or all(item_id == UNKNOWN_ITEM for item_id, _, _ in session.items):
            continue
        snapshot = stage.site.snapshots[answer["snapshot"]]
        if not _is_of(snapshot, vectors[snapshot.version], session, answer["items"]):
            problems.append(
                f"the answer to {click.partition}/{click.offset} is not what {snapshot.version} gives"
            )
    return problems


def _is_of(
    snapshot: Snapshot, vectors: Float32Array, session: OracleSession, items: list[dict[str, Any]]
) -> bool:
    """Whether the items are the snapshot's, or fresh, and score what it gives for the session's state."""
    known = [item for item in items if item["item_id"] != UNKNOWN_ITEM]
    rows = [row for item in known if (row := snapshot.vocabulary.row(item["item_id"])) is not None]
    if len(items) != 20 or len(rows) != len(known):
        return False
    scores = vectors[rows] @ snapshot.encoder.queries(session.state[None, :])[0]
    return np.allclose(scores, [item["score"] for item in known], atol=SCORE_TOLERANCE)


def _versions_in_order(answers: list[dict[str, Any]]) -> dict[int, list[str]]:
    """By partition, the versions that answered, each once for as long as it did."""
    in_order = sorted(answers, key=lambda one: (one["click"]["partition"], one["click"]["offset"]))
    return {
        partition: [version for version, _ in itertools.groupby(one["snapshot"] for one in of_partition)]
        for partition, of_partition in itertools.groupby(in_order, lambda one: one["click"]["partition"])
    }


def _follows(seen: list[str], announced: list[str]) -> bool:
    """Whether ``seen`` is ``announced`` with some left out."""
    rest = iter(announced)
    return all(version in rest for version in seen)


ROW = Row(
    12,
    "100 swaps under load",
    "every answer from one version, versions in their order; memory after < +10 % (pauses: bench-swap)",
    run,
)
