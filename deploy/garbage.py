"""Garbage collection by the clock: a little every second, instead of much amid a batch."""

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 10, 10)
"""A batch in hand is some 30,000 containers, none in a cycle: with Python's 700 the collector took 12 % of a
loaded worker's time, and every few seconds 150 ms in one piece."""
MIDDLE_EVERY: Final = 10
FULL_EVERY: Final = 900


class GarbageCollection:
    """To be made when all is imported and built, and told of every second that passes.

    Left to the threshold, the cycles of a minute (futures and tasks above all) took 60 ms at once. A second's
    take less than 1, those that outlived one 5; a full collection walks all that open sessions hold, 40.
    """

    def __init__(self) -> None:
        gc.collect()
        gc.freeze()  # all that was imported and built so far: a full collection need not look at it
        gc.set_threshold(*THRESHOLDS)
        self._n_beats = 0

    def beat(self) -> None:
        """Collect what has become garbage lately, and now and then what did so long ago."""
        self._n_beats += 1
        full, middle = self._n_beats % FULL_EVERY == 0, self._n_beats % MIDDLE_EVERY == 0
        gc.collect(2 if full else 1 if middle else 0)
