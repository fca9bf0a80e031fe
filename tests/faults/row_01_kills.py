"""Row 1: workers killed at random and at each step, and a dead worker's partitions taken over."""

import random
import time
from statistics import median

from streams.steps import Step
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, CrashAt, EndLoad, Kill, Load, Start, Stop, Wait
from tests.faults.stage import Action, FaultError, Stage
from tests.faults.strikes import Point
from tests.integration.site import N_PARTITIONS

READY_WITHIN_S = 10.0
TAKEN_OVER_WITHIN_S = 15.0
ON_ITS_WAY_MS = 200  # what a worker sent just before it was killed arrives by then
POINTS: tuple[Step | Point, ...] = (*Step, Point.HALF_ANSWERS, Point.HALF_STATES)
QUICK_POINTS: tuple[Step | Point, ...] = (Step.DELIVER, Point.HALF_STATES)


def run(stage: Stage, size: Size) -> Findings:
    """Kill one worker again and again under load, then one of two."""
    chance = random.Random(1)
    n_random = size.choose(full=20, short=6, quick=1)
    points = size.choose(full=POINTS, short=POINTS, quick=QUICK_POINTS)
    script: list[Action] = [Start("w1"), Load(rate=size.choose(full=300, short=300, quick=200))]
    for n in range(n_random):
        script += [Wait(0.2, 3.0, seed=n), Kill("w1"), Start("w1")]
    for point in points:
        # The worker that comes after it has to be ready before it is killed in turn.
        script += [Kill("w1"), CrashAt("w1", point, nth=chance.randint(1, 6)), Start("w1")]
    stage.perform(script)
    takeovers = [take_over(stage) for _ in range(size.choose(full=5, short=2, quick=0))]
    stage.perform([EndLoad(), AwaitAnswers(), Stop("w1")])
    audit = stage.audit()
    ready_s = stage.ready_s["w1"][1:]  # the others have only just been born
    findings = Findings(
        {
            "kills": len(stage.killed_ms),
            **audit.figures(),
            "median_ready_s": median(ready_s),
            "worst_ready_s": max(ready_s),
            "worst_takeover_s": max(takeovers, default=None),
        },
        audit.problems(),
    )
    findings.require(max(ready_s) < READY_WITHIN_S, f"ready again only after {max(ready_s)} s")
    for seconds in takeovers:
        findings.require(seconds <= TAKEN_OVER_WITHIN_S, f"taken over only after {seconds} s")
    findings.require(not audit.rejected, f"good clicks were quarantined: {dict(audit.rejected)}")
    return findings


def take_over(stage: Stage) -> float:
    """Kill one of two workers; gives the seconds until each partition has answers again."""
    stage.perform([Start("w2"), Wait(3.0), Kill("w2")])
    killed_ms = stage.killed_ms[-1]
    deadline = time.monotonic() + 3 * TAKEN_OVER_WITHIN_S
    while time.monotonic() < deadline:
        time.sleep(1.0)
        first_ms: dict[int, int] = {}
        for answer in stage.auditor.answers.read_on():
            if answer.append_ms > killed_ms + ON_ITS_WAY_MS:
                first_ms.setdefault(answer.partition, answer.append_ms)
        if len(first_ms) == N_PARTITIONS:
            return round((max(first_ms.values()) - killed_ms) / 1000, 2)
    raise FaultError(f"only the partitions {sorted(first_ms)} have answers again")


ROW = Row(
    1,
    "kill -9 at random and at each step",
    "no click without an answer; all final states equal the oracle; the same worker ready again < 10 s;"
    " another worker answers a dead one's sessions ≤ 15 s; no good click quarantined",
    run,
)
