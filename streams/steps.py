"""The steps of a micro-batch by name: what the stage times are of, and where a test may strike."""

import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import ClassVar

from prometheus_client import Histogram


class Step(StrEnum):
    """What has just been done, in the order in which it is done."""

    TAKE = "take"
    DECODE = "decode"
    READ = "read"
    ADVANCE = "advance"
    SEARCH = "search"
    RANK = "rank"
    DELIVER = "deliver"  # every answer is acknowledged by the brokers
    CHANGELOG = "changelog"  # and every state
    WRITE = "write"
    ACKNOWLEDGE = "acknowledge"


def ignore(step: Step) -> None:
    """For a batch whose progress nobody follows."""


class Progress:
    """Goes with one micro-batch through its steps and times them, each from the end of the one before."""

    at_step: ClassVar[Callable[[Step], None] | None] = None
    """Called after each step where it is set: tests kill, pause or raise there. None in service."""

    def __init__(self, stages: Mapping[Step, Histogram]) -> None:
        self._stages = stages
        self._since = time.perf_counter()

    def done(self, step: Step) -> None:
        """Note that a step is done."""
        now = time.perf_counter()
        self._stages[step].observe(now - self._since)
        self._since = now
        if Progress.at_step is not None:
            Progress.at_step(step)
