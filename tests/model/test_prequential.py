"""A stream in slices: every target once, and nothing learnt from before it happened."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.prequential import Catalogue, Stream
from model.sequences import UNKNOWN, Sequences


def stream_of(sessions: list[list[int]]) -> Stream:
    """Sessions as lists of rising times, in the order in which they end; rows do not matter."""
    ordered = sorted(sessions, key=lambda times: times[-1])
    sequences = Sequences.from_lists([[0] * len(times) for times in ordered])
    return Stream.of(sequences, np.array([t for times in ordered for t in times], dtype=np.int64))


def some_unknown(sessions: list[list[tuple[int, bool]]]) -> Stream:
    """Sessions of times and whether the item is known, without the clicks on unknown ones."""
    ordered = sorted((sorted(session) for session in sessions), key=lambda session: session[-1][0])
    rows = [[0 if known else UNKNOWN for _, known in session] for session in ordered]
    times = [time_ms for session in ordered for time_ms, _ in session]
    return Stream.of(Sequences.from_lists(rows), np.array(times, dtype=np.int64)).drop_unknown()


def test_slices_by_hand() -> None:
    stream = stream_of([[0, 1], [0, 2, 5, 6], [3, 4]])  # targets at 1, 4 and 2, 5, 6
    first, second = stream.slices(2)
    assert (first.begin_ms, first.n_targets, first.n_ended) == (1, 2, 0)
    assert first.sessions.tolist() == [0, 2]
    assert first.counted.tolist() == [False, True, False, True, False, False]
    assert (second.begin_ms, second.n_targets) == (4, 3)
    assert second.n_ended == 1  # the session that began at 3 ends at 4, which is to be foretold
    assert second.sessions.tolist() == [1, 2]
    assert second.counted.tolist() == [False, True, False, False, True, True]


CLICKS = st.tuples(st.integers(0, 60), st.booleans())


@given(
    st.lists(st.lists(CLICKS, min_size=1, max_size=6), min_size=1, max_size=30),
    st.sampled_from((1, 2)),
    st.integers(1, 9),
)
def test_every_target_is_foretold_once_by_what_had_ended_before(
    sessions: list[list[tuple[int, bool]]], min_length: int, n: int
) -> None:
    stream = some_unknown(sessions).drop_short(min_length)
    slices = list(stream.slices(n))
    assert sum(part.n_targets for part in slices) == stream.sequences.n_targets
    starts = stream.sequences.starts
    for part, after in zip(slices, [*slices[1:], None], strict=False):
        times = np.concatenate([stream.time_ms[starts[i] : starts[i + 1]] for i in part.sessions])
        counted = times[part.counted]
        assert len(counted) == part.n_targets > 0
        assert counted.min() == part.begin_ms
        assert after is None or counted.max() < after.begin_ms
        clicks_learnt = stream.time_ms[: starts[part.n_ended]]
        assert (clicks_learnt < part.begin_ms).all()  # a target is never learnt before it is foretold
        assert (stream.ends_ms[: part.n_ended] < part.begin_ms).all()
        assert (stream.ends_ms[part.n_ended :] >= part.begin_ms).all()


def test_a_session_ends_with_its_last_click_though_its_item_is_unknown() -> None:
    sessions = [[(60, True), (90, True)], [(10, True), (12, True), (100, False)], [(50, True), (110, True)]]
    stream = some_unknown(sessions)
    assert stream.ends_ms.tolist() == [90, 100, 110]
    assert stream.time_ms.tolist() == [60, 90, 10, 12, 50, 110]
    assert [(part.begin_ms, part.n_ended) for part in stream.slices(3)] == [(12, 0), (90, 0), (110, 2)]


def test_a_stream_is_in_the_order_of_the_ends() -> None:
    sequences = Sequences.from_lists([[0, 1], [0, 1]])
    with pytest.raises(ValueError, match="order in which they ended"):
        Stream.of(sequences, np.array([1, 9, 2, 3]))
    with pytest.raises(ValueError, match="needs its time"):
        Stream.of(sequences, np.array([1, 2, 3, 4, 5]))


def test_unknown_clicks_leave_with_their_times() -> None:
    sequences = Sequences.from_lists([[1, UNKNOWN, 2], [UNKNOWN], [UNKNOWN, 3]])
    known = Stream.of(sequences, np.array([10, 11, 12, 13, 14, 15])).drop_unknown()
    assert (known.sequences.rows.tolist(), known.time_ms.tolist()) == ([1, 2, 3], [10, 12, 15])
    assert known.ends_ms.tolist() == [12, 15]
    kept = known.drop_short(2)
    assert (kept.time_ms.tolist(), kept.ends_ms.tolist()) == ([10, 12], [12])


def test_a_catalogue_orders_by_popularity_and_knows_nothing_else() -> None:
    sessions = Sequences.from_lists([[2, 4, 4, UNKNOWN], [2, 4, 0]])
    catalogue = Catalogue.of(sessions, n_all=5)
    assert catalogue.items.tolist() == [4, 2, 0]
    assert catalogue.counts.tolist() == [3, 2, 1]
    encoded = catalogue.encode(Sequences.from_lists([[0, 1, 2, 3, 4, UNKNOWN]]))
    assert encoded.rows.tolist() == [2, UNKNOWN, 1, UNKNOWN, 0, UNKNOWN]
