"""Fresh candidates: an item the memory does not know gets the features that it would have if it did."""

import numpy as np

from model.blend import BlendedRanking
from model.blend_candidates import FEATURES, gather
from model.fresh_candidates import FreshLinks, OwnFresh, describe_fresh, nearest_fresh
from model.sequences import UNKNOWN
from tests.tiny import tiny_ranking, tiny_snapshot

SNAPSHOT = tiny_snapshot(seed=1)
RANKING: BlendedRanking = tiny_ranking(seed=1)
MEMORY = RANKING.memory
N_ITEMS = MEMORY.n_items


def recent_of(*sessions: list[int]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Rows of the last items, newest first."""
    recent = np.full((len(sessions), 20), UNKNOWN, dtype=np.int64)
    for line, session in zip(recent, sessions, strict=True):
        line[: len(session)] = session[::-1]
    return recent


def test_a_known_item_described_as_a_fresh_one_gets_its_own_features() -> None:
    """Every item of the catalogue is given as a fresh one, with its own vector, links and popularity."""
    recent = recent_of([3, 1, 4, 1, 5], [2], [7, 7, 7, 0, 1, 2, 3])
    states = SNAPSHOT.encoder.initial_states(3)
    for step in (2, 1, 0):
        moved = SNAPSHOT.encoder.advance(states, np.maximum(recent[:, step], 0))
        states = np.where((recent[:, step] >= 0)[:, None], moved, states)
    queries = SNAPSHOT.encoder.queries(states)
    scores, nearest = SNAPSHOT.index.search(queries, N_ITEMS)
    expected = gather(MEMORY, scores, nearest, recent)
    links = []
    for click, line in enumerate(recent):
        for depth, source in enumerate(line[:5].tolist()):
            if source == UNKNOWN:
                continue
            for at in range(MEMORY.starts[source], MEMORY.starts[source + 1]):
                links.append((click, int(MEMORY.targets[at]), depth, MEMORY.forward[at], MEMORY.together[at]))
    clicks, items, depths, forward, together = (np.array(column) for column in zip(*links, strict=True))
    own_clicks, own_depths = np.nonzero(recent != UNKNOWN)
    found, features = describe_fresh(
        queries,
        scores,
        recent,
        SNAPSHOT.encoder.item_vectors(),
        np.ones(N_ITEMS, dtype=np.bool_),
        MEMORY.popularity,
        FreshLinks(clicks, items, depths, forward.astype(np.float32), together.astype(np.float32)),
        OwnFresh(own_clicks, recent[own_clicks, own_depths], own_depths),
    )
    assert len(found.rows) > 20
    places = {
        (click, row): at
        for at, (click, row) in enumerate(
            zip(np.repeat(np.arange(3), expected.counts).tolist(), expected.rows.tolist(), strict=True)
        )
    }
    order = [places[one] for one in zip(found.clicks.tolist(), found.rows.tolist(), strict=True)]
    for name, ours, theirs in zip(FEATURES, features, expected.features[:, order], strict=True):
        if name != "recent-popularity":  # a fresh item has one popularity
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_nearest_are_those_that_beat_the_least_of_the_known_ones() -> None:
    queries = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    vectors = np.array([[3.0, 0.5], [1.0, 2.0], [9.0, 9.0]], dtype=np.float32)
    placed = np.array([True, True, False])
    scores = np.array([[4.0, 2.0], [1.0, -np.inf]], dtype=np.float32)
    near, found = nearest_fresh(queries, vectors, placed, scores)
    assert list(zip(near.clicks.tolist(), near.rows.tolist(), strict=True)) == [(0, 0), (1, 1)]
    np.testing.assert_array_equal(found, queries @ vectors.T)


def test_of_many_near_ones_the_nearest_are_taken() -> None:
    vectors = np.arange(50, dtype=np.float32)[:, None]
    near, _ = nearest_fresh(
        np.ones((1, 1), np.float32), vectors, np.ones(50, np.bool_), np.zeros((1, 3), np.float32)
    )
    assert near.rows.tolist() == list(range(40, 50))
