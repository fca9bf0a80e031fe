"""The two sides of a canary: who is on which, and that a bad canary costs nobody an answer."""

from collections.abc import Mapping, Sequence

import pytest

from streams.canary import Sides, answer_by_sides, is_on_canary_side
from streams.events import Reason
from streams.microbatch import answer_or_isolate, decode_batch
from streams.recommender import Answers, Recommender, SessionRef
from streams.session import Session
from tests.streams.test_microbatch import NOW_MS, Poisoned, Record, click
from tests.tiny import ITEMS, tiny_snapshot

PRODUCTION = Recommender(tiny_snapshot("v1"))
CANARY = Recommender(tiny_snapshot("v2", seed=2))
BOTH = Sides(PRODUCTION, CANARY, 0.5)


def batch(n_sessions: int, n_clicks: int = 1, first_offset: int = 0) -> list[Record]:
    """Clicks of sessions s-0, s-1, … in turns."""
    return [
        click(f"s-{n % n_sessions}", ITEMS[n % len(ITEMS)], first_offset + n)
        for n in range(n_sessions * n_clicks)
    ]


def answered(
    sides: Sides, records: Sequence[Record], sessions: Mapping[SessionRef, Session] | None = None
) -> Answers:
    answers, poison = answer_by_sides(sides, records, decode_batch(records).arrivals, sessions or {}, NOW_MS)
    assert not poison
    return answers


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_share_of_the_sessions_is_what_was_asked_for(share: float) -> None:
    ids = [f"s-{n}" for n in range(20_000)] + [f"{n:x}" for n in range(20_000)]
    found = sum(is_on_canary_side(id_, share) for id_ in ids) / len(ids)
    assert found == pytest.approx(share, rel=0.1)


def test_the_sides_are_the_same_for_ever() -> None:
    """Literals: another hash would move open sessions at the next release."""
    assert [n for n in range(40) if is_on_canary_side(f"s-{n}", 0.1)] == [6, 9, 38]


def test_a_larger_share_takes_no_session_away() -> None:
    ids = [f"s-{n}" for n in range(2_000)]
    small, large = ({id_ for id_ in ids if is_on_canary_side(id_, share)} for share in (0.1, 0.2))
    assert small < large
    assert not any(is_on_canary_side(id_, 0.0) for id_ in ids)


def test_every_session_is_answered_by_its_side_and_as_by_it_alone() -> None:
    records = batch(30, n_clicks=3)
    answers = answered(BOTH, records)
    assert len(answers.recommendations) == answers.n_clicks == len(answers.folded) == 90
    for recommender in (PRODUCTION, CANARY):
        own = [one for one in records if BOTH.of((one.key or b"").decode()) is recommender]
        assert 5 < len(own) < 85
        alone, _ = answer_or_isolate(recommender, own, decode_batch(own).arrivals, {}, NOW_MS)
        mine = [one for one in answers.recommendations if BOTH.of(one.session_id) is recommender]
        assert mine == alone.recommendations
        assert {ref: answers.sessions[ref] for ref in alone.sessions} == alone.sessions
        assert {one.snapshot for one in mine} == {recommender.snapshot.version}


def test_what_is_stale_is_so_by_side() -> None:
    sessions = answered(Sides(PRODUCTION), batch(30)).sessions
    assert Sides(PRODUCTION).stale(sessions) == set()
    stale = BOTH.stale(sessions)
    assert stale == {ref for ref in sessions if BOTH.of(ref.session_id) is CANARY}
    answers = answered(BOTH, batch(30, first_offset=100), sessions)
    assert answers.n_rebuilt == len(stale)
    assert BOTH.stale(answers.sessions) == set()
    assert len(Sides(PRODUCTION).stale(answers.sessions)) == len(stale)  # given back


def test_production_answers_where_the_canary_raises_and_the_canary_is_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reasons: list[str] = []
    broken = Poisoned(tiny_snapshot("v2"))
    broken.raises_at = None
    sides = Sides(PRODUCTION, broken, 0.5, reasons.append)
    records = batch(30)
    answers = answered(sides, records)
    expected = answered(Sides(PRODUCTION), records)
    assert answers.sessions == expected.sessions
    assert {one.snapshot for one in answers.recommendations} == {"v1"}
    assert reasons == ["ZeroDivisionError while it answered: by nothing"]
    assert "production answers them" in caplog.text


def test_a_click_that_nobody_can_answer_is_no_fault_of_the_canary() -> None:
    reasons: list[str] = []
    production, canary = (Poisoned(tiny_snapshot(version)) for version in ("v1", "v2"))
    sides = Sides(production, canary, 0.5, reasons.append)
    session_id = next(f"s-{n}" for n in range(99) if is_on_canary_side(f"s-{n}", 0.5))
    records = [click(session_id, ITEMS[1], 0), click(session_id, "item-06", 1)]
    answers, poison = answer_by_sides(sides, records, decode_batch(records).arrivals, {}, NOW_MS)
    assert [one.rejection.reason for one in poison] == [Reason.POISON]
    assert [one.click.offset for one in answers.recommendations] == [0]
    assert reasons == []
