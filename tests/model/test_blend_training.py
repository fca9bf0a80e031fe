"""The blend learns what a log's shoppers do, and nothing where there is nothing to learn."""

import numpy as np
import pytest

from index.exact import ExactIndex
from model.blend import Blend, BlendedRanking
from model.blend_candidates import FEATURES
from model.blend_memory import ItemMemory
from model.blend_ranker import BlendRanker, recent_rows
from model.blend_training import (
    MOST_CLICKS,
    MOST_OF_A_SESSION,
    Examples,
    collect,
    fit,
    learn_blend,
)
from model.encoder import EncoderConfig, SessionEncoder
from model.evaluation import evaluate_next_items
from model.metrics import Accuracy
from model.ranking import EncoderRanker
from model.sequences import UNKNOWN, Sequences
from tests.model.markov import markov_sessions

N_ITEMS = 150
"""More than the encoder's nearest, so that what the links bring matters."""


def untrained() -> tuple[SessionEncoder, ExactIndex]:
    encoder = SessionEncoder(EncoderConfig(n_units=8, embedding_dim=8), N_ITEMS, seed=3).eval()
    return encoder, ExactIndex(encoder.item_vectors())


def learnt_on(sessions: Sequences) -> tuple[BlendedRanking, Accuracy, Accuracy]:
    """The ranking over an untrained encoder, and both's accuracy on the newest fifth, which nobody saw."""
    older, unseen = sessions.split_newest(0.2)
    oldest, held_out = older.split_newest(0.5)
    encoder, index = untrained()
    memory = ItemMemory.remember(oldest, N_ITEMS)
    blend = learn_blend(memory, encoder, index.search, held_out, seed=1)
    assert blend is not None
    counts = np.bincount(older.rows, minlength=N_ITEMS)
    ranking = BlendedRanking(memory, blend)
    blended = BlendRanker(encoder, index.search, counts, ranking)
    alone = EncoderRanker(encoder, index.search, counts)
    return ranking, evaluate_next_items(blended, unseen), evaluate_next_items(alone, unseen)


def test_structure_in_the_links_is_learnt() -> None:
    _, blended, alone = learnt_on(markov_sessions(400, N_ITEMS, randomness=0.1, length=6))
    assert alone.recall < 0.3
    assert blended.recall > 0.85
    assert blended.mrr > 0.8


def test_noise_is_not() -> None:
    _, blended, _ = learnt_on(markov_sessions(400, N_ITEMS, randomness=1.0, length=6))
    assert blended.recall == pytest.approx(20 / N_ITEMS, abs=0.05)


@pytest.mark.parametrize("habit", ["last", "second-last"])
def test_what_a_session_repeats_is_a_habit_of_the_log(habit: str) -> None:
    """People return to the item before the last, and never stay; or stay, and never return."""
    random = np.random.default_rng(4)
    sessions = []
    for _ in range(300):
        session = random.choice(N_ITEMS, 2, replace=False).tolist()
        for _ in range(4):
            back = 1 if habit == "last" else 2
            session.append(session[-back] if random.random() < 0.7 else int(random.integers(N_ITEMS)))
        sessions.append(session)
    ranking, blended, _ = learnt_on(Sequences.from_lists(sessions))
    assert blended.mrr > 0.45
    encoder, index = untrained()
    recent = np.full((50, 20), UNKNOWN)
    recent[:, :2] = [random.choice(N_ITEMS, 2, replace=False) for _ in range(50)]
    queries = encoder.queries(encoder.initial_states(50))
    _, best = ranking.find(index.search, queries, recent, 1)
    expected = recent[:, 0 if habit == "last" else 1]
    assert (best[:, 0] == expected).mean() > 0.8


def test_too_few_clicks_teach_nothing() -> None:
    encoder, index = untrained()
    sessions = markov_sessions(30, N_ITEMS, randomness=0.0, length=6)
    memory = ItemMemory.remember(sessions, N_ITEMS)
    assert learn_blend(memory, encoder, index.search, sessions) is None
    assert learn_blend(memory, encoder, index.search, sessions.select(0, 0)) is None


def test_a_robot_s_long_session_does_not_push_everybody_else_out() -> None:
    encoder, index = untrained()
    sessions = markov_sessions(60, N_ITEMS, randomness=0.1, length=6)
    memory = ItemMemory.remember(sessions, N_ITEMS)
    robot = np.random.default_rng(0).integers(0, N_ITEMS, MOST_CLICKS + 2).tolist()
    blend = learn_blend(
        memory, encoder, index.search, Sequences.concatenate(sessions, Sequences.from_lists([robot]))
    )
    last = Sequences.from_lists([robot[-MOST_OF_A_SESSION:]])
    same = learn_blend(memory, encoder, index.search, Sequences.concatenate(sessions, last))
    assert blend is not None
    assert same is not None
    np.testing.assert_array_equal(blend.first, same.first)


def test_the_same_seed_gives_the_same_blend() -> None:
    encoder, index = untrained()
    sessions = markov_sessions(40, N_ITEMS, randomness=0.3)
    memory = ItemMemory.remember(sessions, N_ITEMS)
    one, same, other = (learn_blend(memory, encoder, index.search, sessions, seed) for seed in (1, 1, 2))
    assert one is not None
    assert same is not None
    assert other is not None
    np.testing.assert_array_equal(one.first, same.first)
    assert not np.array_equal(one.first, other.first)


def test_examples_are_the_clicks_whose_next_one_is_a_candidate() -> None:
    encoder, _ = untrained()
    sessions = Sequences.from_lists([[0, 1, UNKNOWN, 2], [UNKNOWN, 0, 1]])
    memory = ItemMemory.remember(Sequences.from_lists([[0, 1]]), N_ITEMS)

    def nothing_near(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(queries), 1), dtype=np.float32), np.full((len(queries), 1), 149)

    examples = collect(memory, encoder, nothing_near, sessions)
    assert len(examples.targets) == 2  # 0 → 1, twice; after [0, 1] comes something unknown, then 2
    forward = examples.features[examples.targets, FEATURES.index("forward-last")]
    np.testing.assert_allclose(forward, np.log(1.0 + 1e-4), rtol=1e-5)


def test_standardising_is_folded_into_the_weights() -> None:
    """Without updates to speak of the order is the encoder's, whatever mean and scale the features have."""
    random = np.random.default_rng(0)
    features = random.normal(3, 20, size=(400, len(FEATURES))).astype(np.float32)
    lstm = FEATURES.index("lstm")
    targets = np.array([start + np.argmax(features[start : start + 4, lstm]) for start in range(0, 400, 4)])
    blend = fit(Examples(features, np.arange(0, 401, 4), targets), seed=1)
    assert isinstance(blend, Blend)
    scores = blend.scores(features.T).reshape(100, 4)
    assert (scores.argmax(axis=1) == targets % 4).mean() > 0.95


def test_recent_rows_are_newest_first_and_of_the_session_only() -> None:
    sessions = Sequences.from_lists([[5, 6], [7, UNKNOWN, 8], list(range(30))])
    recent = recent_rows(sessions, np.array([1, 3, 4, 5, 30]))
    assert recent[0, :3].tolist() == [6, 5, UNKNOWN]
    assert recent[1, :3].tolist() == [UNKNOWN, 7, UNKNOWN]
    assert recent[2, :4].tolist() == [8, UNKNOWN, 7, UNKNOWN]
    assert recent[3, :2].tolist() == [0, UNKNOWN]
    assert recent[4].tolist() == list(range(25, 5, -1))
