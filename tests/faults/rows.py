"""A row of the fault table: what is done, what must be seen, and what was."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.faults.stage import Stage


class Size(StrEnum):
    """How much of a row is run."""

    FULL = "full"  # as the table words it
    SHORT = "short"  # long pauses and many repetitions cut
    QUICK = "quick"  # seconds: what every check runs

    def choose(self, full: Any, short: Any, quick: Any) -> Any:
        """Give the one of three values that is meant for this size."""
        return {Size.FULL: full, Size.SHORT: short, Size.QUICK: quick}[self]


@dataclass
class Findings:
    """What a row found: its figures, and why it does not hold, if so.

    ``skipped`` says why this machine does not allow the fault; a row that was skipped is not held either.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    skipped: str = ""

    def require(self, holds: bool, otherwise: str) -> None:
        """Note a problem unless it holds."""
        if not holds:
            self.problems.append(otherwise)


@dataclass(frozen=True, slots=True)
class Row:
    """One row; ``run`` performs it on a fresh stage and gives what it found.

    A row that strikes brokers says ``own_cluster`` and gets one; the others share one broker.
    """

    number: int
    fault: str
    must_show: str
    run: Callable[[Stage, Size], Findings]
    n_brokers: int = 1
    own_cluster: bool = False
    quick: bool = True  # part of every check


def all_rows() -> list[Row]:
    """The rows of all modules ``row_…`` beside this one, by number."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    modules = [importlib.import_module(f"tests.faults.{name}") for name in names if name.startswith("row_")]
    rows: list[Row] = [module.ROW for module in modules]
    return sorted(rows, key=lambda row: row.number)
