from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.batching import IDLE, LONGEST_PIECE, Lanes, lay_out
from model.sequences import Sequences


def pairs_by_session(lanes: Lanes) -> list[list[tuple[int, int]]]:
    """Read the lanes back: the pairs of each session, in order of their first step."""
    sessions = []
    for lane in range(lanes.inputs.shape[1]):
        for step in np.flatnonzero(lanes.inputs[:, lane] != IDLE):
            pair = (int(lanes.inputs[step, lane]), int(lanes.targets[step, lane]))
            if lanes.begins[step, lane]:
                sessions.append((int(step), lane, [pair]))
            else:
                sessions[-1][2].append(pair)
    return [pairs for _, _, pairs in sorted(sessions)]


def test_sessions_take_the_lane_that_falls_free_first() -> None:
    lanes = lay_out(Sequences.from_lists([[1, 2, 3, 4], [5, 6], [7, 8, 9], [10, 11]]), 2)
    assert lanes.inputs.T.tolist() == [[1, 2, 3, 10], [5, 7, 8, IDLE]]
    assert lanes.targets.T.tolist() == [[2, 3, 4, 11], [6, 8, 9, IDLE]]
    assert lanes.begins.T.tolist() == [[True, False, False, True], [True, True, False, False]]


def test_sessions_without_a_pair_are_left_out() -> None:
    lanes = lay_out(Sequences.from_lists([[1], [], [-1, 2], [3, -1, 4]]), 4)
    assert pairs_by_session(lanes) == [[(3, 4)]]


def test_nothing_to_lay_out() -> None:
    lanes = lay_out(Sequences.from_lists([[1]]), 3)
    assert lanes.n_pairs == 0
    assert list(lanes.windows(4)) == []


def test_a_robot_does_not_keep_the_epoch_waiting() -> None:
    robot = list(range(1_000))
    lanes = lay_out(Sequences.from_lists([robot]), 4)
    assert len(lanes.inputs) == LONGEST_PIECE
    pieces = pairs_by_session(lanes)
    assert [pair for piece in pieces for pair in piece] == list(pairwise(robot))


def test_windows_are_the_grid_in_slices() -> None:
    lanes = lay_out(Sequences.from_lists([[1, 2, 3, 4, 5, 6]]), 1)
    windows = list(lanes.windows(2))
    assert [len(window.inputs) for window in windows] == [2, 2, 1]
    assert np.concatenate([window.inputs for window in windows]).ravel().tolist() == [1, 2, 3, 4, 5]


@given(st.lists(st.lists(st.integers(0, 9), max_size=9), max_size=20), st.integers(1, 6))
def test_every_pair_is_played_once_in_its_session(sessions: list[list[int]], n_lanes: int) -> None:
    lanes = lay_out(Sequences.from_lists(sessions), n_lanes)
    expected = [list(pairwise(session)) for session in sessions if len(session) > 1]
    assert sorted(pairs_by_session(lanes)) == sorted(expected)
    assert lanes.n_pairs == sum(map(len, expected))
    idle = lanes.inputs == IDLE
    assert np.all(idle[1:] >= idle[:-1])  # a lane is idle only once no session is left for it
