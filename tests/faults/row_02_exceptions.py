"""Row 2: an exception that no click is to blame for ends the worker at once, and loses nothing."""

import random

from streams.steps import Step
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, EndLoad, Load, Start, Stop
from tests.faults.stage import Stage
from tests.faults.strikes import Deed, Point, Strike

ENDED_WITHIN_S = 5.0
PATIENCE_S = 20.0
# An exception inside the recommender is taken for a click's: the batch is answered one by one, see row 7.
OUTSIDE_A_CLICK: tuple[Step | Point, ...] = (
    Point.FETCH,
    Step.TAKE,
    Step.DECODE,
    Step.READ,
    Step.RANK,
    Point.HALF_ANSWERS,
    Step.DELIVER,
    Point.HALF_STATES,
    Step.CHANGELOG,
    Step.WRITE,
    Step.ACKNOWLEDGE,
)
QUICK: tuple[Step | Point, ...] = (Step.DELIVER,)


def run(stage: Stage, size: Size) -> Findings:
    """Raise at each point in turn while clicks come, then let a worker work in peace."""
    chance = random.Random(2)
    points = size.choose(full=OUTSIDE_A_CLICK, short=OUTSIDE_A_CLICK, quick=QUICK)
    findings = Findings()
    stage.perform([Load(rate=300)])
    for point in points:
        strike = Strike(point, chance.randint(1, 6), Deed.RAISE)
        stage.perform([Start("w1", strike=strike, ready=False)])
        ended = stage.await_end("w1", PATIENCE_S, since_ms=stage.await_struck("w1"))
        findings.require(ended.code > 0, f"raised at {point}: exit {ended.code}")
        findings.require(ended.seconds <= ENDED_WITHIN_S, f"raised at {point}: ended after {ended.seconds} s")
    stage.perform([Start("w1"), EndLoad(), AwaitAnswers(), Stop("w1")])
    audit = stage.audit()
    findings.problems += audit.problems()
    findings.figures = {
        "exceptions": len(points),
        "worst_end_s": max(ended.seconds for ended in stage.endings[:-1]),
        "exit_codes": sorted({ended.code for ended in stage.endings[:-1]}),
        **audit.figures(),
    }
    return findings


ROW = Row(
    2, "unexpected exception outside one click", "exit ≠ 0 within 5 s; after restart nothing missing", run
)
