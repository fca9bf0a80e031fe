"""New items begin among those that they are clicked with."""

import numpy as np

from model.encoder import EncoderConfig, SessionEncoder
from model.sequences import Sequences
from model.warm_start import with_new_items

CONFIG = EncoderConfig(n_units=8, embedding_dim=8)


def test_a_new_item_begins_at_the_mean_of_its_neighbours() -> None:
    encoder = SessionEncoder(CONFIG, 5, seed=3).eval()
    assert encoder.bias is not None
    encoder.bias.data[:] = 1.0
    encoder.bias.data[4] = -2.0  # of the rarest
    before = encoder.items.detach().numpy().copy()
    rows_before = np.array([0, 1, 2, 3, 4, -1, -1])
    grown = with_new_items(encoder, rows_before, Sequences.from_lists([[0, 5], [5, 1], [6]]))
    after = grown.items.detach().numpy()
    np.testing.assert_array_equal(after[:5], before)
    units = before / np.linalg.norm(before, axis=1, keepdims=True)
    mean = units[0] + units[1]
    np.testing.assert_allclose(after[5] / np.linalg.norm(after[5]), mean / np.linalg.norm(mean), atol=1e-6)
    assert np.isclose(np.linalg.norm(after[5]), np.median(np.linalg.norm(before, axis=1)))
    assert grown.bias is not None
    assert grown.bias.detach().numpy()[5:].tolist() == [-2.0, -2.0]
    assert np.isfinite(after[6]).all()  # beside no known item: drawn
    np.testing.assert_array_equal(encoder.items.detach().numpy(), before)  # the given one stays


def test_without_new_items_only_the_rows_move() -> None:
    encoder = SessionEncoder(CONFIG, 3, seed=3).eval()
    moved = with_new_items(encoder, np.array([2, 0, 1]), Sequences.from_lists([[0, 1]]))
    np.testing.assert_array_equal(moved.items.detach().numpy(), encoder.items.detach().numpy()[[2, 0, 1]])
