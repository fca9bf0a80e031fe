"""The encoder: its two doors lead to the same scores."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.encoder import EncoderConfig, SessionEncoder
from model.encoder_cells import dropout

SHAPES = {
    "default": EncoderConfig(n_units=12, embedding_dim=12),
    "two layers": EncoderConfig(n_units=12, embedding_dim=12, n_layers=2),
    "other width": EncoderConfig(n_units=10, embedding_dim=6),
    "two tables": EncoderConfig(n_units=8, embedding_dim=8, shared_embeddings=False),
    "plain inner product": EncoderConfig(n_units=8, embedding_dim=8, normalized=False),
    "bias": EncoderConfig(n_units=8, embedding_dim=8, output_bias=True),
    "no bias": EncoderConfig(n_units=8, embedding_dim=8, output_bias=False),
    "gru": EncoderConfig(cell="gru", n_units=12, embedding_dim=12),
    "two layers of gru": EncoderConfig(cell="gru", n_units=10, embedding_dim=6, n_layers=2),
    "rnn": EncoderConfig(cell="rnn", n_units=12, embedding_dim=12),
    "two layers of rnn": EncoderConfig(cell="rnn", n_units=10, embedding_dim=6, n_layers=2),
}
N_ITEMS = 30


@pytest.fixture(params=sorted(SHAPES))
def encoder(request: pytest.FixtureRequest) -> SessionEncoder:
    encoder = SessionEncoder(SHAPES[request.param], N_ITEMS, seed=1).eval()
    if encoder.bias is not None:
        with torch.no_grad():
            encoder.bias.copy_(torch.linspace(-2, 2, N_ITEMS))
    return encoder


def training_scores(encoder: SessionEncoder, rows: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Scores as training computes them: (steps, lanes) → (steps, lanes, items)."""
    tables = [encoder.unit(table) for table in encoder.item_tables()]
    state = torch.zeros(rows.shape[1], encoder.state_dim)
    outputs, _ = encoder.unroll(tables[0][rows], keep, state)
    scores = outputs @ tables[-1].T * encoder.scale()
    return scores if encoder.bias is None else scores + encoder.bias


def test_serving_scores_are_training_scores(encoder: SessionEncoder) -> None:
    rows = torch.randint(N_ITEMS, (5, 3), generator=torch.Generator().manual_seed(2))
    expected = training_scores(encoder, rows, torch.ones(5, 3)).detach().numpy()
    states = encoder.initial_states(3)
    for step in range(5):
        states = encoder.advance(states, rows[step].numpy())
        served = encoder.queries(states) @ encoder.item_vectors().T
        np.testing.assert_allclose(served, expected[step], rtol=1e-4, atol=1e-5)


def test_shapes_and_types(encoder: SessionEncoder) -> None:
    states = encoder.initial_states(4)
    assert states.shape == (4, encoder.state_dim)
    states = encoder.advance(states, np.arange(4))
    queries = encoder.queries(states)
    vectors = encoder.item_vectors()
    assert states.shape == (4, encoder.state_dim)
    assert queries.shape == (4, encoder.query_dim)
    assert vectors.shape == (N_ITEMS, encoder.query_dim)
    assert {states.dtype, queries.dtype, vectors.dtype} == {np.dtype(np.float32)}
    assert queries.flags.c_contiguous
    assert vectors.flags.c_contiguous


def test_one_session_alone_is_as_in_a_batch(encoder: SessionEncoder) -> None:
    rng = np.random.default_rng(0)
    states = rng.normal(size=(300, encoder.state_dim)).astype(np.float32)
    rows = rng.integers(0, N_ITEMS, 300)
    together = encoder.advance(states, rows)
    alone = np.concatenate([encoder.advance(states[i : i + 1], rows[i : i + 1]) for i in range(300)])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    queries = np.concatenate([encoder.queries(together[i : i + 1]) for i in range(300)])
    np.testing.assert_allclose(queries, encoder.queries(together), atol=1e-5)


def test_no_sessions(encoder: SessionEncoder) -> None:
    states = encoder.advance(encoder.initial_states(0), np.empty(0, dtype=np.int64))
    assert encoder.queries(states).shape == (0, encoder.query_dim)


def test_serving_sees_weights_that_were_trained_meanwhile() -> None:
    encoder = SessionEncoder(EncoderConfig(n_units=4, embedding_dim=4), 5).eval()
    before = encoder.advance(encoder.initial_states(1), np.array([2]))
    encoder.train()
    with torch.no_grad():
        encoder.items.mul_(-1.0)
    encoder.eval()
    assert not np.allclose(before, encoder.advance(encoder.initial_states(1), np.array([2])))


def test_advance_leaves_its_input_alone() -> None:
    encoder = SessionEncoder(EncoderConfig(n_units=4, embedding_dim=4), 5).eval()
    states = encoder.initial_states(2)
    encoder.advance(states, np.array([0, 1]))
    assert not states.any()


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def one_unit(cell: str, n_gates: int) -> SessionEncoder:
    """One item with embedding 0.5; gate n has input weight n + 1, hidden weight and bias as below."""
    encoder = SessionEncoder(EncoderConfig(cell=cell, n_units=1, embedding_dim=1, normalized=False), 1).eval()
    weights: dict[str, list[float]] = {
        "input_weight": [1, 2, 3, 4],
        "hidden_weight": [0.1, 0.2, 0.3, 0.4],
        "bias": [0.5, 0.6, 0.7, 0.8],
    }
    with torch.no_grad():
        encoder.items.fill_(0.5)
        for name, values in weights.items():
            parameter = encoder.get_parameter(f"layers.0.{name}")
            parameter.copy_(torch.tensor(values[:n_gates], dtype=torch.float32).view_as(parameter))
    return encoder


