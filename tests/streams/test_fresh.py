"""Fresh items: learnt from clicks, recommended beside the snapshot's own, gone when a snapshot knows them."""

from collections.abc import Sequence

import numpy as np
import pytest

from model.blend_candidates import Entries
from streams.events import Click
from streams.fresh import FreshItems, FreshRules, Items
from streams.ranking import Ranking, merged
from streams.recommender import Answers, Arrival, Recommender, RepeatItems, SessionRef
from streams.session import Session, SessionItem
from tests.tiny import ITEMS, tiny_snapshot

NOW_MS = 1_700_000_000_000
SNAPSHOT = tiny_snapshot(seed=1, blended=True)
RULES = FreshRules(capacity=4, min_sessions=1)


def items(*names: str) -> Items:
    return tuple(SessionItem(name, None, NOW_MS) for name in names)


def learnt(*sessions: Sequence[str], rules: FreshRules = RULES) -> FreshItems:
    """What is learnt from whole sessions, click by click."""
    fresh = FreshItems(SNAPSHOT, rules)
    for session in sessions:
        fresh.learn(items(*session[: n + 1]) for n in range(len(session)))
    return fresh


def names(fresh: FreshItems) -> set[str]:
    return {fresh.item_id(number) for number in range(len(fresh))}


def mentioned(fresh: FreshItems, *session: str) -> dict[str, tuple[float, float]]:
    """Fresh items that the session's last items lead to: the sums of the weights."""
    recent = np.full((1, 20), -1)
    recent[0, : len(session)] = SNAPSHOT.vocabulary.rows(reversed(session))
    links, _ = fresh.mentions([items(*session)], recent)
    found: dict[str, tuple[float, float]] = {}
    for number, forward, together in zip(links.items, links.forward, links.together, strict=True):
        before = found.get(fresh.item_id(number), (0.0, 0.0))
        found[fresh.item_id(number)] = (before[0] + float(forward), before[1] + float(together))
    return found


def serve(
    recommender: Recommender, clicked: Sequence[tuple[str, str]], *, learn: bool = True
) -> tuple[list[list[str]], dict[SessionRef, Session]]:
    """The answers to clicks (session, item), one by one."""
    stored: dict[SessionRef, Session] = {}
    lists = []
    for offset, (session, item) in enumerate(clicked):
        one = Arrival(Click(session, item, NOW_MS), 0, offset, NOW_MS)
        answers: Answers = recommender.answer([one], stored, created_ms=0)
        stored |= answers.sessions
        if learn and recommender.fresh is not None:
            recommender.fresh.learn(answers.folded)
        lists.append([each.item_id for each in answers.recommendations[0].items])
    return lists, stored


def test_only_items_that_the_snapshot_does_not_know_are_fresh() -> None:
    assert names(learnt([ITEMS[0], "new-a", ITEMS[1]], ["new-b"])) == {"new-a", "new-b"}
    assert len(learnt([ITEMS[0], ITEMS[1]])) == 0


def test_the_vector_is_the_mean_of_the_items_it_is_clicked_with_near_ones_counting_more() -> None:
    fresh = learnt([ITEMS[2], ITEMS[5], "new-a", ITEMS[7]])
    vectors = SNAPSHOT.encoder.item_vectors(np.array([2, 5, 7]))
    expected = (vectors[0] / 2 + vectors[1] + vectors[2]) / 2.5
    np.testing.assert_allclose(fresh.vectors[0], expected, rtol=1e-5)


def test_an_item_that_was_clicked_alone_is_not_found_by_its_vector() -> None:
    fresh = learnt(["new-a"], [ITEMS[0], "new-b"])
    assert fresh.placed.tolist() == [False, True]
    assert np.isfinite(fresh.vectors).all()


def test_the_item_clicked_with_it_most_stands_in() -> None:
    fresh = learnt([ITEMS[3], "new-a", ITEMS[7]], ["new-a", ITEMS[7]], ["new-b", "new-a"], ["new-c"])
    assert fresh.stand_in("new-a") == 7
    assert [fresh.stand_in(item_id) for item_id in ("new-b", "new-c", "never-clicked", ITEMS[0])] == [-1] * 4


def test_links_lead_from_what_was_clicked_before_and_in_either_order() -> None:
    fresh = learnt([ITEMS[2], "new-a", ITEMS[7]])
    forward, together = mentioned(fresh, ITEMS[2])["new-a"]
    assert forward > 0
    assert together > 0
    forward, together = mentioned(fresh, ITEMS[7])["new-a"]
    assert forward == 0
    assert together > 0
    assert mentioned(fresh, ITEMS[3]) == {}


