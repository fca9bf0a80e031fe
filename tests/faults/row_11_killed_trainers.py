"""Row 11: a trainer killed at each point of its cycle, a worker serving beside it.

Each round begins by cleaning up what the one before left. At no time is there a folder that is named like a
snapshot and is not a whole one, and whatever is announced can be served.
"""

import signal
from typing import Final

from tests.faults.faulty_trainer import TrainerPoint
from tests.faults.rows import Findings, Row, Size
from tests.faults.stage import FaultError, Stage
from tests.faults.trainers import (
    audit_serving,
    check_folders,
    finish,
    serve_under_load,
    start_trainer,
    unfinished,
)

QUICK_POINTS: Final = (TrainerPoint.ENCODER, TrainerPoint.RENAMED)


def run(stage: Stage, size: Size) -> Findings:
    """Kill trainer after trainer; let one finish after each, or where it must be quick after the last."""
    points = size.choose(full=tuple(TrainerPoint), short=tuple(TrainerPoint), quick=QUICK_POINTS)
    serve_under_load(stage)
    findings = Findings()
    n_unfinished = 0
    for point in points:
        stage.say(f"  kill a trainer: {point}")
        if (code := start_trainer(stage, point=point).wait()) != -signal.SIGKILL:
            raise FaultError(f"the trainer was to be killed at {point}, it ended with {code}")
        n_unfinished += len(unfinished(stage))
        when = f"after a kill at {point}"
        check_folders(stage, findings, when)
        if size is not Size.QUICK or point is points[-1]:
            finish(stage, findings, when)
    findings.figures = {"kills": len(points), "left_unfinished": n_unfinished}
    audit_serving(stage, findings)
    return findings


ROW = Row(
    11,
    "trainer killed -9 at each stage of publishing",
    "workers unaffected; the next run cleans up; never a half-published folder",
    run,
    quick=False,  # the trainer's own tests kill it as well
)
