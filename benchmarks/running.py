"""Processes under measurement, watched from outside: their CPU, memory, files, log, and a worker's pages."""

import re
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psutil

from streams.errors import NextclickError

STOP_TIMEOUT_S = 20.0


class BenchmarkError(NextclickError):
    """A benchmark that cannot go on; the text says why."""


@dataclass
class Running:
    """A process under measurement, its output in ``log``; a context manager that ends it."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    started_s: float  # on the monotonic clock
    log_begins: int = 0  # what stands before is an earlier process's
    _watched: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self._watched = psutil.Process(self.process.pid)

    def cpu_s(self) -> float:
        """Seconds of CPU of all its threads so far."""
        times = self._watched.cpu_times()
        return float(times.user + times.system)

    def rss_mb(self) -> float:
        """Resident memory."""
        return float(self._watched.memory_info().rss / 1e6)

    def peak_rss_mb(self) -> float | None:
        """The most that it ever was; None where the system does not tell."""
        try:
            text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        except OSError:
            return None
        found = re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE)
        return int(found[1]) * 1024 / 1e6 if found else None

    def n_open_files(self) -> int:
        """Files, sockets and pipes."""
        return int(self._watched.num_fds())

    def check(self) -> None:
        """Raise BenchmarkError where it has ended."""
        if (code := self.process.poll()) is not None:
            raise self.failed(f"ended by itself with {code}")

    def failed(self, how: str) -> "BenchmarkError":
        """Give the error to raise, and show the end of the log, which goes with the run's folder."""
        lines = [line for line in self.text().splitlines() if line.strip()] or ["it has logged nothing"]
        print("\n".join(lines[-30:]), file=sys.stderr, flush=True)
        return BenchmarkError(f"{self.name} {how}: {lines[-1].strip()}")

    def text(self) -> str:
        """What it has logged."""
        with self.log.open("rb") as log:
            log.seek(self.log_begins)
            return log.read().decode("utf-8", errors="replace")

    def stop_cleanly(self) -> None:
        """Ask it to end; raises BenchmarkError where it does not, or not with 0."""
        self.check()
        self.process.terminate()
        try:
            code = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise self.failed(f"did not stop within {STOP_TIMEOUT_S:.0f} s") from error
        if code:
            raise self.failed(f"stopped with {code}")

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it, by force where it takes long."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class RunningWorker(Running):
    """A worker, which also tells about itself."""

    _address: str | None = None

    def get(self, path: str) -> str:
        """Ask its web server; raises OSError where it does not answer, or not with 200."""
        if self._address is None:
            found = re.search(r"http://([^/\s]+)/metrics", self.text())
            if found is None:
                raise OSError("the worker has not told its address yet")
            self._address = found[1]
        with urllib.request.urlopen(f"http://{self._address}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def metrics(self) -> dict[str, float]:
        """All series by name with labels, as Prometheus would read them."""
        lines = (line for line in self.get("/metrics").splitlines() if line and not line.startswith("#"))
        return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines)}

    def wait_ready(self, timeout_s: float = 120.0) -> float:
        """Wait until it serves; gives the seconds since it was started."""
        while time.monotonic() - self.started_s < timeout_s:
            self.check()
            with suppress(OSError):
                self.get("/ready")
                return time.monotonic() - self.started_s
            time.sleep(0.05)
        raise self.failed(f"was not ready within {timeout_s:.0f} s")
