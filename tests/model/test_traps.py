"""What ruined other implementations of session RNNs, each held off by a test that bears its name.

The list is that of a third-party study of GRU4Rec re-implementations (RecSys 2023), some of which lost
up to 99 % of the accuracy.
"""

from __future__ import annotations

import math
import platform
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from model.arrays import Float32Array
from model.batching import Window, lay_out
from model.encoder import EncoderConfig, SessionEncoder
from model.encoder_cells import LSTMLayer
from model.evaluation import EncoderRanker, PopularRanker, evaluate_next_items, states_after_clicks
from model.losses import bpr_max
from model.optimizer import Adagrad
from model.sequences import Sequences
from model.training import Progress, TrainingConfig, train
from model.training_config import LOSS_NAMES
from model.update import LOSSES, OPTIMIZERS, Updater
from tests.model.exact_search import exact_search
from tests.model.markov import markov_sessions

N_ITEMS = 50
DRY = EncoderConfig(n_units=8, embedding_dim=8, dropout_embedding=0.0, dropout_hidden=0.0)
PLAIN = TrainingConfig(label_smoothing=0.0, n_negatives=10)
SAMPLED = replace(PLAIN, full_softmax_up_to=1)


def fresh(config: EncoderConfig = DRY) -> SessionEncoder:
    return SessionEncoder(config, N_ITEMS, seed=3)


Pair = tuple[torch.Tensor, torch.Tensor]


def run(encoder: SessionEncoder, rows: torch.Tensor, keep: torch.Tensor, state: torch.Tensor) -> Pair:
    return encoder.unroll(encoder.unit(encoder.items)[rows], keep, state)


def test_state_is_reset_where_a_session_begins_and_only_there() -> None:
    encoder, rows = fresh(), torch.tensor([[1, 2], [3, 4], [5, 6]])
    keep = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])  # lane 0 begins a session at step 1
    old = torch.randn(2, encoder.state_dim, generator=torch.Generator().manual_seed(0))
    outputs, _ = run(encoder, rows, keep, old)
    anew, _ = run(encoder, rows[1:], torch.ones(2, 2), torch.zeros_like(old))
    carried, _ = run(encoder, rows, torch.ones(3, 2), old)
    torch.testing.assert_close(outputs[1:, 0], anew[:, 0])
    torch.testing.assert_close(outputs[:, 1], carried[:, 1])
    assert not torch.allclose(outputs[1:, 0], carried[1:, 0])


def test_evaluation_of_a_session_does_not_depend_on_the_others() -> None:
    encoder = fresh().eval()
    rng = np.random.default_rng(0)
    together = Sequences.from_lists([rng.integers(0, N_ITEMS, 2 + i % 7).tolist() for i in range(20)])
    states: dict[int, Float32Array] = {}
    for clicks, after, _ in states_after_clicks(encoder, together):
        states |= dict(zip(clicks.tolist(), after, strict=True))
    alone = [after[0] for _, after, _ in states_after_clicks(encoder, together.select(11, 12))]
    first = int(together.starts[11])
    for step, state in enumerate(alone):
        np.testing.assert_allclose(states[first + step], state, atol=2e-3)


def test_states_are_measured_as_a_session_record_keeps_them() -> None:
    encoder, sessions = fresh().eval(), markov_sessions(3, N_ITEMS, 0.5)
    for _, rounded, _ in states_after_clicks(encoder, sessions, np.float16):
        np.testing.assert_array_equal(rounded, rounded.astype(np.float16).astype(np.float32))
    whole = [states for _, states, _ in states_after_clicks(encoder, sessions, np.float32)][-1]
    assert (whole != whole.astype(np.float16).astype(np.float32)).any()


def test_state_is_carried_from_window_to_window_and_detached() -> None:
    encoder, rows = fresh(), torch.tensor([[1], [2], [3], [4]])
    whole, end = run(encoder, rows, torch.ones(4, 1), torch.zeros(1, encoder.state_dim))
    first, middle = run(encoder, rows[:2], torch.ones(2, 1), torch.zeros(1, encoder.state_dim))
    second, end_of_parts = run(encoder, rows[2:], torch.ones(2, 1), middle.detach())
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end_of_parts, end)
    window = next(lay_out(markov_sessions(4, N_ITEMS, 0.0), 2).windows(2))
    updater = Updater(encoder, np.ones(N_ITEMS, dtype=np.int64), PLAIN)
    _, state = updater.update(window, torch.zeros(2, encoder.state_dim), 0.0)
    assert not state.requires_grad


