"""Trainers as a user runs them, and what must be true of their folders whenever one was killed."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from streams.announcements import PRODUCTION, Announcement, read_current
from streams.snapshot import TEMPORARY_PREFIX, list_snapshots, load_snapshot
from tests.faults.faulty_trainer import VARIABLE, TrainerPoint
from tests.faults.rows import Findings
from tests.faults.script import AwaitAnswers, EndLoad, Load, Start, Stop, Wait
from tests.faults.stage import FaultError, Stage

TRAINER: Final = (
    *("--once", "--units", "16", "--epochs", "1", "--min-sessions", "50"),
    *("--keep-snapshots", "1", "--force"),
)
"""Forced: the clicks follow no rule, and the gate may refuse what so small a model makes of them."""
SERVES_WITHIN_S: Final = 20.0


def start_trainer(
    stage: Stage, *arguments: str, point: TrainerPoint | None = None
) -> "subprocess.Popen[bytes]":
    """Train once, to the end or to that point."""
    module = ("deploy.cli.main", "trainer") if point is None else ("tests.faults.faulty_trainer",)
    home = {"NEXTCLICK_HOME": str(stage.site.folder / "home")}
    fault = {} if point is None else {VARIABLE: str(point)}
    with (stage.site.folder / "trainer.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *module, *TRAINER, *arguments],
            env={**os.environ, **stage.site.environment, **home, **fault},
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )


def unfinished(stage: Stage) -> list[Path]:
    """What writers have left that were killed."""
    return list(_folder(stage).glob(f"{TEMPORARY_PREFIX}*"))


def check_folders(stage: Stage, findings: Findings, when: str) -> None:
    """All that is visible is whole, and so is what is announced."""
    manifests = list_snapshots(str(_folder(stage)))
    visible = {path.name for path in _folder(stage).iterdir() if path.is_dir()}
    strange = visible - {one.version for one in manifests} - {path.name for path in unfinished(stage)}
    # A deletion that was cut short leaves a folder without a manifest, which by definition does not exist.
    strange = {name for name in strange if (_folder(stage) / name / "manifest.json").exists()}
    findings.require(not strange, f"{when}: half a snapshot {strange}")
    for manifest in manifests:
        snapshot = load_snapshot(f"{_folder(stage)}/{manifest.version}")
        stage.site.snapshots[snapshot.version] = snapshot
    load_snapshot(_announced(stage).location)


def finish(stage: Stage, findings: Findings, when: str, *arguments: str) -> float:
    """Let the next trainer finish: it cleans up, and the worker serves what it announces.

    Gives the seconds that the trainer took.
    """
    before = _announced(stage).version
    began = time.monotonic()
    code = start_trainer(stage, *arguments).wait()
    seconds = time.monotonic() - began
    findings.require(code == 0, f"{when}: the next trainer ended with {code}")
    findings.require(not unfinished(stage), f"{when}: the next trainer did not clean up")
    check_folders(stage, findings, when)
    announced = _announced(stage).version
    findings.require(announced != before, f"{when}: the next trainer announced nothing")
    deadline = time.monotonic() + SERVES_WITHIN_S
    while f"snapshot {announced} serves" not in stage.workers["w1"].text():
        if time.monotonic() > deadline:
            raise FaultError(f"the worker does not serve {announced}")
        time.sleep(0.1)
    return seconds


def serve_under_load(stage: Stage) -> None:
    """Start the one worker, with enough clicks to train on, and more all the time."""
    stage.perform([Start("w1"), Load(rate=500.0, seconds=3.0), Wait(3.0), AwaitAnswers(), Load(rate=50.0)])


def audit_serving(stage: Stage, findings: Findings) -> None:
    """End it: every click has one answer, and the worker was never started again."""
    stage.perform([EndLoad(), AwaitAnswers(), Stop("w1")])
    audit = stage.audit()
    findings.problems += audit.problems(duplicates_allowed=False)
    findings.figures |= {
        "published": len({one.snapshot for one in stage.auditor.answers.records}) - 1,
        "worst_delay_ms": max(audit.delays_ms.values()),
        **audit.figures(),
    }
    findings.require(stage.n_started == 1, "the worker had to be started again")


def _folder(stage: Stage) -> Path:
    return stage.site.folder / "home" / "snapshots"


def _announced(stage: Stage) -> Announcement:
    return read_current(stage.kafka.connection, stage.site.topics.snapshots)[PRODUCTION]
