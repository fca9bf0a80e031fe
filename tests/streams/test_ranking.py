"""Both rankings as a worker serves them: the order is the evaluation's, however clicks arrive."""

from collections.abc import Sequence

import numpy as np
import pytest

from model.blend_ranker import REMEMBERED_ITEMS, BlendRanker
from model.ranking import EncoderRanker, Ranker
from model.sequences import Sequences
from streams.events import Click, Recommendation
from streams.ranking import Ranking
from streams.recommender import Arrival, Recommender, RepeatItems, SessionRef
from streams.session import MAX_ITEMS, Session
from tests.tiny import ITEMS, tiny_snapshot

NOW_MS = 1_700_000_000_000
SNAPSHOT = tiny_snapshot(seed=1, blended=True)
NEWER = tiny_snapshot("v2", seed=2, blended=True)


def sessions(seed: int = 0, n: int = 12) -> list[list[str]]:
    """Long and short ones, with repeats, and now and then an item that no snapshot knows."""
    random = np.random.default_rng(seed)
    names = [*ITEMS, "never-known"]
    return [[names[i] for i in random.integers(0, len(names), random.integers(2, 30))] for _ in range(n)]


def arrivals(clicked: list[list[str]]) -> list[Arrival]:
    """All first clicks, then all second ones, …; offsets in that order."""
    ordered = sorted((at, n, item) for n, session in enumerate(clicked) for at, item in enumerate(session))
    return [
        Arrival(Click(f"s-{n}", item, NOW_MS), 0, offset, NOW_MS)
        for offset, (_, n, item) in enumerate(ordered)
    ]


def serve(
    recommender: Recommender, clicks: Sequence[Arrival], at_once: int
) -> tuple[list[Recommendation], dict[SessionRef, Session]]:
    stored: dict[SessionRef, Session] = {}
    served: list[Recommendation] = []
    for begin in range(0, len(clicks), at_once):
        answers = recommender.answer(clicks[begin : begin + at_once], stored, created_ms=0)
        stored |= answers.sessions
        served += answers.recommendations
    return served, stored


def lists(recommendations: list[Recommendation]) -> dict[tuple[str, int], list[str]]:
    """Items by session and number of the click in it."""
    found: dict[tuple[str, int], list[str]] = {}
    for one in recommendations:
        nth = sum(session_id == one.session_id for session_id, _ in found)
        found[one.session_id, nth] = [item.item_id for item in one.items]
    return found


def measured(ranker: Ranker, clicked: list[list[str]], k: int) -> dict[tuple[str, int], list[str]]:
    """What evaluation sees, in the same form; each session's last click is not asked for there."""
    rows = [[SNAPSHOT.vocabulary.row(item) for item in session] for session in clicked]
    sequences = Sequences.from_lists([[-1 if row is None else row for row in session] for session in rows])
    found = {}
    for clicks, _, best in ranker.answers(sequences, k):
        for click, items in zip(clicks.tolist(), best.tolist(), strict=True):
            n = int(np.searchsorted(sequences.starts, click, side="right")) - 1
            found[f"s-{n}", click - int(sequences.starts[n])] = [ITEMS[row] for row in items]
    return found


@pytest.mark.parametrize("ranking", list(Ranking))
def test_the_served_order_is_what_is_measured(ranking: Ranking) -> None:
    clicked = sessions()
    recommender = Recommender(SNAPSHOT, top_k=6, repeat_items=RepeatItems.ALL, ranking=ranking)
    served = lists(serve(recommender, arrivals(clicked), at_once=7)[0])
    parts = (SNAPSHOT.encoder, SNAPSHOT.index.search, SNAPSHOT.vocabulary.counts)
    assert SNAPSHOT.ranking is not None
    ranker = EncoderRanker(*parts) if ranking is Ranking.LSTM else BlendRanker(*parts, SNAPSHOT.ranking)
    expected = measured(ranker, clicked, 6)
    assert len(expected) == sum(len(session) - 1 for session in clicked)
    assert {key: served[key] for key in expected} == expected


def test_the_rankings_differ() -> None:
    clicks = arrivals(sessions())
    lstm, blended = (
        [one.items for one in serve(Recommender(SNAPSHOT, ranking=ranking), clicks, 50)[0]]
        for ranking in (Ranking.LSTM, Ranking.NEXTCLICK)
    )
    assert lstm != blended


@pytest.mark.parametrize("ranking", list(Ranking))
@pytest.mark.parametrize("rule", list(RepeatItems))
def test_batches_equal_one_by_one(ranking: Ranking, rule: RepeatItems) -> None:
    clicks = arrivals(sessions(seed=5))
    recommender = Recommender(SNAPSHOT, top_k=4, repeat_items=rule, ranking=ranking)
    (alone, stored_alone), (together, stored) = (serve(recommender, clicks, n) for n in (1, 64))
    for one, other in zip(alone, together, strict=True):
        assert [item.item_id for item in one.items] == [item.item_id for item in other.items]
        scores = [item.score for item in one.items]
        np.testing.assert_allclose(scores, [item.score for item in other.items], atol=0.02)
    assert stored.keys() == stored_alone.keys()


def test_what_may_repeat_is_left_out_of_a_blended_answer() -> None:
    clicks = arrivals(sessions(seed=6))
    own: dict[str, list[str]] = {}
    for rule, last in ((RepeatItems.NOT_LAST, 1), (RepeatItems.NONE, MAX_ITEMS)):
        own.clear()
        recommender = Recommender(SNAPSHOT, top_k=8, repeat_items=rule)
        for one in serve(recommender, clicks, 30)[0]:
            own.setdefault(one.session_id, []).append(one.click.item_id)
            assert not {item.item_id for item in one.items} & set(own[one.session_id][-last:])


def test_a_session_rebuilt_at_a_swap_is_ranked_as_if_it_had_always_been_the_new_snapshot_s() -> None:
    before = [Arrival(Click("s", item, NOW_MS), 0, n, NOW_MS) for n, item in enumerate(ITEMS[:5])]
    last = [Arrival(Click("s", ITEMS[1], NOW_MS), 0, 5, NOW_MS)]
    old_sessions = serve(Recommender(SNAPSHOT), before, 5)[1]
    new_sessions = serve(Recommender(NEWER), before, 5)[1]
    swapped = Recommender(NEWER).answer(last, old_sessions, created_ms=0)
    always = Recommender(NEWER).answer(last, new_sessions, created_ms=0)
    assert swapped.n_rebuilt == 1
    assert swapped.recommendations[0].items == always.recommendations[0].items


def test_a_snapshot_without_a_blend_is_ranked_by_its_encoder() -> None:
    clicks = arrivals(sessions())
    plain = tiny_snapshot(seed=1)
    served = [serve(Recommender(plain, ranking=ranking), clicks, 50) for ranking in Ranking]
    assert served[0] == served[1]
    assert served[0][0] == serve(Recommender(SNAPSHOT, ranking=Ranking.LSTM), clicks, 50)[0]


def test_more_items_may_be_asked_for_than_are_candidates() -> None:
    (one,) = serve(Recommender(SNAPSHOT, top_k=50), arrivals([[ITEMS[3]]]), 1)[0]
    assert len(one.items) == len(ITEMS) - 1


def test_a_record_holds_what_the_ranking_reads() -> None:
    assert REMEMBERED_ITEMS == MAX_ITEMS