def test_training_begins_each_window_with_the_state_after_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose windows begin with nothing still learns much, so that its accuracy would not tell."""
    given: list[torch.Tensor] = []
    returned: list[torch.Tensor] = []
    update = Updater.update

    def remember(
        self: Updater, window: Window, state: torch.Tensor, rate: float
    ) -> tuple[float, torch.Tensor]:
        loss, after = update(self, window, state, rate)
        given.append(state.clone())
        returned.append(after.clone())
        return loss, after

    monkeypatch.setattr(Updater, "update", remember)
    train(markov_sessions(8, N_ITEMS, 0.0), N_ITEMS, DRY, replace(PLAIN, n_epochs=1, n_lanes=4, n_steps=2))
    assert len(given) > 4
    assert not given[0].any()
    for before, after in zip(returned[:-1], given[1:], strict=True):
        assert after.any()
        torch.testing.assert_close(after, before)


@pytest.mark.parametrize("config", [PLAIN, SAMPLED], ids=["full", "sampled"])
def test_softmax_is_applied_once(config: TrainingConfig) -> None:
    """The loss is that of the scores which are served: with no learning rate both can be compared."""
    encoder = fresh().train()
    sessions = Sequences.from_lists([[1, 2, 3], [4, 5, 6]])
    window = next(lay_out(sessions, 2).windows(2))
    # Negatives so many that all items are candidates, and their odds all but certain.
    updater = Updater(encoder, np.ones(N_ITEMS, dtype=np.int64), replace(config, n_negatives=20_000))
    loss, _ = updater.update(window, torch.zeros(2, encoder.state_dim), 0.0)
    encoder.eval()
    expected = []
    for session in ([1, 2, 3], [4, 5, 6]):
        state = encoder.initial_states(1)
        for row, target in pairwise(session):
            state = encoder.advance(state, np.array([row]))
            scores = (encoder.queries(state) @ encoder.item_vectors().T)[0].astype(np.float64)
            expected.append(math.log(np.exp(scores).sum()) - scores[target])
    assert loss == pytest.approx(np.mean(expected), rel=1e-4)


def test_negatives_are_sampled_before_scoring() -> None:
    """Rows that are no candidates stay as they are, so that a step costs the same in any catalogue."""
    encoder = fresh().train()
    before = encoder.items.detach().clone()
    window = next(lay_out(Sequences.from_lists([[1, 2, 3]]), 1).windows(2))
    Updater(encoder, np.ones(N_ITEMS, dtype=np.int64), SAMPLED).update(
        window, torch.zeros(1, encoder.state_dim), 0.1
    )
    changed = (encoder.items != before).any(dim=1)
    assert changed[[1, 2, 3]].all()
    assert 3 < int(changed.sum()) <= 3 + SAMPLED.n_negatives


def test_bpr_max_regularization_is_the_configured_one() -> None:
    scores, targets = torch.tensor([[1.0, 3.0, -2.0]]), torch.tensor([0])
    for strength in (0.0, 0.5, 1.95):
        config = replace(PLAIN, bpr_regularization=strength)
        assert LOSSES["bpr-max"](scores, targets, config) == bpr_max(scores, targets, strength)
    assert bpr_max(scores, targets, 1.0) > bpr_max(scores, targets, 0.0)


def test_bpr_max_has_no_log_of_zero() -> None:
    scores = torch.tensor([[-500.0, 500.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(bpr_max(scores, torch.tensor([0]), 0.0), scores)
    assert torch.isfinite(gradient).all()


def test_dropout_rates_are_two_and_mean_what_is_left_out() -> None:
    rows, keep = torch.arange(N_ITEMS)[None], torch.ones(1, N_ITEMS)
    wide = replace(DRY, n_units=64, embedding_dim=64)
    generator = torch.Generator().manual_seed(0)

    def outputs(config: EncoderConfig) -> torch.Tensor:
        encoder = fresh(config)
        inputs = encoder.unit(encoder.items)[rows]
        return encoder.unroll(inputs, keep, torch.zeros(N_ITEMS, encoder.state_dim), generator)[0]

    hidden_only = outputs(replace(wide, dropout_hidden=0.3))
    embedding_only = outputs(replace(wide, dropout_embedding=0.3))
    assert (hidden_only == 0).float().mean() == pytest.approx(0.3, abs=0.03)
    assert not (embedding_only == 0).any()
    assert not torch.allclose(embedding_only, outputs(wide))


def test_dropout_reaches_the_last_layer() -> None:
    config = replace(DRY, n_units=64, embedding_dim=64, n_layers=3, dropout_hidden=0.5)
    encoder = fresh(config)
    inputs = encoder.unit(encoder.items)[None]
    state = torch.zeros(N_ITEMS, encoder.state_dim)
    outputs, _ = encoder.unroll(inputs, torch.ones(1, N_ITEMS), state, torch.Generator().manual_seed(0))
    assert (outputs == 0).float().mean() == pytest.approx(0.5, abs=0.04)


def test_no_dropout_while_serving() -> None:
    encoder = fresh(replace(DRY, dropout_embedding=0.5, dropout_hidden=0.5)).eval()
    states = [encoder.advance(encoder.initial_states(1), np.array([1])) for _ in range(2)]
    np.testing.assert_array_equal(states[0], states[1])


def test_weights_begin_glorot_uniform() -> None:
    layer = LSTMLayer(60, 40)
    layer.reset_parameters(torch.Generator().manual_seed(0))
    for weight, bound in ((layer.input_weight, math.sqrt(6 / 100)), (layer.hidden_weight, math.sqrt(6 / 80))):
        assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_adagrad_starts_at_zero_without_decay_and_with_momentum() -> None:
    optimizer = OPTIMIZERS["adagrad"](replace(PLAIN, momentum=0.4))
    assert isinstance(optimizer, Adagrad)
    parameter = torch.zeros(1)
    optimizer.update(parameter, torch.tensor([1e-2]), 0.1)
    assert parameter.item() == pytest.approx(
        -0.1, rel=1e-2
    )  # first step: the full rate whatever the gradient
    optimizer.update(parameter, torch.tensor([0.0]), 0.1)
    assert parameter.item() == pytest.approx(-0.14, rel=1e-2)  # the momentum goes on by 0.4 of it


def test_defaults_share_embeddings_draw_extra_negatives_and_correct_them() -> None:
    encoder, training = EncoderConfig(), TrainingConfig()
    assert encoder.shared_embeddings
    assert len(SessionEncoder(encoder, 3).item_tables()) == 1
    assert training.n_negatives == 2_048
    assert training.log_q == 1.0
    assert 0.0 < training.alpha < 1.0
    assert training.momentum > 0.0


def test_epoch_plays_every_session_though_fewer_than_lanes_remain() -> None:
    seen: list[Progress] = []
    sessions = Sequences.from_lists([[1, 2, 3, 4, 5, 6, 7, 8, 9]] + [[1, 2]] * 5)
    train(sessions, N_ITEMS, DRY, replace(PLAIN, n_epochs=3, n_lanes=4), on_progress=seen.append)
    assert seen[-1].clicks_done == 3 * sessions.n_targets


def test_unknown_test_items_do_not_crash() -> None:
    encoder = fresh().eval()
    ranker = EncoderRanker(encoder, exact_search(encoder), np.ones(N_ITEMS, dtype=np.int64))
    assert evaluate_next_items(ranker, Sequences.from_lists([[-1, -1, 3, -1], [-1, 2]])).targets == 4


def test_metrics_are_over_the_full_catalogue_with_ties_against_us() -> None:
    everything_alike = np.ones(1_000, dtype=np.int64)
    measured = evaluate_next_items(PopularRanker(everything_alike), Sequences.from_lists([[5, 0]] * 10))
    assert measured.recall == 0.0


def test_negatives_come_from_beyond_the_batch() -> None:
    """In-batch negatives alone collapse: items that are rare would never be pushed away."""
    encoder = fresh().train()
    before = encoder.items.detach().clone()
    window = next(lay_out(Sequences.from_lists([[1, 2]]), 1).windows(1))
    updater = Updater(encoder, np.ones(N_ITEMS, dtype=np.int64), SAMPLED)
    for _ in range(40):
        updater.update(window, torch.zeros(1, encoder.state_dim), 0.01)
    assert (encoder.items != before).any(dim=1).float().mean() > 0.9


def test_sessions_are_played_oldest_first() -> None:
    grid = lay_out(Sequences.from_lists([[i, i] for i in range(12)]), 3)
    assert grid.inputs.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]


def test_denormal_numbers_are_flushed_while_training() -> None:
    train(Sequences.from_lists([[1, 2]]), N_ITEMS, DRY, replace(PLAIN, n_epochs=1))
    assert (torch.tensor([1e-38]) * 1e-3).item() == 0.0


FREED = """
import resource
import numpy as np
from model.allocator import keep_freed_memory, return_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

