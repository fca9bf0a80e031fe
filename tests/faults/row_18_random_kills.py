"""Row 18: a trainer killed at random moments of its cycle, and with it two archivers that compete.

Clicks flow all the time, a worker answers them, and the trainer reads what is archived. After each kill the
next trainer finishes; at the end each click stands in the archive exactly once.
"""

import os
import random
import time

from tests.faults.archivers import archivers, audit_archive
from tests.faults.rows import Findings, Row, Size
from tests.faults.stage import Stage
from tests.faults.trainers import (
    audit_serving,
    check_folders,
    finish,
    serve_under_load,
    start_trainer,
    unfinished,
)

ARCHIVERS_WITHIN_S = 0.7
SEED = int(os.environ.get("FAULTS_SEED", "18"))
"""Of the moments: other ones are worth a run, too."""


def run(stage: Stage, size: Size) -> Findings:
    """Kill, check, let the next one finish; the moments are drawn from the time that a whole run took."""
    chance = random.Random(SEED)
    serve_under_load(stage)
    findings = Findings()
    n_kills, moments = size.choose(full=20, short=5, quick=1), list[float]()
    n_unfinished = 0
    with archivers(stage, 2, chance) as running:
        running.await_more()
        arguments = ("--archive", str(running.location))
        took_s = finish(stage, findings, "before any kill", *arguments)
        while len(moments) < n_kills:
            after_s = chance.uniform(0.0, took_s)
            trainer = start_trainer(stage, *arguments)
            time.sleep(after_s)
            if trainer.poll() is not None:  # it was faster this time
                check_folders(stage, findings, "after a whole run")
                continue
            trainer.kill()
            trainer.wait()
            moments.append(round(after_s, 2))
            when = f"after a kill at {after_s:.2f} s of {took_s:.2f} s"
            stage.say(f"  {when}")
            n_unfinished += len(unfinished(stage))
            running.kill(ARCHIVERS_WITHIN_S)
            check_folders(stage, findings, when)
            took_s = finish(stage, findings, when, *arguments)
    findings.figures = {
        "kills": len(moments),
        "moments_s": moments,
        "archivers_killed": running.n_killed,
        "seed": SEED,
        "left_unfinished": n_unfinished,
    }
    audit_serving(stage, findings)
    audit_archive(stage, running, findings)
    return findings


ROW = Row(
    18,
    "trainer killed -9 at random moments, and two competing archivers with it",
    "workers unaffected; the next run finishes; never a half-published folder; each click archived once",
    run,
    quick=False,  # the trainer's and the archive's own tests kill them as well
)
