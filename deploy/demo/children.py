"""The demo's processes: started with it, never outliving it, and explained when they end by themselves.

Each child gets SIGKILL when the thread that started it dies, whatever that died of, so start them from the
main thread. Ctrl-C reaches only the demo, which ends its children in order.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from streams.errors import NextclickError

STOP_TIMEOUT_S: Final = 15.0
MOST_RESTARTS: Final = 5
SHORTEST_LIFE_S: Final = 1.0

# PR_SET_PDEATHSIG survives exec; a launcher and not preexec_fn, which may deadlock beside threads.
_LAUNCHER: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ChildError(NextclickError):
    """A process of the demo ended by itself; the text says which, and its own last words."""


class Child:
    """``python -m module …`` with its words in a log file; stdin and stdout are pipes where asked for."""

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        pipes: bool = False,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._folder = folder
        self._environment = dict(environment)
        # -P: modules come from the installed packages, not from whatever lies in the current folder.
        self._command = [sys.executable, "-P", "-m", module, *arguments]
        self._pipes = pipes
        self._log_start = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and return at once."""
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*launcher, *self._command],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.PIPE if self._pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if self._pipes else log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it runs or before it was started."""
        return None if self.process is None else self.process.poll()

    def text(self) -> str:
        """What this start of the process has logged."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_start)
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def last_line(self) -> str:
        """The last line it logged, empty where there is none."""
        lines = self.text().split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def error(self) -> ChildError:
        """Why it ended, in its own words."""
        said = re.findall(r"^nextclick: (.+)$", self.text(), re.MULTILINE)
        reason = said[-1] if said else self.last_line() or f"exit code {self.exit_code}"
        return ChildError(f"the {self.name} ended by itself: {reason} (its log: {self.log})")

    def ask_to_stop(self) -> None:
        """Send SIGTERM unless it has ended."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End it, by force where it takes longer; safe to call twice."""
        if self.process is None:
            return
        self.ask_to_stop()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Supervised:
    """A child that is started again when it ends, as a process manager would."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.n_restarts = 0
        self._started = 0.0

    def start(self) -> None:
        """Start it for the first time."""
        self._started = time.monotonic()
        self.child.start()

    def check(self) -> bool:
        """Start it again if it has ended; tells whether it had. Raises ChildError where that is no use."""
        if self.child.exit_code is None:
            return False
        if self.n_restarts == MOST_RESTARTS:
            raise self.child.error()
        if time.monotonic() - self._started < SHORTEST_LIFE_S:
            return False  # in no hurry where it dies at once
        self.n_restarts += 1
        self.start()
        return True
