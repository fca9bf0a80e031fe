"""Session popularity by hand."""

from __future__ import annotations

import numpy as np
import pytest

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


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(3)
    sessions = [chance.integers(-1, 10, size=chance.integers(1, 30)).tolist() for _ in range(40)]
    ranker, sequences = SessionPopularRanker(np.arange(10, 0, -1)), Sequences.from_lists(sessions)
    (whole,) = ranker.answers(sequences, 6)
    monkeypatch.setattr("model.peers.popularity.LOOKS_AT_ONCE", 50)
    parts = list(ranker.answers(sequences, 6))
    assert len(parts) > 20
    for one, many in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(one, np.concatenate(many))


def test_a_list_longer_than_the_catalogue_ends_early() -> None:
    (answers,) = SessionPopularRanker(np.array([3, 2, 1])).answers(Sequences.from_lists([[2, 2], []]), 5)
    assert answers.rows.tolist() == [[2, 0, 1, UNKNOWN, UNKNOWN]]
    assert np.isneginf(answers.scores[0, 3:]).all()


def test_nothing_to_answer() -> None:
    answers = SessionPopularRanker(np.array([3, 2, 1])).answers(Sequences.from_lists([[2], []]), 5)
    assert sum(len(part.clicks) for part in answers) == 0
