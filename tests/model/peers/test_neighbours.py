"""Neighbours of sessions against a slow reading of the same definition, one session and item at a time."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest

from model.peers.neighbours import (
    DAY_S,
    SKNN,
    STAN,
    V_SKNN,
    VSTAN,
    NeighbourRanker,
    NeighbourWeights,
)
from model.sequences import UNKNOWN, Sequences

N_ITEMS = 12
ALL = {"sknn": SKNN, "v-sknn": V_SKNN, "stan": STAN, "vstan": VSTAN}


def random_sessions(n: int, seed: int) -> list[list[int]]:
    chance = np.random.default_rng(seed)
    return [chance.integers(N_ITEMS, size=chance.integers(1, 9)).tolist() for _ in range(n)]


def votes_one_by_one(
    past: list[list[int]], ends_s: list[float], clicked: list[int], weights: NeighbourWeights
) -> dict[int, float]:
    n = len(clicked)

    def at(decay: object, position: int) -> float:
        return float(decay(np.array([float(position)]), n)[0])  # type: ignore[operator]

    position = {item: place for place, item in enumerate(clicked, start=1)}
    sharing = [i for i, session in enumerate(past) if set(session) & set(clicked)][-weights.n_sampled :]
    similarity = {}
    for i in sharing:
        shared = set(past[i]) & set(clicked)
        similarity[i] = sum(at(weights.click, position[item]) for item in shared)
        if weights.by_length:
            similarity[i] /= math.sqrt(len(set(past[i])))
        if weights.age_days is not None:
            similarity[i] *= math.exp((ends_s[i] - max(ends_s)) / (weights.age_days * DAY_S))
    voting = sorted(sharing, key=lambda i: (-similarity[i], -i))[: weights.n_neighbours]
    n_clicks: dict[int, int] = defaultdict(int)
    for session in past:
        for item in session:
            n_clicks[item] += 1
    votes: dict[int, float] = defaultdict(float)
    for i in voting:
        last = {item: place for place, item in enumerate(past[i], start=1)}
        last_shared = max(last[item] for item in last if item in position)
        newest = max(position[item] for item in last if item in position)
        for item, place in last.items():
            vote = similarity[i] * at(weights.match, newest)
            if weights.distance is not None:
                vote *= math.exp(-abs(place - last_shared) / weights.distance)
            votes[item] += vote * (1 + weights.rarity * math.log(len(past) / n_clicks[item]))
    return votes


@pytest.mark.parametrize("n_sampled", [1_000, 20])
@pytest.mark.parametrize("method", ALL)
def test_it_ranks_as_the_definition_says(method: str, n_sampled: int) -> None:
    given = ALL[method]
    weights = NeighbourWeights(
        n_sampled, 10, given.click, given.by_length, given.age_days, given.match, given.distance, given.rarity
    )
    past = random_sessions(60, seed=1)
    ends_s = [1e9 + 40_000.0 * i for i in range(len(past))]
    ranker = NeighbourRanker(Sequences.from_lists(past), np.array(ends_s), N_ITEMS, weights)
    held_out = [session for session in random_sessions(25, seed=2) if len(session) > 1]
    sequences = Sequences.from_lists(held_out)
    places = {
        int(start) + place: (number, place)
        for number, start in enumerate(sequences.starts[:-1])
        for place in range(len(held_out[number]))
    }
    compared = 0
    for answers in ranker.answers(sequences, 6):
        for click, scores, rows in zip(answers.clicks, answers.scores, answers.rows, strict=True):
            number, place = places[int(click)]
            votes = votes_one_by_one(past, ends_s, held_out[number][: place + 1], weights)
            best = sorted(votes.values(), reverse=True)[:6]
            assert scores[: len(best)] == pytest.approx(best, rel=1e-5)
            assert [votes[row] for row in rows[: len(best)]] == pytest.approx(best, rel=1e-5)
            compared += 1
    assert compared == sequences.n_targets > 50


def test_unknown_items_have_no_neighbours() -> None:
    past = Sequences.from_lists([[0, 1], [UNKNOWN, 2]])
    ranker = NeighbourRanker(past, np.array([1.0, 2.0]), 3, SKNN)
    (answers,) = ranker.answers(Sequences.from_lists([[UNKNOWN, 0, 1]]), 2)
    assert answers.rows.tolist() == [[-1, -1], [0, 1]]
    assert np.isneginf(answers.scores[0]).all()
