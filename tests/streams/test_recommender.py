"""The recommender over a real encoder and index: one batch is as good as one click at a time."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.encoder import EncoderConfig
from model.encoder_config import CONTEXT_FEATURES, CONTEXT_PLACES
from streams.events import Click, Recommendation
from streams.recommender import AnswerClicks, Answers, Arrival, Recommender, RepeatItems, SessionRef
from streams.session import Session, SessionItem, encode_session
from streams.steps import Step
from tests.oracle import OracleClick, differences, fold_one_by_one
from tests.tiny import ITEMS, tiny_snapshot, with_drawn_context

NOW_MS = 1_700_000_000_000
MINUTE_MS = 60_000
GAP_MS = 30 * MINUTE_MS

OLD = tiny_snapshot("v1", seed=1)
NEW_ITEMS = (*reversed(ITEMS[3:]), "item-90", "item-91")
NEW = tiny_snapshot("v2", seed=2, items=NEW_ITEMS)
CONTEXT = EncoderConfig(
    n_units=8, embedding_dim=6, context=CONTEXT_FEATURES, context_at=CONTEXT_PLACES, kinds=("view", "cart")
)
SWAPS = {
    "lstm": (OLD, NEW),
    "gru, then two layers of rnn": (
        tiny_snapshot("v1", seed=1, config=EncoderConfig(cell="gru", n_units=8, embedding_dim=8)),
        tiny_snapshot("v2", 2, NEW_ITEMS, EncoderConfig(cell="rnn", n_units=6, embedding_dim=6, n_layers=2)),
    ),
    "context": (
        with_drawn_context(tiny_snapshot("v1", seed=1, config=CONTEXT)),
        with_drawn_context(tiny_snapshot("v2", 2, NEW_ITEMS, replace(CONTEXT, cell="gru", n_layers=2))),
    ),
    "context from now on": (OLD, with_drawn_context(tiny_snapshot("v2", 2, NEW_ITEMS, CONTEXT))),
}
"""What serves first, and the snapshot that it is swapped for."""


def arrival(
    session_id: str,
    item_id: str,
    offset: int,
    *,
    partition: int = 0,
    minute: float = 0,
    kind: str | None = None,
    event_id: str | None = None,
) -> Arrival:
    time_ms = NOW_MS + round(minute * MINUTE_MS)
    click = Click(session_id, item_id, time_ms, kind=kind, event_id=event_id)
    return Arrival(click, partition, offset, NOW_MS + 10**9)


def answer(
    recommender: Recommender,
    arrivals: Sequence[Arrival],
    sessions: Mapping[SessionRef, Session] | None = None,
) -> Answers:
    return recommender.answer(arrivals, sessions or {}, created_ms=NOW_MS)


def item_ids(recommendation: Recommendation) -> list[str]:
    return [item.item_id for item in recommendation.items]


def one_by_one(
    recommender: Recommender, arrivals: Sequence[Arrival], sessions: Mapping[SessionRef, Session]
) -> Answers:
    stored = dict(sessions)
    changed: dict[SessionRef, Session] = {}
    recommendations: list[Recommendation] = []
    folded: list[tuple[SessionItem, ...]] = []
    n_clicks = n_replays = n_rebuilt = 0
    for one in arrivals:
        answers = answer(recommender, [one], stored)
        stored |= answers.sessions
        changed |= answers.sessions
        recommendations += answers.recommendations
        n_clicks += answers.n_clicks
        n_replays += answers.n_replays
        n_rebuilt += answers.n_rebuilt
        folded += answers.folded
    return Answers(changed, recommendations, n_clicks, n_replays, n_rebuilt, tuple(folded))


def assert_same(batch: Answers, single: Answers) -> None:
    assert batch.sessions.keys() == single.sessions.keys()
    assert batch[2:] == single[2:]
    for ref, session in batch.sessions.items():
        other = single.sessions[ref]
        np.testing.assert_allclose(state_of(session), state_of(other), atol=1e-3)
        assert msgspec.structs.replace(session, state=b"") == msgspec.structs.replace(other, state=b"")
    for one, other_one in zip(batch.recommendations, single.recommendations, strict=True):
        assert (one.click, one.source, one.snapshot) == (
            other_one.click,
            other_one.source,
            other_one.snapshot,
        )
        scores = [item.score for item in one.items]
        np.testing.assert_allclose(scores, [item.score for item in other_one.items], atol=0.02)


def state_of(session: Session) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.frombuffer(session.state, dtype=np.float16).astype(np.float32)


@st.composite
def streams_of_clicks(draw: st.DrawFn) -> list[Arrival]:
    """Interleaved sessions on two partitions: gaps, late clicks, unknown items, repeated events, replays."""
    arrivals: list[Arrival] = []
    offsets, minutes = {0: -1, 1: -1}, {0: 0.0, 1: 0.0}
    for _ in range(draw(st.integers(1, 30))):
        partition = draw(st.integers(0, 1))
        earlier = [one for one in arrivals if one.partition == partition]
        if earlier and draw(st.integers(0, 9)) == 0:  # the last ones are delivered again
            arrivals += earlier[-draw(st.integers(1, 4)) :]
            continue
        offsets[partition] += draw(st.integers(1, 3))
        minutes[partition] += draw(st.sampled_from([0, 0.1, 5, 29.99, 31, -45]))
        arrivals.append(
            arrival(
                draw(st.sampled_from(["s-1", "s-2", "s-3"])),
                draw(st.sampled_from([*ITEMS[:5], ITEMS[-1], "item-90", "never-known"])),
                offsets[partition],
                partition=partition,
                minute=minutes[partition],
                kind=draw(st.sampled_from([None, "view", "cart", "purchase"])),
                event_id=draw(st.sampled_from([None, None, "e-1", "e-2"])),
            )
        )
    return arrivals


@pytest.mark.parametrize("swap", SWAPS)
@settings(max_examples=50, deadline=None)
@given(
    streams_of_clicks(),
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
    st.sampled_from(list(RepeatItems)),
    st.integers(0, 30),
)
def test_batches_equal_one_by_one_and_the_oracle(
    swap: str, arrivals: list[Arrival], sizes: list[int], repeat_items: RepeatItems, swap_at: int
) -> None:
    """However the stream is cut into batches, and wherever the snapshot is swapped between two of them."""
    old, new = SWAPS[swap]
    recommenders = [Recommender(one, top_k=4, repeat_items=repeat_items) for one in (old, new)]
    in_batches: dict[SessionRef, Session] = {}
    singly: dict[SessionRef, Session] = {}
    versions: dict[tuple[int, int], str] = {}
    at = n = 0
    while at < len(arrivals):
        batch = arrivals[at : at + sizes[n % len(sizes)]]
        recommender = recommenders[at >= swap_at]
        answers = answer(recommender, batch, in_batches)
        single = one_by_one(recommender, batch, singly)
        assert_same(answers, single)
        in_batches |= answers.sessions
        singly |= single.sessions
        for one in answers.recommendations:
            versions[one.click.partition, one.click.offset] = one.snapshot
        at, n = at + len(batch), n + 1
    first_seen = {(one.partition, one.offset): one for one in arrivals}
    assert versions.keys() == first_seen.keys()
    expected = fold_one_by_one(map(oracle_click, first_seen.values()), {"v1": old, "v2": new}, versions)
    for stored in (in_batches, singly):
        records = {(ref.partition, ref.session_id): encode_session(one) for ref, one in stored.items()}
        assert differences(expected, records) == []


def oracle_click(one: Arrival) -> OracleClick:
    click = one.click
    return OracleClick(
        one.partition,
        one.offset,
        one.append_ms,
        click.session_id,
        click.item_id,
        click.timestamp_ms,
        click.kind,
        click.event_id,
    )


def test_an_answer_names_the_snapshot_and_the_click() -> None:
    one = Arrival(Click("s-1", "item-03", NOW_MS + 5, event_id="e-1"), 3, 1042, NOW_MS)
    (recommendation,) = answer(Recommender(OLD, top_k=5), [one]).recommendations
    assert (recommendation.session_id, recommendation.snapshot) == ("s-1", "v1")
    assert (recommendation.v, recommendation.source, recommendation.created_ms) == (1, "model", NOW_MS)
    click = recommendation.click
    assert (click.partition, click.offset, click.item_id, click.event_id) == (3, 1042, "item-03", "e-1")
    assert click.timestamp_ms == NOW_MS  # never later than the arrival
    scores = [item.score for item in recommendation.items]
    assert scores == sorted(scores, reverse=True)
    assert len(set(item_ids(recommendation))) == 5


def test_the_items_are_those_that_the_encoder_scores_highest() -> None:
    (recommendation,) = answer(
        Recommender(OLD, top_k=3, repeat_items=RepeatItems.ALL), [arrival("s-1", "item-03", 0)]
    ).recommendations
    encoder = OLD.encoder
    state = encoder.advance(encoder.initial_states(1), np.array([3], dtype=np.int64))
    state = state.astype(np.float16).astype(np.float32)
    scores = (encoder.queries(state) @ encoder.item_vectors().T)[0]
    best = np.argsort(-scores)[:3]
    assert item_ids(recommendation) == [ITEMS[row] for row in best]
    np.testing.assert_allclose([item.score for item in recommendation.items], scores[best], atol=1e-3)


def test_nothing_arrived() -> None:
    assert answer(Recommender(OLD), []) == Answers({}, [], 0, 0, 0)


def test_only_the_latest_click_of_each_session_is_answered_where_that_is_asked() -> None:
    clicks = [
        arrival("s-1", "item-01", 4),
        arrival("s-2", "item-02", 5),
        arrival("s-1", "item-03", 6),
        arrival("s-3", "unheard-of", 7),
        arrival("s-1", "item-01", 4),  # a replay, and no click
    ]
    every = answer(Recommender(OLD), clicks)
    latest = answer(Recommender(OLD, answer_clicks=AnswerClicks.LATEST), clicks)
    assert latest.sessions == every.sessions
    assert latest.recommendations == every.recommendations[1:]
    assert [one.click.offset for one in latest.recommendations] == [5, 6, 7]
    assert (latest.n_clicks, latest.n_replays) == (every.n_clicks, every.n_replays) == (4, 1)


def test_a_batch_tells_how_far_it_is() -> None:
    told: list[Step] = []
    Recommender(OLD).answer([arrival("s-1", "item-01", 4)], {}, created_ms=NOW_MS, done=told.append)
    assert told == [Step.ADVANCE, Step.SEARCH]


def test_kind_gap_and_hour_of_a_click_change_what_is_recommended() -> None:
    recommender = Recommender(SWAPS["context"][0], repeat_items=RepeatItems.ALL)
    before = answer(recommender, [arrival("s-1", "item-01", 4)]).sessions
    usual = arrival("s-1", "item-02", 5, minute=1)
    others = [
        arrival("s-1", "item-02", 5, minute=1, kind="cart"),
        arrival("s-1", "item-02", 5, minute=10),
        arrival("s-1", "item-02", 5, minute=0.5),
    ]
    scores = [
        {item.item_id: item.score for item in answer(recommender, [one], before).recommendations[0].items}
        for one in (usual, *others, usual)
    ]
    assert scores[0] == scores[-1]
    assert all(other != scores[0] for other in scores[1:-1])


def test_replays_are_counted_and_skipped() -> None:
    recommender = Recommender(OLD)
    clicks = [arrival("s-1", "item-01", 4), arrival("s-2", "item-02", 5), arrival("s-1", "item-03", 6)]
    sessions = answer(recommender, clicks).sessions
    again = answer(recommender, clicks, sessions)
    assert again == Answers({}, [], 0, 3, 0)
    beyond = answer(recommender, [*clicks, arrival("s-1", "item-04", 7)], sessions)
    assert beyond.n_replays == 3
    assert [one.click.offset for one in beyond.recommendations] == [7]
    assert list(beyond.sessions) == [SessionRef(0, "s-1")]
    twice = answer(recommender, [*clicks, *clicks])
    assert (twice.n_replays, twice.sessions) == (3, sessions)


def test_a_replay_of_a_stale_session_rebuilds_nothing() -> None:
    sessions = answer(Recommender(OLD), [arrival("s-1", "item-05", 4)]).sessions
    assert answer(Recommender(NEW), [arrival("s-1", "item-05", 4)], sessions) == Answers({}, [], 0, 1, 0)


def test_one_session_id_in_two_partitions_is_two_sessions() -> None:
    clicks = [
        arrival("s-1", "item-01", 7, partition=0),
        arrival("s-1", "item-02", 3, partition=1),
        arrival("s-1", "item-03", 4, partition=1),
    ]
    answers = answer(Recommender(OLD), clicks)
    assert answers.n_replays == 0
    first, second = answers.sessions[SessionRef(0, "s-1")], answers.sessions[SessionRef(1, "s-1")]
    assert [item.item_id for item in first.items] == ["item-01"]
    assert [item.item_id for item in second.items] == ["item-02", "item-03"]
    assert (first.offset, second.offset) == (7, 4)


def test_after_a_swap_the_last_items_run_through_the_new_encoder() -> None:
    clicks = [arrival("s-1", f"item-{n % 12:02}", n) for n in range(30)]
    sessions = answer(Recommender(OLD), clicks).sessions
    swapped = answer(Recommender(NEW), [arrival("s-1", "item-04", 30)], sessions)
    assert swapped.n_rebuilt == 1
    kept = [arrival("s-1", one.item_id, n) for n, one in enumerate(sessions[SessionRef(0, "s-1")].items)]
    assert len(kept) == 20
    fresh = answer(Recommender(NEW), [*kept, arrival("s-1", "item-04", 20)])
    rebuilt, expected = swapped.sessions[SessionRef(0, "s-1")], fresh.sessions[SessionRef(0, "s-1")]
    np.testing.assert_allclose(state_of(rebuilt), state_of(expected), atol=1e-3)
    assert rebuilt.snapshot == "v2"
    assert rebuilt.n_applied == expected.n_applied
    assert item_ids(swapped.recommendations[0]) == item_ids(fresh.recommendations[-1])
    assert answer(Recommender(NEW), [arrival("s-1", "item-04", 31)], swapped.sessions).n_rebuilt == 0


def test_after_a_swap_to_another_width_the_session_is_rebuilt() -> None:
    wide = tiny_snapshot("v3", seed=3, config=EncoderConfig(n_units=16, embedding_dim=6))
    sessions = answer(Recommender(OLD), [arrival("s-1", "item-01", 0)]).sessions
    answers = answer(Recommender(wide), [arrival("s-1", "item-02", 1)], sessions)
    assert len(answers.sessions[SessionRef(0, "s-1")].state) == 2 * 2 * 16


def test_a_state_of_another_size_under_the_same_version_is_stale() -> None:
    stored = Session("v1", 0, NOW_MS, NOW_MS, 1, b"\x00\x00", ())
    assert Recommender(OLD).is_stale(stored)
    answers = answer(Recommender(OLD), [arrival("s-1", "item-01", 1)], {SessionRef(0, "s-1"): stored})
    assert answers.n_rebuilt == 1
    assert len(answers.sessions[SessionRef(0, "s-1")].state) == 2 * 2 * 8


def test_a_stale_session_after_a_gap_begins_afresh() -> None:
    old = answer(Recommender(OLD), [arrival("s-1", "item-05", 0), arrival("s-1", "item-06", 1)]).sessions
    late = answer(Recommender(NEW), [arrival("s-1", "item-07", 2, minute=31)], old)
    fresh = answer(Recommender(NEW), [arrival("s-1", "item-07", 2, minute=31)])
    assert late.sessions[SessionRef(0, "s-1")] == fresh.sessions[SessionRef(0, "s-1")]
    assert late.recommendations == fresh.recommendations


def test_an_item_counts_once_a_snapshot_knows_it() -> None:
    old, new = Recommender(OLD, top_k=3), Recommender(NEW, top_k=3)
    first = answer(old, [arrival("s-1", "item-90", 0)])
    assert first.recommendations[0].source == "popular"
    assert [item.item_id for item in first.sessions[SessionRef(0, "s-1")].items] == ["item-90"]
    swapped = answer(new, [arrival("s-1", "never-known", 1)], first.sessions)
    assert swapped.recommendations[0].source == "model"
    assert "item-90" in [item.item_id for item in swapped.sessions[SessionRef(0, "s-1")].items]


def test_popular_items_where_no_item_of_the_session_is_known() -> None:
    one, other = answer(
        Recommender(OLD, top_k=3), [arrival("s-1", "new", 0), arrival("s-1", "item-00", 1)]
    ).recommendations
    assert (one.source, item_ids(one)) == ("popular", list(ITEMS[:3]))
    assert [item.score for item in one.items] == [round(n / 78, 6) for n in (12, 11, 10)]
    assert other.source == "model"


def test_popular_again_after_a_gap_and_after_a_swap_to_other_items() -> None:
    known = answer(Recommender(OLD), [arrival("s-1", "item-00", 0)]).sessions
    gap = answer(Recommender(OLD), [arrival("s-1", "new", 1, minute=31)], known).recommendations[0]
    swap = answer(Recommender(NEW), [arrival("s-1", "new", 1)], known).recommendations[0]
    assert (gap.source, swap.source) == ("popular", "popular")


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (RepeatItems.ALL, {"item-00", "item-01", "item-02"}),
        (RepeatItems.NOT_LAST, {"item-00", "item-01"}),
        (RepeatItems.NONE, set()),
    ],
)
def test_which_items_of_the_session_may_be_recommended_again(rule: RepeatItems, allowed: set[str]) -> None:
    clicks = [arrival("s-1", f"item-{n:02}", n) for n in range(3)]
    everything = answer(Recommender(OLD, top_k=12, repeat_items=rule), clicks).recommendations[-1]
    assert set(item_ids(everything)) == set(ITEMS[3:]) | allowed


@pytest.mark.parametrize("rule", list(RepeatItems))
def test_k_items_remain_where_some_are_left_out(rule: RepeatItems) -> None:
    clicks = [arrival("s-1", f"item-{n:02}", n) for n in range(8)]
    for recommendation in answer(Recommender(OLD, top_k=4, repeat_items=rule), clicks).recommendations:
        assert len(recommendation.items) == 4


@pytest.mark.parametrize("rule", list(RepeatItems))
def test_a_repeated_event_is_answered_without_the_item_it_names(rule: RepeatItems) -> None:
    clicks = [arrival("s-1", "item-00", 0, event_id="e"), arrival("s-1", "item-00", 1, event_id="e")]
    first, again = answer(Recommender(OLD, top_k=4, repeat_items=rule), clicks).recommendations
    assert item_ids(first) == item_ids(again)
    assert (first.click.offset, again.click.offset) == (0, 1)


def test_popular_items_follow_the_rule_too() -> None:
    repeated = [arrival("s-1", "new", 0, event_id="e"), arrival("s-1", "item-00", 1, event_id="e")]
    answers = answer(Recommender(OLD, top_k=2), repeated)
    assert item_ids(answers.recommendations[1]) == ["item-01", "item-02"]


@pytest.mark.parametrize(("rule", "n"), [(RepeatItems.ALL, 12), (RepeatItems.NOT_LAST, 11)])
def test_a_catalogue_smaller_than_k(rule: RepeatItems, n: int) -> None:
    known, popular = answer(
        Recommender(OLD, top_k=50, repeat_items=rule),
        [arrival("s-1", "item-03", 0), arrival("s-2", "new", 1)],
    ).recommendations
    assert len(known.items) == n
    assert len(popular.items) == 12
    assert all(np.isfinite(item.score) for item in known.items)


def test_a_catalogue_of_one_item() -> None:
    single = tiny_snapshot(items=("only",))
    assert answer(Recommender(single), [arrival("s-1", "only", 0)]).recommendations[0].items == []
    (everything,) = answer(
        Recommender(single, repeat_items=RepeatItems.ALL), [arrival("s-1", "only", 0)]
    ).recommendations
    assert item_ids(everything) == ["only"]


def test_answering_changes_none_of_its_inputs_and_repeats_itself() -> None:
    recommender = Recommender(OLD)
    sessions = answer(recommender, [arrival("s-1", "item-01", 0), arrival("s-2", "item-02", 1)]).sessions
    clicks = [arrival("s-1", "item-03", 2), arrival("s-3", "item-04", 3), arrival("s-1", "item-05", 4)]
    before = copy.deepcopy((clicks, sessions))
    first = answer(recommender, clicks, sessions)
    assert (clicks, sessions) == before
    assert answer(recommender, clicks, sessions) == first
