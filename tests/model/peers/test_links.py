"""Links between items: weights by hand, on sessions small enough to count."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from model.evaluation import Answers
from model.peers.links import (
    ItemLinks,
    LinksRanker,
    association_rules,
    item_neighbours,
    sequential_rules,
)
from model.sequences import UNKNOWN, Sequences

SESSIONS = Sequences.from_lists([[0, 1, 0, 2], [1, 2], [3]])


def links_of(links: ItemLinks, row: int) -> dict[int, float]:
    part = slice(links.starts[row], links.starts[row + 1])
    return dict(zip(links.targets[part].tolist(), links.weights[part].tolist(), strict=True))


def test_association_rules_count_pairs_both_ways() -> None:
    links = association_rules(SESSIONS, 4)
    # In the first session 0 is clicked twice: two pairs with 1, two with 2, and one with itself, both ways.
    assert links_of(links, 0) == {0: 2.0, 1: 2.0, 2: 2.0}
    assert links_of(links, 1) == {0: 2.0, 2: 2.0}
    assert links_of(links, 3) == {}


def test_sequential_rules_weigh_by_the_square_of_the_steps() -> None:
    links = sequential_rules(SESSIONS, 4)
    assert links_of(links, 0) == pytest.approx({1: 1.0, 0: 1 / 4, 2: 1 + 1 / 9})
    assert links_of(links, 1) == pytest.approx({0: 1.0, 2: 1 / 4 + 1})
    assert links_of(links, 2) == {}
    assert links_of(sequential_rules(SESSIONS, 4, n_steps=1), 0) == {1: 1.0, 2: 1.0}


def test_item_neighbours_by_the_formula() -> None:
    links = item_neighbours(SESSIONS, 4)
    support = np.array([2, 2, 2, 1]) + 20.0
    common = {0: {1: 2, 2: 2}, 1: {0: 1, 2: 2}, 2: {0: 1, 1: 2}, 3: {}}
    for source, targets in common.items():
        expected = {t: n / (support[source] ** 0.75 * support[t] ** 0.25) for t, n in targets.items()}
        assert links_of(links, source) == pytest.approx(expected)


@pytest.mark.parametrize("weigh", [association_rules, sequential_rules, item_neighbours])
def test_parts_make_no_difference(
    weigh: Callable[[Sequences, int], ItemLinks], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    drawn = [random.integers(UNKNOWN, 40, random.integers(1, 12)).tolist() for _ in range(200)]
    sessions = Sequences.from_lists(drawn)
    at_once = weigh(sessions, 40)
    monkeypatch.setattr("model.peers.links.PAIRS_AT_ONCE", 300)
    in_parts = weigh(sessions, 40)
    for name in ("starts", "targets", "weights"):
        np.testing.assert_array_equal(getattr(in_parts, name), getattr(at_once, name))


@pytest.mark.parametrize("weigh", [association_rules, item_neighbours])
def test_memory_does_not_grow_with_the_square_of_a_session(
    weigh: Callable[[Sequences, int], ItemLinks],
) -> None:
    """All pairs of this one's items would be 36 million, five columns of which are over 1 GB."""
    robot = list(range(6_000))
    tracemalloc.start()
    try:
        found = weigh(Sequences.from_lists([robot, [0, 1]]), 6_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 300e6
    assert links_of(found, 0).keys() == {1}  # of the long session only the last clicks count
    assert len(links_of(found, 5_999)) > 1


def test_only_the_strongest_are_kept_best_first() -> None:
    links = sequential_rules(Sequences.from_lists([[0, 1], [0, 2], [0, 2], [0, 3]]), 4, n_kept=2)
    assert links.targets.tolist() == [2, 1]  # 1 and 3 are equal: the more popular row stays
    assert links.weights.tolist() == [2.0, 1.0]


def test_the_ranking_is_by_the_item_clicked_last() -> None:
    ranker = LinksRanker(sequential_rules(SESSIONS, 4))
    (answers,) = ranker.answers(Sequences.from_lists([[3, 0, 1], [UNKNOWN, 2]]), 3)
    assert isinstance(answers, Answers)
    assert answers.clicks.tolist() == [0, 1, 3]
    assert answers.rows.tolist() == [[-1, -1, -1], [2, 1, 0], [-1, -1, -1]]
    assert np.isneginf(answers.scores[answers.rows < 0]).all()
