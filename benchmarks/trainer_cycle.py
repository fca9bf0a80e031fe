"""One training cycle, watched from outside: a process of ``nextclick trainer`` and the worker that swaps."""

import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.report import Say, say
from benchmarks.running import BenchmarkError, Running
from benchmarks.site import Run
from streams.endings import EXIT_PAUSED, EXIT_STUCK

LOOK_EVERY_S: Final = 0.2
STOOD_STILL_S: Final = 2.0
"""A look that comes later than this says that the benchmark itself was stopped, and all with it."""
LONGEST_S: Final = 6 * 3600.0
SWAP_S: Final = 600.0
PATIENCE_S: Final = 120.0


class KeptWorker:
    """A worker as a process manager keeps it: started again where it ended itself after it was stopped."""

    def __init__(self, run: Run, *flags: str) -> None:
        self._run, self._flags = run, ("--ranking", "nextclick", *flags)
        self._worker = run.start_worker("w1", *self._flags)
        self.restarts = 0

    def __enter__(self) -> Self:
        self._worker.wait_ready()
        return self

    def __exit__(self, *error: object) -> None:
        self._worker.stop()

    def version(self) -> str | None:
        """Which snapshot it serves; None where it does not say, as while it swaps."""
        if self._worker.process.poll() in (EXIT_PAUSED, EXIT_STUCK):
            self.restarts += 1
            say("the worker ended itself, it is started again")
            self._worker = self._run.start_worker("w1", *self._flags)
        self._worker.check()
        with suppress(OSError):
            for series, value in self._worker.metrics().items():
                found = re.fullmatch(r'nextclick_snapshot_info\{version="([^"]*)"\}', series)
                if found and value:
                    return found[1]
        return None

    def wait_answered(self, n_clicks: int) -> int:
        """Wait until so many clicks are answered, so that it leaves the cores alone; gives how many are.

        Where the machine is so busy that the worker is still behind after `PATIENCE_S`, it goes on beside.
        """
        until = time.monotonic() + PATIENCE_S
        while (n_done := self._run.site.n_records(self._run.topics.recommendations)) < n_clicks:
            self.version()
            if time.monotonic() > until:
                say(f"{n_done:,} of {n_clicks:,} clicks are answered, the worker goes on meanwhile")
                break
            time.sleep(2.0)
        return n_done


@dataclass(frozen=True, slots=True)
class Cycle:
    """Where cycles take place: a run's topics, the snapshots' folder and an archive or none."""

    run: Run
    location: Path
    archive: Path | None

    def measure(self, what: str, flags: list[str], worker: KeptWorker | None = None) -> dict[str, Any]:
        """One cycle; seconds count from the start of its process to the worker's swap, where there is one."""
        say(f"cycle: {what}")
        before = None if worker is None else worker.version()
        with self._start(what, flags) as trainer:
            watch = _Watch(trainer, worker, before)
            watch.until_ended()
            found = _result(trainer)
            if worker is not None:
                watch.until_swapped(found["snapshot"])
        gate = found["gate"]
        compared = {
            f"{whose}_recall": gate[key].get("recall@20")
            for whose, key in (("its", "candidate"), ("served", "served"))
        }
        return {
            "what": what,
            "clicks": found["clicks"],
            "sessions": found["sessions"],
            "items": found["items"],
            "version": found["snapshot"],
            "swapped_s": watch.swapped_s,
            "ended_s": watch.ended_s,
            "trainer_s": found["seconds"],
            "stages": found["stages"],
            "cpu_s": round(watch.cpu_s, 1),
            "peak_mb": round(watch.peak_mb),
            "stood_still_s": round(watch.stood_still_s, 1),
            "snapshot_mb": gate["megabytes"],
            "index_recall": gate["index_recall"],
            **compared,
        }

    def _start(self, what: str, flags: list[str]) -> Running:
        topics = self.run.topics
        settings = {
            "HOME": str(self.run.folder / "trainer"),
            "BOOTSTRAP_SERVERS": self.run.site.connection.bootstrap_servers,
            "GROUP": self.run.group,
            "CLICKS_TOPIC": topics.clicks,
            "SNAPSHOTS_TOPIC": topics.snapshots,
            "SNAPSHOTS": str(self.location),
            "WINDOW_DAYS": "60",
        }
        if self.archive is not None:
            settings["ARCHIVE"] = str(self.archive)
        environment = {f"NEXTCLICK_{key}": value for key, value in settings.items()}
        name = f"trainer-{what.replace(' ', '-')}"
        return self.run.start(name, "deploy.cli.main", "trainer", "--once", "--json", *flags, **environment)


class _Watch:
    """What is seen of a cycle while it goes on."""

    def __init__(self, trainer: Running, worker: KeptWorker | None, before: str | None) -> None:
        self._trainer, self._worker, self._before = trainer, worker, before
        self.peak_mb = self.cpu_s = self.stood_still_s = 0.0
        self.ended_s: float | None = None
        self.swapped_s: float | None = None
        self._swapped_to: str | None = None
        self._looked = time.monotonic()
        self._tell = Say(20.0)

    def until_ended(self) -> None:
        """Look until the trainer has ended; raises BenchmarkError where that takes for ever."""
        while self._trainer.process.poll() is None:
            self.peak_mb = max(self.peak_mb, self._trainer.peak_rss_mb() or 0.0)
            with suppress(Exception):  # it may end between two looks
                self.cpu_s = self._trainer.cpu_s()
            self._look()
            self._tell(f"{self._trainer.name}: {self._last_line()}, {self.peak_mb:,.0f} MB")
        self.ended_s = round(self._now_s(), 2)

    def until_swapped(self, version: str) -> None:
        """Look until the worker serves that version."""
        until = time.monotonic() + SWAP_S
        while self._swapped_to != version:
            if time.monotonic() > until:
                raise BenchmarkError(f"the worker does not serve {version} after {SWAP_S:.0f} s")
            self._look()

    def _look(self) -> None:
        time.sleep(LOOK_EVERY_S)
        now = time.monotonic()
        if now - self._looked > STOOD_STILL_S:
            self.stood_still_s += now - self._looked
        self._looked = now
        if now - self._trainer.started_s > LONGEST_S:
            raise self._trainer.failed(f"did not end within {LONGEST_S:.0f} s")
        if self._worker is not None:
            version = self._worker.version()
            if version not in (None, self._before, self._swapped_to):
                self._swapped_to, self.swapped_s = version, round(self._now_s(), 2)

    def _now_s(self) -> float:
        return time.monotonic() - self._trainer.started_s

    def _last_line(self) -> str:
        lines = self._trainer.text().splitlines()
        return lines[-1] if lines else "started"


def _result(trainer: Running) -> dict[str, Any]:
    """What the command printed last; raises BenchmarkError where it failed or published nothing."""
    lines = [line for line in trainer.text().splitlines() if line.startswith("{")]
    if trainer.process.returncode != 0 or not lines:
        raise trainer.failed(f"ended with {trainer.process.returncode}")
    found: dict[str, Any] = json.loads(lines[-1])
    if not found["announced"]:
        raise trainer.failed("announced nothing")
    return found