def test_one_lstm_step_by_hand() -> None:
    x, h, c = 0.5, 0.2, -0.3
    i, f = sigmoid(x + 0.1 * h + 0.5), sigmoid(2 * x + 0.2 * h + 0.6)
    g, o = np.tanh(3 * x + 0.3 * h + 0.7), sigmoid(4 * x + 0.4 * h + 0.8)
    new_c = f * c + i * g
    after = one_unit("lstm", 4).advance(np.array([[h, c]], dtype=np.float32), np.array([0]))
    np.testing.assert_allclose(after, [[o * np.tanh(new_c), new_c]], rtol=1e-5)


def test_one_gru_step_by_hand() -> None:
    x, h = 0.5, 0.2
    r, z = sigmoid(x + 0.1 * h + 0.5), sigmoid(2 * x + 0.2 * h + 0.6)
    candidate = np.tanh(3 * x + r * 0.3 * h + 0.7)
    after = one_unit("gru", 3).advance(np.array([[h]], dtype=np.float32), np.array([0]))
    np.testing.assert_allclose(after, [[(1 - z) * candidate + z * h]], rtol=1e-5)


def test_one_rnn_step_by_hand() -> None:
    x, h = 0.5, 0.2
    after = one_unit("rnn", 1).advance(np.array([[h]], dtype=np.float32), np.array([0]))
    np.testing.assert_allclose(after, [[np.tanh(x + 0.1 * h + 0.5)]], rtol=1e-5)


@pytest.mark.parametrize(("cell", "numbers"), [("lstm", 2 * 3 * 5), ("gru", 3 * 5), ("rnn", 3 * 5)])
def test_state_has_a_fixed_size(cell: str, numbers: int) -> None:
    assert SessionEncoder(EncoderConfig(cell=cell, n_units=5, n_layers=3), 4).state_dim == numbers


def test_gradients_flow_into_every_weight(encoder: SessionEncoder) -> None:
    rows = torch.randint(N_ITEMS, (4, 3), generator=torch.Generator().manual_seed(2))
    loss = training_scores(encoder, rows, torch.ones(4, 3)).square().sum()
    names, parameters = zip(*encoder.named_parameters(), strict=True)
    for name, gradient in zip(names, torch.autograd.grad(loss, parameters), strict=True):
        assert gradient.abs().sum() > 0, name


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_gradients_of_the_cells_are_right(cell: str) -> None:
    encoder = SessionEncoder(EncoderConfig(cell=cell, n_units=3, embedding_dim=2, n_layers=2), 4, seed=2)
    encoder.double()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 2, 2, dtype=torch.float64, generator=generator).requires_grad_()
    state = torch.randn(2, encoder.state_dim, dtype=torch.float64, generator=generator).requires_grad_()
    keep = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, s: encoder.unroll(x, keep, s), (inputs, state))


def test_scores_are_bounded_by_the_scale_when_normalised() -> None:
    encoder = SessionEncoder(
        EncoderConfig(n_units=8, embedding_dim=8, initial_scale=7.0, output_bias=False), 20
    ).eval()
    states = encoder.advance(encoder.initial_states(20), np.arange(20))
    scores = encoder.queries(states) @ encoder.item_vectors().T
    assert np.abs(scores).max() <= 7.0 + 1e-4


def test_seed_decides_the_weights() -> None:
    config = EncoderConfig(n_units=4, embedding_dim=4)
    first, same, other = (SessionEncoder(config, 6, seed).item_vectors() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_another_catalogue_keeps_what_was_learnt(encoder: SessionEncoder) -> None:
    old_rows = np.array([7, -1, 0, 3])
    resized = encoder.with_rows(old_rows, seed=9).eval()
    assert resized.n_items == 4
    known = old_rows >= 0
    np.testing.assert_array_equal(resized.item_vectors()[known], encoder.item_vectors()[old_rows[known]])
    ours = encoder.advance(encoder.initial_states(1), np.array([7]))
    np.testing.assert_allclose(resized.advance(resized.initial_states(1), np.array([0])), ours, atol=1e-6)
    assert np.isfinite(resized.item_vectors()).all()


def test_dropout_leaves_out_the_share_it_is_given() -> None:
    x = dropout(torch.ones(200, 200), 0.2, torch.Generator().manual_seed(0))
    assert (x == 0).float().mean() == pytest.approx(0.2, abs=0.01)
    assert sorted(set(x.flatten().tolist())) == [0.0, 1.25]


@pytest.mark.parametrize(
    "wrong",
    [
        {"cell": "transformer"},
        {"n_units": 0},
        {"n_layers": 0},
        {"dropout_hidden": 1.0},
        {"initial_scale": 0.0},
    ],
)
def test_refuses_what_cannot_be_built(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EncoderConfig.from_dict(wrong)


def test_configuration_as_plain_values() -> None:
    config = EncoderConfig(n_units=7, shared_embeddings=False)
    assert EncoderConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="unknown encoder settings: heads"):
        EncoderConfig.from_dict({"heads": 3})


def test_refuses_an_empty_catalogue() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        SessionEncoder(EncoderConfig(), 0)
