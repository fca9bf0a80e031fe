"""What a benchmark leaves: a JSON file under ``results/``, a table on stdout, progress on stderr."""

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import is_quiet, load, machine, versions
from streams.errors import NextclickError

RESULTS = Path(__file__).parent / "results"
WORK = Path(".nextclick") / "benchmarks"
DATA = Path(__file__).parent.parent.parent / "shared" / "data"


def command(main: Callable[[], None]) -> None:
    """Run a benchmark: what stops it is one line, and SIGTERM cleans up as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        main()
    except NextclickError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def parser(text: str | None) -> argparse.ArgumentParser:
    """The flags that every benchmark takes."""
    flags = argparse.ArgumentParser(description=(text or "").split("\n\n")[0])
    flags.add_argument("--data", type=Path, default=DATA, help="folder of the public click logs")
    flags.add_argument("--work", type=Path, default=WORK, help="folder of what is made on the way")
    flags.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    flags.add_argument("--note", default="", help="a remark to keep in the JSON file")
    return flags


def say(line: str) -> None:
    """Progress, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


class Say:
    """Progress of something that reports many times a second: a line every few seconds."""

    def __init__(self, every_s: float = 5.0) -> None:
        self._every_s = every_s
        self._told = 0.0

    def __call__(self, line: str) -> None:
        """Print the line, or not."""
        if time.monotonic() - self._told >= self._every_s:
            self._told = time.monotonic()
            say(line)


@contextmanager
def telling(what: str, every_s: float = 20.0) -> Iterator[None]:
    """Say that ``what`` is still going on, where it takes long and tells nothing itself."""
    done = threading.Event()
    began = time.monotonic()

    def tell() -> None:
        while not done.wait(every_s):
            say(f"{what}: {time.monotonic() - began:.0f} s so far")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Mark:
    """What was set out to be reached, and what was."""

    what: str
    mark: str
    measured: float | None
    held: bool | None  # None: not measured in this run


@dataclass
class Report:
    """A benchmark's result in the making; ``write`` takes the load a last time."""

    benchmark: str
    conditions: dict[str, Any]
    folder: Path
    note: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    _started: float = field(default_factory=time.time)
    _load: dict[str, Any] = field(default_factory=load)

    def __post_init__(self) -> None:
        """Say so where the machine is busy."""
        if not is_quiet(self._load):
            say(f"other programs keep the machine busy ({self._load}): the figures will be worse than it is")

    def mark(self, what: str, wanted: str, measured: float | None, held: bool | None) -> None:
        """Set a measured figure beside what it should be."""
        self.marks.append(Mark(what, wanted, None if measured is None else round(measured, 4), held))

    def write(self) -> Path:
        """Write the JSON file and print the marks; gives the file's path."""
        found = {
            "benchmark": self.benchmark,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(time.time() - self._started, 1),
            "machine": machine(),
            "versions": versions(),
            "load": {"start": self._load, "end": load(), "quiet_at_start": is_quiet(self._load)},
            "conditions": self.conditions,
            **({"note": self.note} if self.note else {}),
            **self.body,
            "marks": [
                {"what": m.what, "mark": m.mark, "measured": m.measured, "held": m.held} for m in self.marks
            ],
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._started))
        path = self.folder / f"{stamp}-{self.benchmark}.json"
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if self.marks:
            print()
            words = {True: "held", False: "MISSED", None: "-"}
            lines = [
                {"what": m.what, "mark": m.mark, "measured": m.measured, "": words[m.held]}
                for m in self.marks
            ]
            print_table(lines)
        say(f"written: {path}")
        return path


def print_table(lines: Sequence[Mapping[str, Any]]) -> None:
    """Print lines of equal columns on stdout; numbers stand to the right."""
    if not lines:
        return
    heads = list(lines[0])
    cells = [heads, *([_text(line.get(head)) for head in heads] for line in lines)]
    widths = [max(len(row[n]) for row in cells) for n in range(len(heads))]
    numeric = [all(isinstance(line.get(head), int | float | None) for line in lines) for head in heads]
    for row in cells:
        padded = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True))
        print("  ".join(padded).rstrip(), flush=True)


def markdown(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of equal columns as a Markdown table; numbers stand to the right."""
    if not lines:
        return ["(nothing measured yet)"]
    heads = list(lines[0])
    right = [all(isinstance(line[head], int | float | None) for line in lines) for head in heads]
    rules = ["---:" if one else "---" for one in right]
    rows = ([show(line[head]) for head in heads] for line in lines)
    return [f"| {' | '.join(row)} |" for row in ([*heads], rules, *rows)]


def show(value: Any) -> str:
    """A figure as people read it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