def test_a_link_is_the_stronger_the_more_often_it_was_followed() -> None:
    once = learnt([ITEMS[2], "new-a"])
    twice = learnt([ITEMS[2], "new-a"], [ITEMS[2], "new-a"])
    assert mentioned(once, ITEMS[2])["new-a"] < mentioned(twice, ITEMS[2])["new-a"]
    assert mentioned(twice, ITEMS[2])["new-a"][0] <= 1.0


def test_a_link_fades_while_its_source_is_clicked_and_it_is_not_followed() -> None:
    fresh = learnt([ITEMS[2], "new-a"])
    before = mentioned(fresh, ITEMS[2])["new-a"]
    fresh.learn(items(name) for name in ITEMS * 20)
    assert mentioned(fresh, ITEMS[2])["new-a"] < before


def test_an_item_is_shown_to_others_after_so_many_sessions() -> None:
    rules = FreshRules(capacity=4, min_sessions=2)
    once = learnt([ITEMS[2], "new-a", "new-a"], rules=rules)
    assert not once.shown.any()
    assert mentioned(once, ITEMS[2]) == {}
    twice = learnt([ITEMS[2], "new-a"], [ITEMS[2], "new-a"], rules=rules)
    assert twice.shown.all()
    assert "new-a" in mentioned(twice, ITEMS[2])


def test_the_item_not_clicked_for_longest_makes_room() -> None:
    sessions = [[ITEMS[n], f"new-{n}"] for n in range(4)]
    fresh = learnt(*sessions, [ITEMS[0], "new-0"], [ITEMS[8], "new-8", ITEMS[9]])
    assert names(fresh) == {"new-0", "new-8", "new-2", "new-3"}
    assert mentioned(fresh, ITEMS[1]) == {}
    number = fresh.number("new-8")
    expected = SNAPSHOT.encoder.item_vectors(np.array([8, 9])).mean(axis=0)
    np.testing.assert_allclose(fresh.vectors[number], expected, rtol=1e-5)  # nothing of new-1 is left


def test_a_flood_of_items_stays_within_bounds() -> None:
    fresh = learnt(*([ITEMS[n % 12], f"new-{n}", f"other-{n}"] for n in range(300)))
    assert len(fresh) == 4
    assert sum(len(links) for links in fresh._links.values()) <= 4 * 12
    assert names(fresh) == {"new-298", "other-298", "new-299", "other-299"}


def test_the_next_snapshot_takes_over_what_it_does_not_know() -> None:
    fresh = learnt([ITEMS[2], "new-a"], [ITEMS[3], "new-b", ITEMS[2]])
    newer = tiny_snapshot("v2", seed=2, items=(*ITEMS, "new-a"), blended=True)
    carried = FreshItems(newer, RULES)
    carried.take_over(fresh)
    assert names(carried) == {"new-b"}
    expected = newer.encoder.item_vectors(np.array([2, 3])).mean(axis=0)
    np.testing.assert_allclose(carried.vectors[0], expected, rtol=1e-5)
    carried.learn([items("new-c")])
    carried.take_over(learnt(["new-d"]))
    assert names(carried) == {"new-b", "new-c"}


@pytest.mark.parametrize("ranking", list(Ranking))
def test_answers_without_fresh_items_are_the_same_to_the_bit(ranking: Ranking) -> None:
    random = np.random.default_rng(0)
    clicked = [(f"s-{random.integers(9)}", ITEMS[random.integers(12)]) for _ in range(80)]
    plain = Recommender(SNAPSHOT, top_k=5, ranking=ranking)
    with_fresh = Recommender(SNAPSHOT, top_k=5, ranking=ranking, fresh=FreshItems(SNAPSHOT))
    assert serve(plain, clicked) == serve(with_fresh, clicked)


@pytest.mark.parametrize("ranking", list(Ranking))
def test_where_all_items_find_room_fresh_ones_push_none_out(ranking: Ranking) -> None:
    fresh = FreshItems(SNAPSHOT)
    recommender = Recommender(SNAPSHOT, ranking=ranking, repeat_items=RepeatItems.ALL, fresh=fresh)
    clicked = [("s", ITEMS[2]), ("s", "new-a"), ("s", ITEMS[7]), ("s", "new-b"), ("s", ITEMS[2])]
    lists, _ = serve(recommender, [*clicked, *clicked])
    assert all(set(one) >= set(ITEMS) for one in lists)
    assert set(lists[-1]) > set(ITEMS)
    assert all(len(one) == len(set(one)) for one in lists)


