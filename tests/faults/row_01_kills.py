"""Row 1: workers killed at random and at each step, and a dead worker's partitions taken over."""

import random

from streams.steps import Step
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, CrashAt, EndLoad, Kill, Load, Start, Stop, Wait
from tests.faults.stage import Action, Stage
from tests.faults.strikes import Point

READY_WITHIN_S = 10.0
TAKEN_OVER_WITHIN_S = 15.0
POINTS: tuple[Step | Point, ...] = (*Step, Point.HALF_ANSWERS, Point.HALF_STATES)
QUICK_POINTS: tuple[Step | Point, ...] = (Step.DELIVER, Step.CHANGELOG, Point.HALF_STATES)


def run(stage: Stage, size: Size) -> Findings:
    """Kill one worker again and again under load, then one of two."""
    chance = random.Random(1)
    n_random = size.choose(full=20, short=6, quick=2)
    points = size.choose(full=POINTS, short=POINTS, quick=QUICK_POINTS)
    script: list[Action] = [Start("w1"), Load(rate=size.choose(full=300, short=300, quick=200))]
    for n in range(n_random):
        script += [Wait(0.2, 3.0, seed=n), Kill("w1"), Start("w1")]
    for point in points:
        # The worker that comes after it has to be ready before it is killed in turn.
        script += [Kill("w1"), CrashAt("w1", point, nth=chance.randint(1, 6)), Start("w1")]
    stage.perform(script)
    takeovers = [take_over(stage) for _ in range(size.choose(full=5, short=2, quick=1))]
    stage.perform([EndLoad(), AwaitAnswers(), Stop("w1")])
    audit = stage.audit()
    ready_s = stage.ready_s["w1"][1:]  # the others have only just been born
    findings = Findings(
        {
            "kills": len(stage.killed_ms),
            **audit.figures(),
            "worst_ready_s": max(ready_s),
            "worst_takeover_s": max(takeovers),
        },
        audit.problems(),
    )
    findings.require(max(ready_s) < READY_WITHIN_S, f"ready again only after {max(ready_s)} s")
    findings.require(max(takeovers) <= TAKEN_OVER_WITHIN_S, f"taken over only after {max(takeovers)} s")
    findings.require(not audit.rejected, f"good clicks were quarantined: {dict(audit.rejected)}")
    return findings


def take_over(stage: Stage) -> float:
    """Kill one of two workers; gives the seconds until each partition has answers again."""
    stage.perform([Start("w2"), Wait(3.0), Kill("w2")])
    killed_ms = stage.killed_ms[-1]
    stage.perform([Wait(TAKEN_OVER_WITHIN_S + 3.0)])
    first_ms: dict[int, int] = {}
    for answer in stage.auditor.answers.read_on():
        if answer.append_ms > killed_ms + 200:  # what was on its way when it was killed
            first_ms.setdefault(answer.partition, answer.append_ms)
    return round((max(first_ms.values()) - killed_ms) / 1000, 2)


ROW = Row(
    1,
    "kill -9 at random and at each step",
    "no click without an answer; all final states equal the oracle; the same worker ready again < 10 s;"
    " another worker answers a dead one's sessions ≤ 15 s; no good click quarantined",
    run,
)
