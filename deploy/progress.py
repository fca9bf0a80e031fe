"""How far long work is: a live bar on a terminal, a plain line now and then anywhere else.

Always on stderr, so that stdout stays what a command was asked for.
"""

import sys
import time
from types import TracebackType
from typing import Final, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeRemainingColumn

PLAIN_EVERY_S: Final = 5.0


class ProgressLine:
    """Shows one piece of work at a time; a context manager."""

    def __init__(self, stream: TextIO | None = None, every_s: float = PLAIN_EVERY_S) -> None:
        self._stream = stream or sys.stderr
        self._every_s = every_s
        self._what = ""
        self._told = 0.0
        self._began = 0.0
        self._task: TaskID | None = None
        self._bar: Progress | None = None
        if self._stream.isatty():
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=30),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(file=self._stream),
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, what: str, done: int = 0, total: int | None = None, note: str = "") -> None:
        """Say how far ``what`` is; another name begins the next piece of work."""
        begins = what != self._what
        self._what = what
        if begins:
            self._began = time.monotonic()
        if self._bar is not None:
            self._show_bar(self._bar, begins, done, total, note)
        elif begins or time.monotonic() - self._told >= self._every_s:
            self._told = time.monotonic()
            print(self._plain(done, total, note), file=self._stream, flush=True)

    def _show_bar(self, bar: Progress, begins: bool, done: int, total: int | None, note: str) -> None:
        if begins and self._task is not None:
            bar.remove_task(self._task)
        if begins or self._task is None:
            self._task = bar.add_task(self._what, total=total or None, note=note)
        bar.update(self._task, completed=done, total=total or None, note=note)

    def _plain(self, done: int, total: int | None, note: str) -> str:
        parts = [f"{100 * done / total:.0f} %"] if total else []
        parts += [note] if note else []
        elapsed_s = time.monotonic() - self._began
        if total and 0 < done < total and elapsed_s > 1:
            parts.append(f"{show_seconds(elapsed_s * (total - done) / done)} left")
        return self._what + (": " + ", ".join(parts) if parts else "")


def show_seconds(seconds: float) -> str:
    """A length of time for people: ``48 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