def fill_and_free():
    block = np.ones(64 << 17)  # 64 MB
    filled = resident()
    del block
    return filled - resident()

print(fill_and_free())
arranged = keep_freed_memory()
print(fill_and_free())
before = resident()
returned = return_freed_memory()
print(before - resident(), arranged, returned)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator of glibc is told")
def test_freed_memory_is_kept_or_given_back() -> None:
    """In a process of its own, whose allocator nobody has told anything yet."""
    run = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    given_back, kept, returned, *told = run.stdout.split()
    assert int(given_back) > 60  # what the rest is about: each block goes back at once, and is cleared anew
    assert int(kept) < 4
    assert int(returned) > 60
    assert told == ["True", "True"]


def test_only_sampled_cross_entropy_is_corrected_for_the_sampling() -> None:
    """The ranking losses compare scores; a correction would have them compare others than are served."""
    window = next(lay_out(Sequences.from_lists([[1, 2, 3]]), 1).windows(2))
    counts = np.arange(N_ITEMS, 0, -1)
    for name in LOSS_NAMES:
        losses = []
        for log_q in (0.0, 1.0):
            updater = Updater(fresh().train(), counts, replace(SAMPLED, loss=name, log_q=log_q))
            losses.append(updater.update(window, torch.zeros(1, fresh().state_dim), 0.0)[0])
        assert (losses[0] != losses[1]) == (name == "cross-entropy")


def test_every_loss_has_a_name_in_the_configuration() -> None:
    assert tuple(LOSSES) == LOSS_NAMES
