"""Context of clicks: codes made alike live and from columns, used alike through both doors of the network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoint import load_encoder, save_encoder
from model.encoder import EncoderConfig, SessionEncoder
from model.encoder_config import CONTEXT_PLACES
from model.encoder_context import MAX_KINDS, ContextCoder
from model.evaluation import evaluate_next_items
from model.ranking import EncoderRanker
from model.sequences import Sequences
from model.training import TrainingConfig, TrainingError, train
from tests.model.exact_search import exact_search

N_ITEMS = 20
KINDS = ("view", "cart")
PLAIN = EncoderConfig(n_units=12, embedding_dim=12, dropout_embedding=0.0, dropout_hidden=0.0, kinds=KINDS)
SHAPES = {
    **{place: replace(PLAIN, context=("kind", "hour"), context_at=(place,)) for place in CONTEXT_PLACES},
    "everything": replace(
        PLAIN, context=("kind", "gap", "hour"), context_at=CONTEXT_PLACES, n_layers=2, embedding_dim=8
    ),
    "gru": replace(PLAIN, cell="gru", context=("gap",), context_at=CONTEXT_PLACES, n_layers=2),
    "rnn": replace(PLAIN, cell="rnn", context=("hour", "kind"), context_at=CONTEXT_PLACES),
}


def make(config: EncoderConfig) -> SessionEncoder:
    """An encoder whose tables are all drawn: fresh factors would change nothing."""
    encoder = SessionEncoder(config, N_ITEMS, seed=1).eval()
    generator = torch.Generator().manual_seed(5)
    if encoder.context is not None:
        with torch.no_grad():
            for table in encoder.context.parameters():
                table.normal_(0.0, 0.5, generator=generator)
    return encoder


def draw_codes(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    columns = [torch.randint(size, shape, generator=generator) for size in (len(KINDS) + 1, 14, 24)]
    return torch.stack(columns, dim=-1)


def test_codes_by_hand() -> None:
    coder = ContextCoder.fit(["view", "cart", "view"])
    assert coder.kinds == ("view", "cart")
    assert coder.code("cart", 5 * 3_600_000 + 1, None) == (2, 0, 5)
    assert coder.code("purchase", 26 * 3_600_000, 26 * 3_600_000 - 1_999) == (0, 1, 2)
    assert coder.code("view", 10_000, 8_000) == (1, 2, 0)
    assert coder.code("view", 10_000, 12_000) == (1, 1, 0)  # out of order: no gap at all
    assert coder.code("view", 10**9, 0) == (1, 13, 277 % 24)


def test_kinds_are_bounded() -> None:
    coder = ContextCoder.fit(f"kind {n}" for n in range(1_000))
    assert len(coder.kinds) == MAX_KINDS


@given(
    st.lists(
        st.tuples(st.sampled_from(["view", "cart", "other"]), st.integers(0, 10**8), st.booleans()),
        min_size=1,
    )
)
def test_live_codes_are_those_of_columns(clicks: list[tuple[str, int, bool]]) -> None:
    coder = ContextCoder(KINDS)
    kinds, times, begins = (list(column) for column in zip(*clicks, strict=True))
    begins[0] = True
    found = coder.codes(kinds, np.array(times), np.array(begins))
    for n, (kind, time_ms, first) in enumerate(zip(kinds, times, begins, strict=True)):
        assert coder.code(kind, time_ms, None if first else times[n - 1]) == tuple(found[n])


@pytest.mark.parametrize("shape", SHAPES)
def test_serving_scores_are_training_scores(shape: str) -> None:
    encoder = make(SHAPES[shape])
    rows = torch.randint(N_ITEMS, (5, 3), generator=torch.Generator().manual_seed(2))
    codes, keep = draw_codes(5, 3), torch.ones(5, 3)
    inputs = encoder.unit(encoder.items)[rows]
    outputs, _ = encoder.unroll(inputs, keep, torch.zeros(3, encoder.state_dim), None, codes)
    assert encoder.bias is not None
    scores = outputs @ encoder.unit(encoder.items).T * encoder.scale() + encoder.bias
    expected = scores.detach().numpy()
    states = encoder.initial_states(3)
    for step in range(5):
        states = encoder.advance(states, rows[step].numpy(), codes[step].numpy())
        served = encoder.queries(states) @ encoder.item_vectors().T
        np.testing.assert_allclose(served, expected[step], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_state_may_be_carried_into_the_next_window(shape: str) -> None:
    encoder = make(SHAPES[shape])
    rows = torch.randint(N_ITEMS, (4, 2), generator=torch.Generator().manual_seed(2))
    inputs, codes, keep = encoder.unit(encoder.items)[rows], draw_codes(4, 2), torch.ones(4, 2)
    zeros = torch.zeros(2, encoder.state_dim)
    whole, end = encoder.unroll(inputs, keep, zeros, None, codes)
    first, middle = encoder.unroll(inputs[:2], keep[:2], zeros, None, codes[:2])
    second, end_of_parts = encoder.unroll(inputs[2:], keep[2:], middle, None, codes[2:])
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end_of_parts, end)


@pytest.mark.parametrize("place", ["product", "recurrence", "output"])
def test_factors_begin_as_if_there_were_no_context(place: str) -> None:
    config = replace(PLAIN, context=("kind",), context_at=(place,))
    plain, fresh = (SessionEncoder(one, N_ITEMS, seed=3).eval() for one in (PLAIN, config))
    rows = np.arange(6)
    before, states = plain.initial_states(6), fresh.initial_states(6)
    for step in range(3):
        before = plain.advance(before, rows + step)
        states = fresh.advance(states, rows + step, draw_codes(6).numpy())
    np.testing.assert_array_equal(plain.queries(before), fresh.queries(states))


@pytest.mark.parametrize("place", CONTEXT_PLACES)
def test_every_place_and_feature_changes_the_scores(place: str) -> None:
    encoder = make(replace(PLAIN, context=("kind", "gap", "hour"), context_at=(place,)))
    one = encoder.advance(encoder.initial_states(1), np.array([4]), np.array([[1, 1, 1]]))

    def query(codes: list[int]) -> np.ndarray:
        return encoder.queries(encoder.advance(one, np.array([2]), np.array([codes])))

    for other in ([2, 1, 1], [1, 2, 1], [1, 1, 2]):
        assert not np.allclose(query([1, 1, 1]), query(other))


def test_what_is_kept_for_the_output_survives_half_precision() -> None:
    kinds = tuple(f"kind {n}" for n in range(MAX_KINDS))
    encoder = make(replace(PLAIN, context=("kind", "gap", "hour"), context_at=("output",), kinds=kinds))
    codes = np.array([[MAX_KINDS, 13, 23]] * 2)
    states = encoder.advance(encoder.initial_states(2), np.array([1, 2]), codes)
    kept = states[:, -3:]
    np.testing.assert_array_equal(kept, kept.astype(np.float16).astype(np.float32))
    np.testing.assert_allclose(
        encoder.queries(states.astype(np.float16).astype(np.float32)), encoder.queries(states), atol=2e-2
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients(shape: str) -> None:
    encoder = make(replace(SHAPES[shape], n_units=3, embedding_dim=3)).double()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 2, 3, dtype=torch.float64, generator=generator).requires_grad_()
    state = torch.randn(2, encoder.state_dim, dtype=torch.float64, generator=generator).requires_grad_()
    keep, codes = torch.ones(2, 2, dtype=torch.float64), draw_codes(2, 2)
    assert torch.autograd.gradcheck(lambda x, s: encoder.unroll(x, keep, s, None, codes)[0], (inputs, state))


def test_is_stored_and_read(tmp_path: Path) -> None:
    encoder = make(SHAPES["everything"])
    save_encoder(encoder, tmp_path / "encoder.safetensors")
    stored = load_encoder(tmp_path / "encoder.safetensors")
    assert stored.config == encoder.config
    codes = draw_codes(4).numpy()
    states = encoder.advance(encoder.initial_states(4), np.arange(4), codes)
    np.testing.assert_array_equal(stored.advance(stored.initial_states(4), np.arange(4), codes), states)
    np.testing.assert_array_equal(stored.queries(states), encoder.queries(states))


def kinds_decide(n_sessions: int, seed: int) -> Sequences:
    """Sessions in which a view is followed by the next item and a cart by the one before."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(1, 3, (n_sessions, 6))
    steps = np.where(kinds == 1, 1, -1)
    first = rng.integers(0, N_ITEMS, n_sessions)
    moved = np.cumsum(steps, axis=1) - steps
    codes = np.zeros((n_sessions * 6, 3), dtype=np.int64)
    codes[:, 0] = kinds.ravel()
    rows = (first[:, None] + moved) % N_ITEMS
    return Sequences.from_lengths(rows.ravel(), np.full(n_sessions, 6), codes)


