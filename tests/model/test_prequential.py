"""A stream in slices: every target once, and nothing learnt from before it happened."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.prequential import Catalogue, Stream
from model.sequences import UNKNOWN, Sequences


def stream_of(sessions: list[list[int]]) -> Stream:
    """Sessions as lists of rising times, in the order in which they end; rows do not matter."""
    ordered = sorted(sessions, key=lambda times: times[-1])
    sequences = Sequences.from_lists([[0] * len(times) for times in ordered])
    return Stream(sequences, np.array([t for times in ordered for t in times], dtype=np.int64))


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


@given(
    st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=6).map(sorted), min_size=1, max_size=30),
    st.integers(1, 9),
)
def test_every_target_is_foretold_once_by_what_had_ended_before(sessions: list[list[int]], n: int) -> None:
    stream = stream_of(sessions)
    slices = list(stream.slices(n))
    assert sum(part.n_targets for part in slices) == stream.sequences.n_targets
    starts = stream.sequences.starts
    for part, after in zip(slices, [*slices[1:], None], strict=False):
        times = np.concatenate([stream.time_ms[starts[i] : starts[i + 1]] for i in part.sessions])
        counted = times[part.counted]
        assert len(counted) == part.n_targets > 0
        assert counted.min() == part.begin_ms
        assert after is None or counted.max() < after.begin_ms
        ends = stream.time_ms[starts[1:] - 1]
        assert (ends[: part.n_ended] < part.begin_ms).all()
        assert (ends[part.n_ended :] >= part.begin_ms).all()


def test_unknown_clicks_leave_with_their_times() -> None:
    stream = Stream(Sequences.from_lists([[1, UNKNOWN, 2], [UNKNOWN, 3]]), np.array([10, 11, 12, 13, 14]))
    kept = stream.drop_unknown().drop_short(2)
    assert (kept.sequences.rows.tolist(), kept.time_ms.tolist()) == ([1, 2], [10, 12])


def test_a_catalogue_orders_by_popularity_and_knows_nothing_else() -> None:
    sessions = Sequences.from_lists([[2, 4, 4, UNKNOWN], [2, 4, 0]])
    catalogue = Catalogue.of(sessions, n_all=5)
    assert catalogue.items.tolist() == [4, 2, 0]
    assert catalogue.counts.tolist() == [3, 2, 1]
    encoded = catalogue.encode(Sequences.from_lists([[0, 1, 2, 3, 4, UNKNOWN]]))
    assert encoded.rows.tolist() == [2, UNKNOWN, 1, UNKNOWN, 0, UNKNOWN]
