"""What live quality says: worse, not worse, or nothing yet; and what follows from it."""

import numpy as np
import pytest

from streams.announcements import CANARY, PRODUCTION, Announcement
from streams.canary_rule import AFTER_REPLACEMENT, Rule, Standing, judge
from streams.keeper import CanaryAction, Decision, decide_canary, rollback_target
from streams.live_figures import (
    AFTER_MS,
    BEFORE_MS,
    HORIZON_MS,
    MINUTE_MS,
    Comparison,
    comparisons_of,
)
from streams.manifest import Manifest, Provenance, Verdict
from streams.quality import Figures, QualityRecord
from streams.sequential_test import Sums

NOW_MS = 1_700_000_000_000
RULE = Rule()


def figures(clicks: int, hit_rate: float, mrr: float | None = None) -> Figures:
    """Half of the hits at the top, as far as the MRR is not said."""
    mean = hit_rate / 2 if mrr is None else mrr
    return Figures(
        Sums(clicks, clicks * hit_rate, clicks * hit_rate), Sums(clicks, clicks * mean, clicks * mean)
    )


@pytest.mark.parametrize(
    ("canary", "production", "standing"),
    [
        (figures(49, 0.0), figures(5_000, 0.5), Standing.TOO_FEW),
        (figures(5_000, 0.0), figures(49, 0.5), Standing.TOO_FEW),
        (figures(80, 0.05), figures(700, 0.5), Standing.WORSE),
        (figures(80, 0.4), figures(700, 0.5), Standing.UNDECIDED),
        (figures(40_000, 0.46), figures(360_000, 0.5), Standing.WORSE),
        (figures(1_999, 0.9), figures(18_000, 0.5), Standing.UNDECIDED),  # better, and not enough clicks yet
        (figures(2_000, 0.9), figures(18_000, 0.5), Standing.NOT_WORSE),
        (figures(100_000, 0.5), figures(900_000, 0.5), Standing.NOT_WORSE),
        (figures(100_000, 0.5, mrr=0.2), figures(900_000, 0.5, mrr=0.25), Standing.WORSE),  # only the order
    ],
)
def test_how_a_canary_stands(canary: Figures, production: Figures, standing: Standing) -> None:
    assert judge(canary, production, RULE).standing is standing


def test_a_replacement_must_fall_clearly() -> None:
    before = figures(20_000, 0.5)
    stands = [judge(figures(2_000, rate), before, AFTER_REPLACEMENT).standing for rate in (0.45, 0.3, 0.1)]
    assert stands == [Standing.UNDECIDED, Standing.UNDECIDED, Standing.WORSE]
    assert judge(figures(199, 0.0), before, AFTER_REPLACEMENT).standing is Standing.TOO_FEW


def shown(rng: np.random.Generator, clicks: int, hit_rate: float) -> Figures:
    hits = int(rng.binomial(clicks, hit_rate))
    return figures(clicks, hits / clicks)


@pytest.mark.parametrize("hit_rate", [0.5, 0.35])
def test_a_broken_replacement_is_seen_within_a_minute(hit_rate: float) -> None:
    rng = np.random.default_rng(1)
    before, after = shown(rng, 9_000, hit_rate), Figures()
    for _ in range(0, 60, 5):  # ten clicks a second, of a model that knows nothing
        after += shown(rng, 50, 0.01)
    assert judge(after, before, AFTER_REPLACEMENT).standing is Standing.WORSE


