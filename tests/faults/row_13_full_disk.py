"""Row 13: the disk of a worker is full or read-only, and that of a trainer.

The worker's folder is a small file system in memory that is filled while clicks come. What it says then, that
it ends, that nothing is committed which is not stored, and that nothing is missing once there is room again.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from streams.snapshot import TEMPORARY_PREFIX, list_snapshots, load_snapshot
from tests.faults.rows import Findings, Row, Size
from tests.faults.script import AwaitAnswers, EndLoad, Load, Start, Stop, Wait
from tests.faults.stage import FaultError, Stage

WORKER_MB: Final = 64
TRAINER_KB: Final = (4, 28, 48)  # full at the encoder, the vocabulary, the index
ENDS_WITHIN_S: Final = 20.0
FULL: Final = "No space left on device"
READ_ONLY: Final = "Read-only file system"


class CannotMountError(Exception):
    """This machine lets nobody make a small file system; the text says what it answered."""


def run(stage: Stage, size: Size) -> Findings:
    """Fill the worker's disk under load; start it on a full and on a read-only one; then the trainer's."""
    try:
        with small_disk(stage.site.folder / "home" / "workers" / "w1", f"{WORKER_MB}m") as disk:
            findings = _strike_worker(stage, disk, size)
        if size is not Size.QUICK:
            _strike_trainer(stage, findings)
    except CannotMountError as error:
        return Findings(skipped=f"a small file system cannot be mounted here: {error}")
    return findings


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def _mount(*arguments: str) -> None:
    try:
        answer = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise CannotMountError("there is no command mount") from error
    if answer.returncode:
        raise CannotMountError(" ".join(answer.stderr.split()))


def _fill(folder: Path) -> Path:
    """Leave not one free byte."""
    filler = folder / "filler"
    with filler.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
    return filler


def _strike_worker(stage: Stage, disk: Path, size: Size) -> Findings:
    ends: list[tuple[str, float]] = []
    stage.perform([Start("w1"), Load(rate=300.0), Wait(size.choose(full=10, short=4, quick=2))])
    for _ in range(size.choose(full=3, short=2, quick=1)):
        stage.say("  fill the worker's disk")
        filler = _fill(disk)
        ends.append(_see_end(stage, FULL))
        if size is not Size.QUICK:
            stage.say("  start it on the full disk")
            stage.start("w1")
            ends.append(_see_end(stage, FULL))
        filler.unlink()
        stage.perform([Start("w1"), Wait(2.0)])
    if size is not Size.QUICK:
        stage.perform([Stop("w1")])
        stage.say("  start it on a read-only disk")
        _mount("-o", "remount,ro", str(disk))
        stage.start("w1")
        ends.append(_see_end(stage, READ_ONLY))
        _mount("-o", "remount,rw", str(disk))
        stage.perform([Start("w1"), Wait(1.0)])
    stage.perform([EndLoad(), AwaitAnswers(), Stop("w1")])
    audit = stage.audit()
    return Findings(
        {
            **audit.figures(),
            "ends": len(ends),
            "slowest_end_s": max(seconds for _, seconds in ends),
            "worker_says": sorted({said for said, _ in ends}),
        },
        audit.problems(),
    )


def _see_end(stage: Stage, reason: str) -> tuple[str, float]:
    """See the worker end by itself, with one line that says why; give the line, and the seconds that took."""
    ended = stage.await_end("w1", ENDS_WITHIN_S)
    last = stage.workers["w1"].text().splitlines()[-1]
    if ended.code != 1 or not last.startswith("nextclick: ") or reason not in last:
        raise FaultError(f"ended with {ended.code} and said: {last}")
    return last.replace(str(stage.site.folder), "…"), ended.seconds


def _strike_trainer(stage: Stage, findings: Findings) -> None:
    """Let a trainer publish to disks that are full at one file or another, then to one with room."""
    folder = stage.site.folder / "home" / "snapshots"
    findings.figures["trainer_says"] = []
    with small_disk(folder, f"{TRAINER_KB[0]}k") as disk:
        for size_kb in TRAINER_KB:
            stage.say(f"  let a trainer publish to a disk of {size_kb} KB")
            _mount("-o", f"remount,size={size_kb}k", str(disk))
            said = _train(stage)
            findings.figures["trainer_says"].append(said)
            findings.require(FULL in said and said.startswith("nextclick: "), f"the trainer says: {said}")
            findings.require(list_snapshots(str(disk)) == [], "the trainer left half a snapshot")
        _mount("-o", "remount,size=32m", str(disk))
        said = _train(stage)
        made = list_snapshots(str(disk))
        findings.require(len(made) == 1, f"with room again it published {len(made)}, and said: {said}")
        for manifest in made:
            load_snapshot(f"{disk}/{manifest.version}")
        findings.require(not list(disk.glob(f"{TEMPORARY_PREFIX}*")), "the trainer did not clean up")


def _train(stage: Stage) -> str:
    """Train once; gives the last line on stderr."""
    arguments = ("--once", "--units", "16", "--epochs", "1", "--min-clicks", "200", "--min-sessions", "20")
    trainer = subprocess.run(
        [sys.executable, "-m", "deploy.cli.main", "trainer", *arguments],
        env={**os.environ, **stage.site.environment, "NEXTCLICK_HOME": str(stage.site.folder / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    return (trainer.stderr.strip().splitlines() or [""])[-1].replace(str(stage.site.folder), "…")


ROW = Row(
    13,
    "disk full or read-only, the worker's and the trainer's",
    "clear message, exit, nothing committed; later nothing missing",
    run,
)
