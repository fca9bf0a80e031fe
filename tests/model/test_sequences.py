from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.sequences import Sequences

SESSIONS = [[1, 2, 3], [4], [-1, 5], [-1]]


def lists(sequences: Sequences) -> list[list[int]]:
    return [sequences.session(i).tolist() for i in range(len(sequences))]


def test_flat_and_back() -> None:
    sequences = Sequences.from_lists(SESSIONS)
    assert lists(sequences) == SESSIONS
    assert (len(sequences), sequences.n_clicks, sequences.n_targets) == (4, 7, 3)
    assert sequences.lengths.tolist() == [3, 1, 2, 1]


def test_without_unknown_items() -> None:
    sequences = Sequences.from_lists(SESSIONS)
    assert lists(sequences.drop_unknown()) == [[1, 2, 3], [4], [5]]
    assert lists(sequences.drop_unknown(min_length=2)) == [[1, 2, 3]]
    assert lists(sequences.drop_short(2)) == [[1, 2, 3], [-1, 5]]


def test_selecting() -> None:
    sequences = Sequences.from_lists(SESSIONS)
    assert lists(sequences.select(1, 3)) == [[4], [-1, 5]]
    assert lists(sequences.take(np.array([2, 0, 2]))) == [[-1, 5], [1, 2, 3], [-1, 5]]
    assert lists(sequences.take(np.array([], dtype=np.int64))) == []


def test_the_last_clicks_of_each_session() -> None:
    sequences = Sequences.from_lists([[1, 2, 3], [], [4], [5, 6]])
    assert lists(sequences.keep_last(2)) == [[2, 3], [], [4], [5, 6]]
    assert lists(sequences.keep_last(1)) == [[3], [], [4], [6]]
    assert lists(Sequences.from_lists([]).keep_last(1)) == []


@pytest.mark.parametrize(
    ("n", "share", "n_newest"), [(10, 0.1, 1), (25, 0.1, 2), (3, 0.1, 1), (1, 0.1, 0), (0, 0.1, 0)]
)
def test_newest_sessions_are_the_last(n: int, share: float, n_newest: int) -> None:
    older, newest = Sequences.from_lists([[i] for i in range(n)]).split_newest(share)
    assert lists(older) + lists(newest) == [[i] for i in range(n)]
    assert len(newest) == n_newest


def test_codes_go_where_their_clicks_go() -> None:
    plain = Sequences.from_lists(SESSIONS)
    codes = np.stack([np.arange(7), plain.rows, plain.rows * 10], axis=1)
    coded = Sequences(plain.rows, plain.starts, codes)
    for chosen in (
        coded.select(1, 3),
        coded.take(np.array([2, 0, 2])),
        coded.drop_unknown(),
        coded.drop_short(2),
        coded.keep_last(2),
        Sequences.concatenate(coded.drop_short(3), coded),
    ):
        assert chosen.codes is not None
        np.testing.assert_array_equal(chosen.codes[:, 1], chosen.rows)
        np.testing.assert_array_equal(plain.rows[chosen.codes[:, 0]], chosen.rows)
    assert Sequences.concatenate(plain, coded).codes is None
    with pytest.raises(ValueError, match="codes of 6 clicks for 7"):
        Sequences(plain.rows, plain.starts, codes[:6])


@pytest.mark.parametrize("starts", [[], [1, 2], [0, 1], [0, 2, 1, 2]])
def test_refuses_starts_that_do_not_divide(starts: list[int]) -> None:
    with pytest.raises(ValueError, match="starts"):
        Sequences(np.zeros(2, dtype=np.int64), np.array(starts, dtype=np.int64))


@given(st.lists(st.lists(st.integers(-1, 5), max_size=6), max_size=8))
def test_taking_all_and_dropping_unknown_agree_with_lists(sessions: list[list[int]]) -> None:
    sequences = Sequences.from_lists(sessions)
    backwards = np.arange(len(sessions))[::-1].astype(np.int64)
    assert lists(sequences.take(backwards)) == sessions[::-1]
    known = [[row for row in session if row >= 0] for session in sessions]
    assert lists(sequences.drop_unknown()) == [session for session in known if session]
