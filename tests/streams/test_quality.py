"""Live quality: what is compared with what, what is not, and how much is remembered."""

import pytest

from streams.events import ClickRef, Recommendation, ScoredItem
from streams.quality import (
    COMPARED_WITHIN_MS,
    Figures,
    LiveQuality,
    QualityRecord,
    decode_quality,
    encode_quality,
)
from streams.sequential_test import Sums

NOW_MS = 1_700_000_000_000


def answer(
    session_id: str, clicked: str, items: list[str], at_ms: int = 0, snapshot: str = "v1", offset: int = 0
) -> Recommendation:
    """The list that was shown after a click."""
    scored = [ScoredItem(item, 1.0) for item in items]
    click = ClickRef(0, offset, clicked, NOW_MS + at_ms)
    return Recommendation(session_id, snapshot, "model", NOW_MS + at_ms, click, scored)


def test_the_next_click_is_looked_for_in_the_list_before_it() -> None:
    quality = LiveQuality()
    quality.note([answer("s", "a", ["x", "b"]), answer("t", "a", ["x"])])
    assert quality.take() == {}
    quality.note([answer("s", "b", ["c"]), answer("s", "c", ["y"]), answer("s", "z", [])])
    assert quality.take() == {"v1": Figures(Sums(3, 2, 2), Sums(3, 1.5, 1.25))}
    assert quality.take() == {}


def test_only_the_first_twenty_count() -> None:
    quality = LiveQuality()
    items = [f"i{n}" for n in range(30)]
    for n in (19, 20):
        quality.note([answer(f"s{n}", "a", items), answer(f"s{n}", f"i{n}", [])])
    found = quality.take()["v1"]
    assert found.hits == Sums(2, 1, 1)
    assert (found.reciprocal_ranks.total, found.reciprocal_ranks.squares) == pytest.approx((0.05, 0.0025))


def test_a_click_counts_for_the_snapshot_that_made_the_list() -> None:
    quality = LiveQuality()
    quality.note([answer("s", "a", ["b"], snapshot="v1")])
    quality.note([answer("s", "b", ["c"], snapshot="v2")])
    quality.note([answer("s", "d", [], snapshot="v2")])
    found = quality.take()
    assert (found["v1"].clicks, found["v1"].hit_rate, found["v1"].mrr) == (1, 1.0, 1.0)
    assert (found["v2"].clicks, found["v2"].hit_rate, found["v2"].mrr) == (1, 0.0, 0.0)


def test_what_is_not_compared() -> None:
    quality = LiveQuality()
    quality.note([answer("s", "a", ["a", "b"]), answer("s", "a", ["b"])])  # the same page again
    quality.note([answer("t", "a", ["b"]), answer("t", "b", ["c"], COMPARED_WITHIN_MS + 1)])  # later
    quality.note([answer("u", "a", ["b"])])
    quality.note([answer("u", "c", ["d"])], incomplete={"u"})  # b was clicked in between, without an answer
    assert quality.take() == {}
    quality.note([answer("u", "d", [])])  # from here on again
    assert quality.take()["v1"].hits == Sums(1, 1, 1)


def test_lists_are_forgotten_at_a_rebalance() -> None:
    quality = LiveQuality()
    quality.note([answer("s", "a", ["b"])])
    quality.forget()
    quality.note([answer("s", "b", [])])
    assert quality.take() == {}


def test_a_full_memory_lets_new_sessions_in_as_others_are_idle() -> None:
    quality = LiveQuality(capacity=2)
    quality.note([answer("s", "a", ["b"]), answer("t", "a", ["b"]), answer("u", "a", ["b"])])
    assert len(quality) == 2
    quality.note([answer("u", "b", [])])
    assert quality.take() == {}
    quality.note([answer("s", "b", ["c"], 1_000)])
    later_ms = COMPARED_WITHIN_MS + 500  # t is idle, s is not
    quality.note([answer("u", "a", ["b"], later_ms), answer("w", "a", ["b"], later_ms)])
    assert len(quality) == 2
    quality.note([answer("s", "c", [], later_ms), answer("u", "b", [], later_ms)])
    assert quality.take()["v1"].hits == Sums(3, 3, 3)


RECORD = QualityRecord("nextclick", "w1", "v1", NOW_MS, NOW_MS + 5_000, 10, 4, 2.5, 2.125)


def test_a_record_reads_as_it_was_written() -> None:
    assert decode_quality(encode_quality(RECORD)) == RECORD
    assert RECORD.figures == Figures(Sums(10, 4, 4), Sums(10, 2.5, 2.125))
    assert (RECORD.figures + RECORD.figures).mrr == 0.25


@pytest.mark.parametrize("value", [None, b"", b"{}", b"[]", b"\xff", b'{"v": 2}'])
def test_what_is_no_record_is_passed_over(value: bytes | None) -> None:
    assert decode_quality(value) is None
    assert decode_quality(encode_quality(RECORD).replace(b'"v":1', b'"v":2')) is None