@pytest.mark.parametrize("ranking", list(Ranking))
def test_no_session_s_state_depends_on_fresh_items(ranking: Ranking) -> None:
    random = np.random.default_rng(1)
    everything = [*ITEMS, "new-a", "new-b", "new-c"]
    clicked = [(f"s-{random.integers(9)}", everything[random.integers(15)]) for _ in range(120)]
    fresh = FreshItems(SNAPSHOT)
    served, stored = serve(Recommender(SNAPSHOT, top_k=5, ranking=ranking, fresh=fresh), clicked)
    plain, stored_plain = serve(Recommender(SNAPSHOT, top_k=5, ranking=ranking), clicked)
    assert stored == stored_plain
    assert served != plain
    known = set(ITEMS)
    with_known = set()
    for (session, item_id), ours, theirs in zip(clicked, served, plain, strict=True):
        with_known |= {session} if item_id in known else set()
        if session in with_known:
            assert [item for item in ours if item in known] == theirs[: sum(item in known for item in ours)]


@pytest.mark.parametrize("ranking", list(Ranking))
def test_a_session_of_fresh_items_is_answered_as_after_the_item_clicked_with_them_most(
    ranking: Ranking,
) -> None:
    fresh = learnt([ITEMS[5], "new-a"], ["new-a", ITEMS[5]], [ITEMS[4], "new-a"])
    recommender = Recommender(SNAPSHOT, ranking=ranking, repeat_items=RepeatItems.ALL, fresh=fresh)
    plain = Recommender(SNAPSHOT, ranking=ranking, repeat_items=RepeatItems.ALL)
    click = Arrival(Click("s", "new-a", NOW_MS), 0, 0, NOW_MS)
    (answer,) = recommender.answer([click], {}, created_ms=0).recommendations
    expected = serve(plain, [("s", ITEMS[5])])[0][-1]
    known = [item.item_id for item in answer.items if item.item_id != "new-a"]
    assert answer.source == "model"
    assert known == expected[: len(known)]


def test_a_session_with_a_known_item_is_answered_by_that() -> None:
    fresh = learnt([ITEMS[5], "new-a"], ["new-a", ITEMS[5]])
    recommender = Recommender(SNAPSHOT, repeat_items=RepeatItems.ALL, fresh=fresh)
    clicked = [("s", ITEMS[0]), ("s", "new-a")]
    ours = serve(recommender, clicked, learn=False)[0][-1]
    theirs = serve(Recommender(SNAPSHOT, repeat_items=RepeatItems.ALL), clicked)[0][-1]
    known = [item for item in ours if item != "new-a"]
    assert known == theirs[: len(known)]


def test_what_may_repeat_goes_for_fresh_items_too() -> None:
    clicked = [("s-1", ITEMS[0]), ("s-1", "new-a"), ("s-1", "new-b"), ("s-2", ITEMS[0]), ("s-2", "new-b")]
    found = {}
    for rule in RepeatItems:
        recommender = Recommender(
            SNAPSHOT, repeat_items=rule, ranking=Ranking.LSTM, fresh=FreshItems(SNAPSHOT)
        )
        lists, _ = serve(recommender, [*clicked, *clicked])
        found[rule] = [set(one) & {"new-a", "new-b"} for one in lists]
    assert found[RepeatItems.ALL][-1] == {"new-a", "new-b"}
    assert found[RepeatItems.NOT_LAST][-1] == {"new-a"}
    assert found[RepeatItems.NOT_LAST][-3] == found[RepeatItems.NOT_LAST][2] == {"new-a"}
    assert found[RepeatItems.NONE][-3] == set()
    assert found[RepeatItems.NONE][-2] == {"new-a"}


def test_an_event_that_comes_again_teaches_nothing() -> None:
    again = [Arrival(Click("s", "new-a", NOW_MS, event_id="e"), 0, n, NOW_MS) for n in range(2)]
    assert len(Recommender(SNAPSHOT).answer(again, {}, created_ms=0).folded) == 1


def test_merging_keeps_the_order_and_what_is_not_beaten() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [9.0, 8.0, 7.0], [5.0, -np.inf, -np.inf]], dtype=np.float32)
    rows = np.array([[0, 1, 2], [3, 4, 5], [6, -1, -1]])
    found = Entries(np.array([0, 0, 1, 2]), np.array([12, 13, 12, 13]))
    best_scores, best = merged(scores, rows, found, np.array([2.5, 0.5, 1.0, 4.0], dtype=np.float32))
    assert best.tolist() == [[0, 12, 1], [3, 4, 5], [6, 13, -1]]
    assert best_scores[0].tolist() == [3.0, 2.5, 2.0]
