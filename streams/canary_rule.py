"""What live quality says of a snapshot: worse, not worse, or nothing yet.

Two comparisons. A canary and production answer at the same time, sessions drawn by a hash: a fair
experiment. A snapshot that has replaced another is compared with what that one came to in the minutes
before: fashions, campaigns and nights move the figures of every snapshot, so only a collapse in the minutes
after the replacement is held against it.

Both figures, hit rate and MRR, are looked at after every few seconds, by the test that allows it
(`streams/sequential_test.py`); each may err with half of the probability.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from streams.quality import Figures
from streams.sequential_test import Difference, difference

CLUSTERING: Final = 2.5
"""By how much the means vary more than those of single clicks would, since the hits of a session come
together: 1.7 to 2.4 for the hit rate and 1.6 to 1.9 for MRR in the three logs of docs/model.md, answered by
sequential rules."""


class Standing(StrEnum):
    """How a snapshot stands beside the one it is compared with."""

    TOO_FEW = "too few clicks"
    UNDECIDED = "undecided"
    WORSE = "worse"
    NOT_WORSE = "not worse"


@dataclass(frozen=True, slots=True)
class Rule:
    """When what is said.

    Attributes:
        alpha: how probable it may be that a snapshot which is as good is ever called worse.
        min_clicks: fewer on either side say nothing.
        tolerated: share of the other's figures that may be missing; worse is what lacks more, beyond doubt.
        enough_clicks: fewer of its own never say "not worse".
        margin: "not worse" is what lacks no more than this share of the other's figures, beyond doubt.
    """

    alpha: float = 0.01
    min_clicks: int = 50
    tolerated: float = 0.0
    enough_clicks: int = 2_000
    margin: float = 0.1


AFTER_REPLACEMENT: Final = Rule(alpha=0.001, min_clicks=200, tolerated=0.5)
"""Of a snapshot against the one before it: half of a figure must be missing, beyond doubt. A broken model
misses more than that, a drift does not take half within minutes."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """How the first stands beside the second, and by what figures."""

    standing: Standing
    first: Figures
    second: Figures
    hit_rate: Difference
    mrr: Difference

    def __str__(self) -> str:
        return (
            f"{self.standing}: hit rate {self.first.hit_rate:.3f} and MRR {self.first.mrr:.3f}"
            f" of {self.first.clicks:,} clicks, against {self.second.hit_rate:.3f} and {self.second.mrr:.3f}"
            f" of {self.second.clicks:,}"
        )


def judge(first: Figures, second: Figures, rule: Rule) -> Judgement:
    """Say how the first snapshot stands beside the second."""
    hit_rate, mrr = (
        difference(ours, theirs, alpha=rule.alpha / 2, clustering=CLUSTERING)
        for ours, theirs in (
            (first.hits, second.hits),
            (first.reciprocal_ranks, second.reciprocal_ranks),
        )
    )
    found = ((hit_rate, second.hit_rate), (mrr, second.mrr))
    if min(first.clicks, second.clicks) < rule.min_clicks:
        standing = Standing.TOO_FEW
    elif any(one.high < -rule.tolerated * of for one, of in found):
        standing = Standing.WORSE
    elif first.clicks >= rule.enough_clicks and all(one.low > -rule.margin * of for one, of in found):
        standing = Standing.NOT_WORSE
    else:
        standing = Standing.UNDECIDED
    return Judgement(standing, first, second, hit_rate, mrr)
