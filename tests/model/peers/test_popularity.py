"""Session popularity by hand."""

from __future__ import annotations

import numpy as np

from model.peers.popularity import TIES_BROKEN, SessionPopularRanker
from model.sequences import UNKNOWN, Sequences


def test_a_sessions_own_items_come_first_by_how_often_and_then_by_popularity() -> None:
    ranker = SessionPopularRanker(np.arange(10, 0, -1))
    (answers,) = ranker.answers(Sequences.from_lists([[5, 3, UNKNOWN, 5, 0]]), 4)
    assert answers.clicks.tolist() == [0, 1, 2, 3]
    assert answers.rows.tolist() == [[5, 0, 1, 2], [3, 5, 0, 1], [3, 5, 0, 1], [5, 3, 0, 1]]
    assert (np.diff(answers.scores) < 0).all()


def test_rare_items_of_a_session_are_ties() -> None:
    ranker = SessionPopularRanker(np.full(TIES_BROKEN + 2, 7))
    (answers,) = ranker.answers(Sequences.from_lists([[TIES_BROKEN, TIES_BROKEN + 1, 0]]), 2)
    assert answers.scores[1].tolist() == [1.0, 1.0]
