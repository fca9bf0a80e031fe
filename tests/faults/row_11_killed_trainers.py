"""Row 11: a trainer killed at each point of its cycle, a worker serving beside it.

Each round begins by cleaning up what the one before left. At no time is there a folder that is named like a
snapshot and is not a whole one, and whatever is announced can be served.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from streams.announcements import PRODUCTION, Announcement, read_current
from streams.snapshot import TEMPORARY_PREFIX, list_snapshots, load_snapshot
from tests.faults.faulty_trainer import VARIABLE, TrainerPoint
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, EndLoad, Load, Start, Stop, Wait
from tests.faults.stage import FaultError, Stage

QUICK_POINTS: Final = (TrainerPoint.ENCODER, TrainerPoint.RENAMED)
TRAINER: Final = ("--once", "--units", "16", "--epochs", "1", "--min-sessions", "50", "--keep-snapshots", "1")
SERVES_WITHIN_S: Final = 20.0


def run(stage: Stage, size: Size) -> Findings:
    """Kill trainer after trainer; let one finish after each, or where it must be quick after the last."""
    points = size.choose(full=tuple(TrainerPoint), short=tuple(TrainerPoint), quick=QUICK_POINTS)
    stage.perform([Start("w1"), Load(rate=500.0, seconds=3.0), Wait(3.0), AwaitAnswers(), Load(rate=50.0)])
    findings = Findings()
    n_unfinished = 0
    for point in points:
        stage.say(f"  kill a trainer: {point}")
        if (code := _train(stage, point)) != -signal.SIGKILL:
            raise FaultError(f"the trainer was to be killed at {point}, it ended with {code}")
        n_unfinished += len(_unfinished(stage))
        _check_folders(stage, findings, point)
        if size is not Size.QUICK or point is points[-1]:
            _finish(stage, findings, point)
    stage.perform([EndLoad(), AwaitAnswers(), Stop("w1")])
    audit = stage.audit()
    findings.problems += audit.problems(duplicates_allowed=False)
    findings.figures = {
        "kills": len(points),
        "left_unfinished": n_unfinished,
        "published": len({one.snapshot for one in stage.auditor.answers.records}) - 1,
        "worst_delay_ms": max(audit.delays_ms.values()),
        **audit.figures(),
    }
    findings.require(stage.n_started == 1, "the worker had to be started again")
    return findings


def _folder(stage: Stage) -> Path:
    return stage.site.folder / "home" / "snapshots"


def _unfinished(stage: Stage) -> list[Path]:
    return list(_folder(stage).glob(f"{TEMPORARY_PREFIX}*"))


def _train(stage: Stage, point: TrainerPoint | None) -> int:
    """Train once, to the end or to that point; gives the exit code."""
    module = ("deploy.cli.main", "trainer") if point is None else ("tests.faults.faulty_trainer",)
    home = {"NEXTCLICK_HOME": str(stage.site.folder / "home")}
    fault = {} if point is None else {VARIABLE: str(point)}
    with (stage.site.folder / "trainer.log").open("ab") as log:
        return subprocess.run(
            [sys.executable, "-m", *module, *TRAINER],
            env={**os.environ, **stage.site.environment, **home, **fault},
            stdout=log,
            stderr=log,
            check=False,
        ).returncode


def _check_folders(stage: Stage, findings: Findings, point: TrainerPoint) -> None:
    """All that is visible is whole, and so is what is announced."""
    manifests = list_snapshots(str(_folder(stage)))
    visible = {path.name for path in _folder(stage).iterdir() if path.is_dir()}
    strange = visible - {one.version for one in manifests} - {path.name for path in _unfinished(stage)}
    # A deletion that was cut short leaves a folder without a manifest, which by definition does not exist.
    strange = {name for name in strange if (_folder(stage) / name / "manifest.json").exists()}
    findings.require(not strange, f"killed at {point}: half a snapshot {strange}")
    for manifest in manifests:
        snapshot = load_snapshot(f"{_folder(stage)}/{manifest.version}")
        stage.site.snapshots[snapshot.version] = snapshot
    load_snapshot(_announced(stage).location)


def _announced(stage: Stage) -> Announcement:
    return read_current(stage.kafka.connection, stage.site.topics.snapshots)[PRODUCTION]


def _finish(stage: Stage, findings: Findings, point: TrainerPoint) -> None:
    """Let the next trainer finish: it cleans up, and the worker serves what it announces."""
    before = _announced(stage).version
    code = _train(stage, None)
    findings.require(code == 0, f"after a kill at {point} the next trainer ended with {code}")
    findings.require(not _unfinished(stage), f"after a kill at {point} the next trainer did not clean up")
    _check_folders(stage, findings, point)
    announced = _announced(stage).version
    findings.require(announced != before, f"after a kill at {point} the next trainer announced nothing")
    deadline = time.monotonic() + SERVES_WITHIN_S
    while f"snapshot {announced} serves" not in stage.workers["w1"].text():
        if time.monotonic() > deadline:
            raise FaultError(f"the worker does not serve {announced}")
        time.sleep(0.1)


ROW = Row(
    11,
    "trainer killed -9 at each stage of publishing",
    "workers unaffected; the next run cleans up; never a half-published folder",
    run,
    quick=False,  # the trainer's own tests kill it as well
)
