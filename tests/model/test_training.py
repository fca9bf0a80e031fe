"""Training learns what is there to learn, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.encoder import EncoderConfig, SessionEncoder
from model.evaluation import EncoderRanker, evaluate_next_items
from model.sequences import Sequences
from model.training import (
    Progress,
    RefreshConfig,
    TrainingConfig,
    TrainingError,
    continue_training,
    lanes_for,
    schedule,
    train,
)
from tests.model.exact_search import exact_search
from tests.model.markov import markov_sessions

N_ITEMS = 40
SMALL = EncoderConfig(n_units=24, embedding_dim=24, dropout_embedding=0.1, dropout_hidden=0.1)
# An update costs the same however many clicks it is made of: many sessions gone through once, with wide
# updates and a high rate, teach as much as some gone through often, in a quarter of the time.
QUICK = TrainingConfig(n_epochs=1, n_lanes=32, n_steps=4, learning_rate=2e-2, n_negatives=30)
SAMPLED = replace(QUICK, full_softmax_up_to=1)
TWICE = replace(QUICK, n_epochs=2)


def recall_at_1(encoder: SessionEncoder, sequences: Sequences) -> float:
    counts = np.zeros(encoder.n_items, dtype=np.int64)
    return evaluate_next_items(EncoderRanker(encoder, exact_search(encoder), counts), sequences, k=1).recall


@pytest.mark.parametrize(
    "config",
    [
        QUICK,
        SAMPLED,
        replace(SAMPLED, optimizer="adagrad", learning_rate=0.4),
        replace(SAMPLED, n_negatives=0),
        replace(QUICK, loss="bpr", label_smoothing=0.0),
        replace(QUICK, loss="bpr-max", bpr_regularization=0.01),
        replace(SAMPLED, loss="bpr-max", bpr_regularization=0.01),
        replace(QUICK, loss="top1-max"),
    ],
    ids=["full", "sampled", "adagrad", "in-batch", "bpr", "bpr-max", "bpr-max sampled", "top1-max"],
)
def test_structure_is_learnt(config: TrainingConfig) -> None:
    encoder = train(markov_sessions(1_500, N_ITEMS, 0.0), N_ITEMS, SMALL, config)
    assert recall_at_1(encoder, markov_sessions(100, N_ITEMS, 0.0, seed=1)) > 0.95


@pytest.mark.parametrize(
    "encoder",
    [replace(SMALL, cell="gru"), replace(SMALL, cell="rnn"), replace(SMALL, cell="gru", n_layers=2)],
    ids=["gru", "rnn", "two layers of gru"],
)
def test_every_cell_learns_what_came_before_the_last_click(encoder: EncoderConfig) -> None:
    trained = train(markov_sessions(2_000, 12, 0.0, order=2), 12, encoder, TWICE)
    assert recall_at_1(trained, markov_sessions(100, 12, 0.0, order=2, seed=1)) > 0.75


def test_what_came_before_the_last_click_is_learnt() -> None:
    encoder = train(markov_sessions(2_000, 12, 0.0, order=2), 12, SMALL, TWICE)
    heldout = markov_sessions(100, 12, 0.0, order=2, seed=1)
    # The first target of a session follows from nothing; the other six of seven do.
    assert recall_at_1(encoder, heldout) > 0.75


def test_half_the_structure_is_half_learnt() -> None:
    encoder = train(markov_sessions(2_000, N_ITEMS, 0.5), N_ITEMS, SMALL, QUICK)
    assert recall_at_1(encoder, markov_sessions(200, N_ITEMS, 0.5, seed=1)) == pytest.approx(0.5, abs=0.08)


def test_noise_is_not_learnt() -> None:
    encoder = train(markov_sessions(2_000, N_ITEMS, 1.0), N_ITEMS, SMALL, QUICK)
    assert recall_at_1(encoder, markov_sessions(200, N_ITEMS, 1.0, seed=1)) < 3 / N_ITEMS


def test_seed_decides_everything() -> None:
    sessions = markov_sessions(60, N_ITEMS, 0.5)
    first, same, other = (
        train(sessions, N_ITEMS, SMALL, replace(SAMPLED, seed=seed)).item_vectors() for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("config", [QUICK, SAMPLED], ids=["full", "sampled"])
@pytest.mark.parametrize(
    "sessions", [[[0, 1]], [[0, 1, 2]] * 3, [[i % 40, (i + 1) % 40] for i in range(200)]]
)
def test_very_few_sessions(sessions: list[list[int]], config: TrainingConfig) -> None:
    encoder = train(Sequences.from_lists(sessions), N_ITEMS, SMALL, replace(config, n_epochs=3))
    assert np.isfinite(encoder.item_vectors()).all()


@pytest.mark.parametrize("sessions", [[], [[3]], [[-1, 4], [5, -1]]])
def test_refuses_sessions_without_a_pair(sessions: list[list[int]]) -> None:
    with pytest.raises(TrainingError, match="no session has two clicks"):
        train(Sequences.from_lists(sessions), N_ITEMS, SMALL, QUICK)


def test_refuses_an_encoder_of_another_catalogue() -> None:
    with pytest.raises(TrainingError, match="the encoder knows 5 items, the catalogue has 40"):
        train(Sequences.from_lists([[0, 1]]), N_ITEMS, encoder=SessionEncoder(SMALL, 5))


def test_a_loss_without_bound_ends_training() -> None:
    config = replace(QUICK, loss="bpr-max", bpr_regularization=float("inf"))
    with pytest.raises(TrainingError, match="no longer finite"):
        train(markov_sessions(5, N_ITEMS, 0.0), N_ITEMS, SMALL, config)


@pytest.mark.parametrize(
    "wrong", [{"optimizer": "sgd"}, {"loss": "hinge"}, {"n_negatives": -1}, {"n_epochs": 0}]
)
def test_refuses_what_cannot_be_done(wrong: dict[str, object]) -> None:
    with pytest.raises(TrainingError, match=next(iter(wrong))):
        TrainingConfig(**wrong)  # type: ignore[arg-type]


def test_progress_runs_to_the_end() -> None:
    seen: list[Progress] = []
    sessions = markov_sessions(50, N_ITEMS, 0.0)
    train(sessions, N_ITEMS, SMALL, replace(QUICK, n_epochs=2), on_progress=seen.append)
    last = seen[-1]
    assert (last.epoch, last.n_epochs) == (2, 2)
    assert last.clicks_done == last.clicks_total == 2 * sessions.n_targets
    assert last.clicks_per_s > 0
    assert np.isfinite(last.loss)


def test_starting_from_a_trained_encoder_is_better_than_from_nothing() -> None:
    sessions = markov_sessions(1_500, N_ITEMS, 0.0)
    trained = train(sessions, N_ITEMS, SMALL, QUICK)
    slower = replace(QUICK, learning_rate=1e-2)
    few = sessions.select(0, 40)
    warm = train(few, N_ITEMS, training_config=slower, encoder=trained.with_rows(np.arange(N_ITEMS)))
    heldout = markov_sessions(100, N_ITEMS, 0.0, seed=1)
    assert recall_at_1(warm, heldout) > recall_at_1(train(few, N_ITEMS, SMALL, slower), heldout) + 0.3


def test_continuing_learns_the_new_and_keeps_the_old() -> None:
    old, new = markov_sessions(1_500, 20, 0.0), markov_sessions(600, 20, 0.0, seed=5)
    shifted = Sequences(new.rows + 20, new.starts)  # items that the first training never saw
    encoder = train(old, N_ITEMS, SMALL, QUICK)
    before = recall_at_1(encoder, shifted)
    config, once = replace(QUICK, learning_rate=3e-2), RefreshConfig(n_passes=1)
    continued = continue_training(encoder, shifted, config, older=old, refresh=once)
    assert recall_at_1(continued, shifted) > before + 0.2
    assert recall_at_1(continued, markov_sessions(100, 20, 0.0, seed=1)) > 0.8


def test_continuing_on_nothing_changes_nothing() -> None:
    encoder = train(markov_sessions(20, N_ITEMS, 0.0), N_ITEMS, SMALL, replace(QUICK, n_epochs=1))
    before = encoder.item_vectors()
    continued = continue_training(encoder, Sequences.from_lists([[3]]), QUICK)
    np.testing.assert_array_equal(continued.item_vectors(), before)


def test_small_logs_get_small_updates() -> None:
    config = TrainingConfig(n_lanes=64, n_steps=4)
    assert lanes_for(markov_sessions(20, N_ITEMS, 0.0), config) == (4, 4)
    assert lanes_for(markov_sessions(10_000, N_ITEMS, 0.0), config) == (64, 4)


@pytest.mark.parametrize(("n_targets", "n_lanes"), [(1_000_000, 32), (3_200_000, 80), (8_000_000, 128)])
def test_very_large_logs_get_wide_updates(n_targets: int, n_lanes: int) -> None:
    starts = np.arange(0, 2 * n_targets + 1, 2)
    sessions = Sequences(np.zeros(2 * n_targets, dtype=np.int64), starts)
    assert lanes_for(sessions, TrainingConfig()) == (n_lanes, 4)


def test_learning_rate_rises_and_falls() -> None:
    config = TrainingConfig(warm_up=0.1, final_share=0.05)
    rates = [schedule(done, config) for done in np.linspace(0, 1, 101)]
    assert rates[0] < 0.02
    assert int(np.argmax(rates)) == 10
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.05)
    assert all(np.diff(rates[10:]) <= 0)
