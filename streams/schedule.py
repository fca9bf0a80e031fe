"""When a trainer does what: a full training every few hours, in between a refresh every few minutes.

Pure: the clock is an argument, in seconds of any clock that does not step back.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.training_report import Kind


class Round(NamedTuple):
    """What comes next, and when."""

    kind: Kind
    at_s: float
    why: str = ""


@dataclass(slots=True)
class Schedule:
    """Intervals from start to start; without ``refresh_every_s`` there are no refreshes.

    Attributes:
        full_at_s: when a full training is due: at once, unless something serves that was trained lately.
    """

    full_every_s: float
    refresh_every_s: float | None
    full_at_s: float = -math.inf
    _refresh_at_s: float = field(default=math.inf, init=False)

    def something_serves(self, now_s: float, trained_s_ago: float | None) -> None:
        """What was there before this trainer: how long ago it was trained from the start, None if unknown."""
        if trained_s_ago is not None:
            self.full_at_s = now_s + self.full_every_s - trained_s_ago
        self._refresh_at_s = now_s

    def next(self, now_s: float, wanted: str | None = None) -> Round:
        """What is due first; of two that are due the full training. ``wanted`` says why one is due now."""
        if wanted is not None:
            return Round(Kind.FULL, now_s, wanted)
        if self.refresh_every_s is None or self.full_at_s <= max(self._refresh_at_s, now_s):
            return Round(Kind.FULL, self.full_at_s)
        return Round(Kind.REFRESH, self._refresh_at_s)

    def done(self, kind: Kind, began_s: float, *, made: bool) -> None:
        """Take note of a round; one that made nothing is tried again at the shorter of the intervals."""
        shorter_s = min(self.full_every_s, self.refresh_every_s or math.inf)
        if kind is Kind.FULL:
            self.full_at_s = began_s + (self.full_every_s if made else shorter_s)
        if made or kind is Kind.REFRESH:
            self._refresh_at_s = began_s + (self.refresh_every_s or math.inf)