@pytest.mark.parametrize(
    ("places", "least", "most"),
    [((), 0.0, 0.65), (("concat",), 0.9, 1.0), (("product",), 0.9, 1.0), (("output",), 0.9, 1.0)],
)
def test_what_the_kind_decides_is_learnt_with_context_only(
    places: tuple[str, ...], least: float, most: float
) -> None:
    config = replace(
        PLAIN, n_units=24, embedding_dim=24, context=("kind",) if places else (), context_at=places
    )
    training = TrainingConfig(n_epochs=1, n_lanes=32, learning_rate=4e-2)
    encoder = train(kinds_decide(2_000, 0), N_ITEMS, config, training)
    ranker = EncoderRanker(encoder, exact_search(encoder), np.zeros(N_ITEMS, dtype=np.int64))
    recall = evaluate_next_items(ranker, kinds_decide(100, 1), k=1).recall
    assert least <= recall <= most


def test_refuses_to_train_without_the_context_it_is_to_use() -> None:
    config = replace(PLAIN, context=("gap",))
    with pytest.raises(TrainingError, match="uses the context"):
        train(Sequences.from_lists([[1, 2, 3]]), N_ITEMS, config)


@pytest.mark.parametrize(
    "wrong", [{"context": ("weather",)}, {"context_at": ("loss",)}, {"context": ("kind", "kind")}]
)
def test_refuses_what_is_unknown(wrong: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EncoderConfig.from_dict(dict(wrong))