def test_a_drift_of_the_whole_shop_is_held_against_no_replacement() -> None:
    """Two thirds of the hits go in an hour, whatever serves; each refresh replaces one that did better."""
    rng = np.random.default_rng(1)
    minutes = [shown(rng, 1_000, 0.6 * 0.98**minute) for minute in range(60)]
    span = AFTER_MS // MINUTE_MS
    for swap in range(5, 60, 5):
        before = sum(minutes[max(0, swap - BEFORE_MS // MINUTE_MS) : swap], Figures())
        looks = [sum(minutes[swap:end], Figures()) for end in range(swap + 1, min(60, swap + span) + 1)]
        assert {judge(look, before, AFTER_REPLACEMENT).standing for look in looks} == {Standing.UNDECIDED}


def announcement(
    version: str, previous: str | None = None, *, at_ms: int = 0, pinned: bool = False
) -> Announcement:
    return Announcement(version, f"/snapshots/{version}", "0", previous, pinned, NOW_MS + at_ms)


def test_what_is_compared() -> None:
    production, canary = announcement("v2", "v1", at_ms=-1_000), announcement("v3", at_ms=-500)

    def compared(**announced: Announcement) -> dict[str, tuple[str, tuple[str, ...], int, int | None]]:
        found = comparisons_of(announced, [announced[PRODUCTION]] if PRODUCTION in announced else [], NOW_MS)
        return {
            alias: (one.judged.version, one.against, one.since_ms - NOW_MS, one.replaced_ms)
            for alias, one in found.items()
        }

    replaced = ("v2", ("v1",), -1_000 - BEFORE_MS, NOW_MS - 1_000)
    assert compared(production=production, canary=canary) == {
        CANARY: ("v3", ("v2",), -500, None),
        PRODUCTION: replaced,
    }
    assert compared(canary=canary) == {}
    assert compared(production=production, canary=announcement("v2")) == {PRODUCTION: replaced}
    assert compared(production=announcement("v2", "v1", pinned=True)) == {}
    assert compared(production=announcement("v2")) == {}
    assert compared(production=announcement("v2", "v1", at_ms=-AFTER_MS)) == {}
    old = announcement("v3", at_ms=-2 * HORIZON_MS)
    assert (
        compared(production=announcement("v2", at_ms=-3 * HORIZON_MS), canary=old)[CANARY][2] == -HORIZON_MS
    )


def test_a_canary_is_compared_with_whatever_production_served_beside_it() -> None:
    canary = announcement("c", at_ms=-700)

    def compared(*productions: Announcement) -> tuple[tuple[str, ...], int] | None:
        announced = {PRODUCTION: productions[-1], CANARY: canary}
        found = comparisons_of(announced, productions, NOW_MS).get(CANARY)
        return None if found is None else (found.against, found.since_ms - NOW_MS)

    times = (-900, -800, -600, -300)
    refreshed = [announcement(f"v{n}", f"v{n - 1}", at_ms=at_ms) for n, at_ms in enumerate(times)]
    assert compared(*refreshed) == (("v1", "v2", "v3"), -700)  # v0 was replaced before
    assert compared(*refreshed[2:]) == (("v2", "v3"), -600)  # what was before is no longer on the topic
    promoted = announcement("c", at_ms=-200)
    assert compared(*refreshed, promoted) is None
    assert compared(*refreshed, promoted, announcement("v4", at_ms=-100)) == (("v4",), -100)


def window(snapshot: str, to_ms: int, hits: int = 1) -> QualityRecord:
    return QualityRecord("g", "w1", snapshot, NOW_MS + to_ms - 5_000, NOW_MS + to_ms, 2, hits, 0.5, 0.25)


def test_windows_count_where_they_belong() -> None:
    beside = Comparison(announcement("v2"), ("v1",), NOW_MS)
    for one in (window("v2", 1), window("v2", -1), window("v1", 9), window("v1", -9), window("v0", 9)):
        beside.add(one)
    assert (beside.first.clicks, beside.second.clicks) == (2, 2)
    after = Comparison(announcement("v2"), ("v1",), NOW_MS - BEFORE_MS, NOW_MS)
    for at_ms in (-BEFORE_MS - 1, -BEFORE_MS, -5, 30_000, 90_000):
        after.add(window("v1", at_ms))
        after.add(window("v2", at_ms))
    assert (after.first.clicks, after.second.clicks) == (4, 6)


def test_sums_go_on_when_production_is_refreshed_and_old_minutes_leave_them() -> None:
    canary = announcement("c")
    beside = Comparison(canary, ("v1",), NOW_MS)
    for offset, (version, at_ms) in enumerate([("v1", 1), ("c", 2), ("v2", 300_000), ("c", 300_000)]):
        for _ in range(2):  # read again for another comparison
            beside.read(window(version, at_ms), 0, offset)
    assert (beside.first.clicks, beside.second.clicks) == (4, 2)
    beside.go_on_as(Comparison(canary, ("v1", "v2"), NOW_MS))
    assert (beside.first.clicks, beside.second.clicks) == (4, 4)  # v2 was read before it was known to serve
    beside.go_on_as(Comparison(canary, ("v1", "v2"), NOW_MS + 120_000))
    assert (beside.first.clicks, beside.second.clicks) == (2, 2)


ANNOUNCED = {PRODUCTION: announcement("v1"), CANARY: announcement("v2", at_ms=5)}
WORSE = judge(figures(80, 0.05), figures(700, 0.5), RULE)
NOT_WORSE = judge(figures(2_000, 0.9), figures(18_000, 0.5), RULE)


def test_a_canary_that_is_worse_is_given_back_unless_nothing_shall_follow() -> None:
    (decision,) = decide_canary(ANNOUNCED, WORSE, CanaryAction.ROLLBACK, NOW_MS)
    assert decision[:2] == (CANARY, None)
    assert str(decision) == (
        "the canary is given back: v2 is worse: hit rate 0.050 and MRR 0.025 of 80 clicks,"
        " against 0.500 and 0.250 of 700"
    )
    assert decide_canary(ANNOUNCED, WORSE, CanaryAction.PROMOTE, NOW_MS) == [decision]
    assert decide_canary(ANNOUNCED, WORSE, CanaryAction.NONE, NOW_MS) == []
    pinned = ANNOUNCED | {CANARY: announcement("v2", at_ms=5, pinned=True)}
    assert decide_canary(pinned, WORSE, CanaryAction.ROLLBACK, NOW_MS) == []


def test_a_canary_that_is_not_worse_is_promoted_where_that_is_asked_for() -> None:
    assert decide_canary(ANNOUNCED, NOT_WORSE, CanaryAction.ROLLBACK, NOW_MS) == []
    promoted, given_back = decide_canary(ANNOUNCED, NOT_WORSE, CanaryAction.PROMOTE, NOW_MS)
    assert promoted.announcement == Announcement("v2", "/snapshots/v2", "0", "v1", False, NOW_MS)
    assert str(promoted).startswith("v2 is announced as production: v2 is not worse: hit rate 0.900")
    assert given_back == Decision(CANARY, None, "v2 is promoted")
    pinned = ANNOUNCED | {PRODUCTION: announcement("v1", pinned=True)}
    assert decide_canary(pinned, NOT_WORSE, CanaryAction.PROMOTE, NOW_MS) == []


def manifest(version: str, *, refused: bool = False) -> Manifest:
    provenance = Provenance(gate=Verdict(accepted=not refused))
    return Manifest(version, 0, 1, "exact", {}, {}, provenance)


def test_where_a_rollback_leads() -> None:
    four = [manifest(f"v{n}") for n in range(1, 5)]
    assert rollback_target(announcement("v3", "v1"), four) == ("v1", None)
    assert rollback_target(announcement("v4", "gone"), four) == ("v3", "v2")
    assert rollback_target(announcement("v1"), four) is None
    refused = [manifest("v1"), manifest("v2", refused=True), manifest("v3")]
    assert rollback_target(announcement("v3", "v2"), refused) == ("v1", None)
