"""Figures of the lifecycle demo, each computed from what the front end noted."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from deploy.demo.journal import Answered, Judged
from deploy.demo.tally import percentile

BEYOND_CHANCE: Final = 3.0  # standard errors
LAST_ITEMS_S: Final = 10.0  # an item that came so late has not had the time to be shown


@dataclass(frozen=True, slots=True)
class Rate:
    """Hits among clicks."""

    clicks: int
    rate: float

    @classmethod
    def of(cls, hits: Sequence[bool]) -> "Rate":
        """Count them."""
        return cls(len(hits), sum(hits) / len(hits) if hits else 0.0)


@dataclass(frozen=True, slots=True)
class Gain:
    """Hit rates of two sides on the same clicks, and their difference with its standard error by sessions."""

    clicks: int
    refreshed: float
    never_refreshed: float
    standard_error: float

    @classmethod
    def of(cls, judged: Iterable[Judged]) -> "Gain":
        """Compare them."""
        sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        clicks = hits = beside = 0
        for one in judged:
            clicks, hits, beside = clicks + 1, hits + one.hit, beside + one.hit_beside
            of_session = sums[one.session_id]
            of_session[0] += one.hit - one.hit_beside
            of_session[1] += 1
        if not clicks:
            return cls(0, 0.0, 0.0, 0.0)
        mean = (hits - beside) / clicks
        variance = sum((difference - mean * n) ** 2 for difference, n in sums.values())
        return cls(clicks, hits / clicks, beside / clicks, math.sqrt(variance) / clicks)

    @property
    def difference(self) -> float:
        """What refreshing has brought."""
        return self.refreshed - self.never_refreshed

    @property
    def beyond_chance(self) -> bool:
        """Whether that is more than luck."""
        return self.clicks > 0 and self.difference > BEYOND_CHANCE * self.standard_error


class SabotageKind(StrEnum):
    """What is done to a copy of what serves."""

    SHUFFLED = "shuffled"
    """Every tensor keeps its shape and its numbers, in another order."""
    NOISE = "noise"
    """Encoder and ranking were trained on clicks drawn at random."""
    INDEX = "index"
    """The index is that of another version of the encoder."""

    @property
    def told(self) -> str:
        """In the words of the demo."""
        return {"shuffled": "weights shuffled", "noise": "trained on noise"}.get(self, "another's index")

    @property
    def can_be_read(self) -> bool:
        """Whether whoever loads it takes it for a snapshot."""
        return self is not SabotageKind.INDEX


@dataclass(frozen=True, slots=True)
class Sabotage:
    """What became of the bad snapshot: times in seconds after the stream's first click."""

    kind: SabotageKind = SabotageKind.SHUFFLED
    version: str = ""
    refused: bool = False
    reasons: list[str] = field(default_factory=list)
    forced_s: float | None = None
    rolled_back: bool = False
    said: str = ""  # why, in the product's own words


@dataclass(frozen=True, slots=True)
class CanaryFigures:
    """How the bad snapshot served, and what the other sessions had meanwhile."""

    first_s: float
    last_s: float
    seconds_to_rollback: float
    hit_rate: Rate
    sessions: int
    share_of_sessions: float
    strays: int  # answers by the other side within a session, while both served
    others_before: Gain
    others_meanwhile: Gain

    @classmethod
    def of(
        cls, judged: Sequence[Judged], answered: Sequence[Answered], sabotage: Sabotage
    ) -> "CanaryFigures | None":
        """Look at the time in which it served; None where it never did."""
        times = [one.at_s for one in answered if one.snapshot == sabotage.version]
        if not times or sabotage.forced_s is None:
            return None
        first_s, last_s = min(times), max(times)
        meanwhile = [one for one in answered if first_s < one.at_s < last_s]
        sides = {one.session_id for one in answered if one.snapshot == sabotage.version}
        strays = sum(one.session_id in sides and one.snapshot != sabotage.version for one in meanwhile)
        sessions = {one.session_id for one in meanwhile}
        before_s = first_s - max(10.0, last_s - first_s)
        others = [one for one in judged if one.session_id not in sides]
        return cls(
            first_s=first_s,
            last_s=last_s,
            seconds_to_rollback=round(last_s - sabotage.forced_s, 2),
            hit_rate=Rate.of([one.hit for one in judged if one.snapshot == sabotage.version]),
            sessions=len(sides),
            share_of_sessions=len(sides & sessions) / max(1, len(sessions)),
            strays=strays,
            others_before=Gain.of(one for one in others if before_s <= one.at_s < first_s),
            others_meanwhile=Gain.of(one for one in others if first_s <= one.at_s <= last_s),
        )

    @property
    def others_errors(self) -> float:
        """By how many standard errors the other sessions were served better than before, beside the other
        worker, for the shop changes.
        """
        before, meanwhile = self.others_before, self.others_meanwhile
        error = math.hypot(before.standard_error, meanwhile.standard_error)
        return (meanwhile.difference - before.difference) / error if error else 0.0

    @property
    def others_untouched(self) -> bool:
        """Whether they were served as before."""
        return self.others_errors >= -BEYOND_CHANCE


@dataclass(frozen=True, slots=True)
class NewItems:
    """Items that came with the stream: seconds from the first click to the first recommendation."""

    came: int
    recommended: int
    median_s: float | None
    longest_s: float | None
    to_others: int
    to_others_median_s: float | None
    to_others_longest_s: float | None

    @classmethod
    def of(cls, items: Sequence[Mapping[str, Any]], ended_s: float) -> "NewItems":
        """Leave out those that came at the very end and were not shown yet."""
        counted = [
            item
            for item in items
            if item["shown_s"] is not None or item["clicked_s"] < ended_s - LAST_ITEMS_S
        ]
        any_s, others_s = (
            [item[name] - item["clicked_s"] for item in counted if item[name] is not None]
            for name in ("shown_s", "shown_to_others_s")
        )
        return cls(
            came=len(counted),
            recommended=len(any_s),
            median_s=percentile(any_s, 0.5),
            longest_s=max(any_s, default=None),
            to_others=len(others_s),
            to_others_median_s=percentile(others_s, 0.5),
            to_others_longest_s=max(others_s, default=None),
        )
