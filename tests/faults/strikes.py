"""Where a worker is struck and by what: a value in a test's script, an environment variable to the worker."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from streams.steps import Step

VARIABLE: Final = "FAULTY_WORKER"
STRUCK: Final = "struck at {ms} ms: {strike}"
_STRUCK: Final = re.compile(r"^struck at (\d+) ms", re.MULTILINE)


class Point(StrEnum):
    """Points inside a step; a ``Step`` is struck when it is done."""

    FETCH = "fetch"  # before clicks are fetched
    SEND = "send"  # before answers are sent
    HALF_ANSWERS = "half-answers"  # half of a batch's answers are delivered, the others not even sent
    HALF_STATES = "half-states"  # the same for its changelog records


class Deed(StrEnum):
    """What happens there."""

    KILL = "kill"  # kill -9
    FREEZE = "freeze"  # SIGSTOP, until somebody continues it
    RAISE = "raise"
    HANG = "hang"  # at a Step the whole loop, at a Point only the task that came there


@dataclass(frozen=True, slots=True)
class Strike:
    """Strike a worker once, when it comes to a point for the n-th time since it was started."""

    at: Step | Point
    nth: int = 1
    deed: Deed = Deed.KILL

    def environment(self) -> dict[str, str]:
        """The variable that tells it to ``faulty_worker``."""
        return {VARIABLE: f"{self.at} {self.nth} {self.deed}"}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """Read it back; None where no strike is ordered."""
        if VARIABLE not in environment:
            return None
        at, nth, deed = environment[VARIABLE].split()
        return cls(Point(at) if at in set(Point) else Step(at), int(nth), Deed(deed))


def struck_ms(log: str) -> int | None:
    """When a worker was struck, by its log; None where it was not yet."""
    found = _STRUCK.search(log)
    return int(found[1]) if found else None
