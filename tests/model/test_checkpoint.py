from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from model.checkpoint import CheckpointError, load_encoder, save_encoder
from model.encoder import EncoderConfig, SessionEncoder

CONFIG = EncoderConfig(n_units=6, embedding_dim=4, n_layers=2, shared_embeddings=False)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.safetensors"
    save_encoder(SessionEncoder(CONFIG, 9, seed=3), path)
    return path


def test_is_stored_and_read(path: Path) -> None:
    encoder = SessionEncoder(CONFIG, 9, seed=3).eval()
    stored = load_encoder(path)
    assert stored.config == CONFIG
    assert stored.n_items == 9
    assert not stored.training
    np.testing.assert_array_equal(stored.item_vectors(), encoder.item_vectors())
    states = encoder.advance(encoder.initial_states(9), np.arange(9))
    np.testing.assert_array_equal(stored.advance(stored.initial_states(9), np.arange(9)), states)


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_refuses_a_truncated_file(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"encoder\.safetensors is not a readable encoder"):
        load_encoder(path)


def test_takes_weights_whose_sum_is_beyond_all_numbers(path: Path) -> None:
    encoder = SessionEncoder(CONFIG, 9)
    with torch.no_grad():
        encoder.items[3, :] = 3e38
    save_encoder(encoder, path)
    assert torch.equal(load_encoder(path).items, encoder.items)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_refuses_weights_that_are_not_finite(path: Path, wrong: float) -> None:
    encoder = SessionEncoder(CONFIG, 9)
    with torch.no_grad():
        encoder.items[3, 1] = wrong
        encoder.items[4, 1] = -wrong
    save_encoder(encoder, path)
    with pytest.raises(CheckpointError, match="items holds NaN"):
        load_encoder(path)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "format version None"),
        ({"format_version": "2"}, "format version 2"),
        ({"format_version": "1"}, "does not say"),
        ({"format_version": "1", "n_items": "9", "config": "[]"}, "does not say"),
        ({"format_version": "1", "n_items": "9", "config": '{"heads": 3}'}, "unknown encoder settings"),
        ({"format_version": "1", "n_items": "9", "config": "{}"}, "does not fit"),
    ],
)
def test_refuses_what_does_not_fit(path: Path, metadata: dict[str, str], reason: str) -> None:
    save_file({"items": torch.zeros(9, 4)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=reason) as caught:
        load_encoder(path)
    assert "\n" not in str(caught.value)
