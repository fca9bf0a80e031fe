"""The protocol has room for encoders that are no recurrent network; one over a window of items shows it."""

from __future__ import annotations

import numpy as np

from model.arrays import Float32Array, Int64Array
from model.encoder import EncoderConfig, SessionEncoder
from model.encoder_protocol import Encoder
from model.ranking import states_after_clicks
from model.sequences import Sequences

N_ITEMS = 3_000_000  # float16 tells whole numbers apart up to 2,048
WINDOW = 3
DIGIT = 2_048


class MeanOfWindow:
    """The query is the mean of the last items' vectors; the state holds rows + 1 as two digits each."""

    state_dim = 2 * WINDOW
    query_dim = 2

    def initial_states(self, n: int) -> Float32Array:
        return np.zeros((n, self.state_dim), dtype=np.float32)

    def advance(
        self, states: Float32Array, rows: Int64Array, codes: Int64Array | None = None
    ) -> Float32Array:
        digits = np.stack(np.divmod(rows + 1, DIGIT), axis=1).astype(np.float32)
        return np.concatenate([states[:, 2:], digits], axis=1)

    def queries(self, states: Float32Array) -> Float32Array:
        digits = states.astype(np.int64).reshape(len(states), WINDOW, 2)
        rows = digits[..., 0] * DIGIT + digits[..., 1] - 1
        vectors = self.item_vectors(rows.ravel()).reshape(*rows.shape, 2)
        is_item = (rows >= 0)[..., None]
        mean: Float32Array = (vectors * is_item).sum(axis=1) / np.maximum(is_item.sum(axis=1), 1)
        return mean.astype(np.float32)

    def item_vectors(self, rows: Int64Array | None = None) -> Float32Array:
        chosen = np.arange(N_ITEMS) if rows is None else rows
        return np.stack([np.cos(chosen), np.sin(chosen)], axis=1).astype(np.float32)


def test_a_window_of_items_survives_the_rounding_of_states() -> None:
    encoder: Encoder = MeanOfWindow()
    sessions = [[2_999_999, 7, 2_048, 2_049, 123_457, 0], [5, 2_047, 3]]
    sequences = Sequences.from_lists(sessions)
    queries: dict[int, Float32Array] = {}
    for clicks, states, _ in states_after_clicks(encoder, sequences, np.float16):
        queries |= dict(zip(clicks.tolist(), encoder.queries(states), strict=True))
    for n, session in enumerate(sessions):
        for step in range(len(session) - 1):
            window = np.array(session[max(0, step + 1 - WINDOW) : step + 1])
            expected = encoder.item_vectors(window).mean(axis=0)
            np.testing.assert_allclose(queries[int(sequences.starts[n]) + step], expected, atol=1e-6)


def test_the_recurrent_encoder_keeps_to_the_protocol() -> None:
    encoder: Encoder = SessionEncoder(EncoderConfig(n_units=4, embedding_dim=4), 5).eval()
    states = encoder.advance(encoder.initial_states(2), np.array([1, 2]), None)
    assert (encoder.queries(states) @ encoder.item_vectors().T).shape == (2, 5)
