"""Row 17: a worker whose time stood still comes back to partitions that are another's, and writes nothing."""

import random

from streams.endings import EXIT_PAUSED
from streams.steps import Step
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import (
    AwaitAnswers,
    Continue,
    EndLoad,
    FreezeAt,
    Kill,
    Load,
    Pause,
    Start,
    Stop,
    Wait,
)
from tests.faults.stage import Action, Stage
from tests.faults.strikes import Point

ENDED_WITHIN_S = 10.0
POINTS: tuple[Step | Point, ...] = (Step.TAKE, Step.RANK, Step.DELIVER, Point.HALF_STATES, Step.CHANGELOG)
PARTITIONS_MOVE_S = 14.0  # the session time-out and a rebalance


def run(stage: Stage, size: Size) -> Findings:
    """Stop a worker's time, anywhere and at the points that matter, while another takes over."""
    n_random, random_s = size.choose(full=(3, 90.0), short=(1, 25.0), quick=(0, 0.0))
    points = size.choose(full=POINTS, short=POINTS[2:], quick=(Point.HALF_STATES,))
    point_s = size.choose(full=90.0, short=25.0, quick=PARTITIONS_MOVE_S)
    chance = random.Random(17)
    findings = Findings()
    stage.perform([Start("other"), Load(rate=300, n_sessions=400)])
    for n in range(n_random):
        stage.perform([Start("w1"), Wait(1.0, 4.0, seed=n), Pause("w1", random_s)])
        come_to_an_end(stage, findings, "anywhere")
    for point in points:
        stage.perform([FreezeAt("w1", point, chance.randint(20, 60), point_s), Continue("w1")])
        come_to_an_end(stage, findings, str(point))
    if size is not Size.QUICK:
        stage.perform(given_away_and_taken_back())
    stage.perform([EndLoad(), AwaitAnswers()])
    stage.perform([Stop(name) for name, worker in stage.workers.items() if worker.running])
    audit = stage.audit()
    findings.problems += audit.problems()
    findings.figures = {
        "pauses": n_random + len(points),
        "paused_s": random_s or point_s,
        "worst_end_s": max(ended.seconds for ended in stage.endings if ended.code == EXIT_PAUSED),
        **audit.figures(),
    }
    return findings


def come_to_an_end(stage: Stage, findings: Findings, where: str) -> None:
    """See the worker end itself, now that its time goes on."""
    ended = stage.await_end("w1", 3 * ENDED_WITHIN_S)
    findings.require(ended.code == EXIT_PAUSED, f"paused {where}: exit {ended.code}")
    findings.require(ended.seconds <= ENDED_WITHIN_S, f"paused {where}: ended only after {ended.seconds} s")


def given_away_and_taken_back() -> list[Action]:
    """Partitions go to and fro between two workers' folders, by clean stops and by deaths."""
    there_and_back: list[Action] = [Start("w1")]
    for name in ("w1", "other", "w1", "other"):
        there_and_back += [Wait(2.0), Stop(name), Wait(3.0), Start(name)]
        there_and_back += [Wait(2.0), Kill(name), Wait(PARTITIONS_MOVE_S), Start(name)]
    return there_and_back


ROW = Row(
    17,
    "worker stopped for 90 s under load; a partition given away and taken back on the same folder",
    "states equal the oracle; nothing written by the old generation",
    run,
)
