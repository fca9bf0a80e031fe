"""Archivers that compete for one archive and are killed, and the archive beside what the topic holds.

What is counted here is read with plain pyarrow and aiokafka, as another program would read both.
"""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from tests.faults.rows import Findings
from tests.faults.stage import FaultError, Stage
from tests.integration.harness import Position, read_all

EVERY: Final = "2s"
ARCHIVED_WITHIN_S: Final = 60.0
_Click = tuple[str, str, int]  # session, item, arrival


class Archivers:
    """Some ``nextclick archive --every`` at one location; each is started again after it was killed."""

    def __init__(self, stage: Stage, n: int, chance: random.Random) -> None:
        self.location = stage.site.folder / "archive"
        self.n_killed = 0
        self._log = stage.site.folder / "archivers.log"
        self._stage, self._chance = stage, chance
        self._running = [self._start() for _ in range(n)]

    def files(self) -> list[Path]:
        """All that stands in the archive under its name."""
        return [path for path in self.location.rglob("*.parquet") if not path.name.startswith(".")]

    def n_told(self) -> int:
        """How many clicks they say they have archived: those that both did count twice."""
        text = self._log.read_text(errors="replace")
        return sum(
            int(n.replace(",", "")) for n in re.findall(r"^([\d,]+) clicks archived", text, re.MULTILINE)
        )

    def await_more(self) -> None:
        """Wait until something is archived that was not."""
        before = set(self.files())
        deadline = time.monotonic() + ARCHIVED_WITHIN_S
        while not set(self.files()) - before:
            if time.monotonic() > deadline:
                raise FaultError(f"nothing was archived in {ARCHIVED_WITHIN_S:.0f} s")
            time.sleep(0.02)

    def kill(self, within_s: float) -> None:
        """kill -9 each at a moment of its own, and start it again."""
        for number, process in enumerate(self._running):
            time.sleep(self._chance.uniform(0, within_s))
            if process.poll() is not None:
                raise FaultError(f"an archiver ended by itself with {process.returncode}")
            process.kill()
            process.wait()
            self.n_killed += 1
            self._running[number] = self._start()

    def end(self) -> None:
        """End them all, as a crash would."""
        for process in self._running:
            process.kill()
            process.wait()

    def command(self, *arguments: str) -> str:
        """Run ``nextclick archive`` with these; gives what it says."""
        answer = subprocess.run(
            [*self._command(), *arguments],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            raise FaultError(f"nextclick archive {arguments} ended with {answer.returncode}: {answer.stderr}")
        return answer.stdout

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*self._command(), "--every", EVERY],
                env=self._environment(),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "deploy.cli.main", "archive", "--archive", str(self.location)]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._stage.site.environment}


@contextmanager
def archivers(stage: Stage, n: int, chance: random.Random) -> Iterator[Archivers]:
    """Let so many run while the body does."""
    running = Archivers(stage, n, chance)
    try:
        yield running
    finally:
        running.end()


def audit_archive(stage: Stage, running: Archivers, findings: Findings) -> None:
    """Finish the archive and merge its files; then each click of the topic stands in it exactly once."""
    running.command()
    running.command("compact")
    rows = _archived(running.files())
    clicks = _written(stage)
    findings.figures |= {
        "rows": rows.total(),
        "archived_in_all": running.n_told(),
        "rows_lost": sum((clicks - rows).values()),
        "rows_double": sum(n - 1 for n in rows.values()),
        "rows_of_no_click": sum(1 for row in rows if row not in clicks),
    }
    for figure in ("rows_lost", "rows_double", "rows_of_no_click"):
        findings.require(
            findings.figures[figure] == 0, f"the archive has {findings.figures[figure]} {figure}"
        )
    findings.require(
        stage.acknowledged.keys() <= {position for position, _ in clicks}, "the topic lost clicks"
    )


def _archived(files: list[Path]) -> "Counter[tuple[Position, _Click]]":
    rows: Counter[tuple[Position, _Click]] = Counter()
    for file in files:
        table = pq.read_table(file, partitioning=None).to_pylist()
        rows.update(
            (
                Position(row["partition"], row["offset"]),
                (row["session_id"], row["item_id"], row["arrival_ms"]),
            )
            for row in table
        )
    return rows


def _written(stage: Stage) -> "Counter[tuple[Position, _Click]]":
    written: Counter[tuple[Position, _Click]] = Counter()
    for record in read_all(stage.site.servers, stage.site.topics.clicks):
        assert record.value is not None
        click = json.loads(record.value)
        written[record.position, (click["session_id"], click["item_id"], record.timestamp_ms)] += 1
    return written
