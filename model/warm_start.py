"""An encoder for a catalogue with new items: they begin where the items are that they are clicked with.

A new item's drawn weights would say nothing until it was trained on many times; the mean of its neighbours in
the first sessions says at once what it goes with.
"""

from __future__ import annotations

import numpy as np
import torch

from model.arrays import Int64Array
from model.encoder import SessionEncoder
from model.peers.links import pairs_ahead
from model.sequences import Sequences

STEPS = 4
"""Clicks so many steps apart count, a pair n steps apart 1/n."""
RARE_SHARE = 0.1
"""New items begin with the mean bias of this share of the items, those clicked least."""


def with_new_items(
    encoder: SessionEncoder, rows_before: Int64Array, sequences: Sequences, seed: int = 0
) -> SessionEncoder:
    """Bring an encoder to another catalogue.

    Args:
        encoder: stays as it is.
        rows_before: of each item the row that the encoder has it in, -1 for a new one; by falling clicks.
        sequences: sessions in rows of the new catalogue, where new items occur beside known ones.
        seed: of what a new item begins with that is in no session with a known one.
    """
    resized = encoder.with_rows(rows_before, seed)
    is_new = rows_before < 0
    if not is_new.any() or is_new.all():
        return resized.eval()
    with torch.no_grad():
        for table in resized.item_tables():
            weights = table.numpy()  # the parameter's own memory
            lengths = np.linalg.norm(weights, axis=1, keepdims=True)
            units = weights / np.maximum(lengths, 1e-9)
            sums, found = _sums_of_neighbours(units, is_new, sequences)
            means = sums[found] / np.maximum(np.linalg.norm(sums[found], axis=1, keepdims=True), 1e-9)
            weights[found] = means * float(np.median(lengths[~is_new]))
        if resized.bias is not None:
            rare = np.flatnonzero(~is_new)[-max(round(int((~is_new).sum()) * RARE_SHARE), 1) :]
            resized.bias[torch.from_numpy(is_new)] = resized.bias[torch.from_numpy(rare)].mean()
    return resized.eval()


def _sums_of_neighbours(
    units: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    is_new: np.ndarray[tuple[int], np.dtype[np.bool_]],
    sequences: Sequences,
) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.float32]], Int64Array]:
    """Sums of the known neighbours' vectors for every item, and the new items that have such neighbours."""
    sums = np.zeros_like(units)
    weights = np.zeros(len(units))
    for step, (first, second) in enumerate(pairs_ahead(sequences, STEPS), start=1):
        for one, other in ((first, second), (second, first)):
            pairs = is_new[one] & ~is_new[other]
            np.add.at(sums, one[pairs], units[other[pairs]] / np.float32(step))
            np.add.at(weights, one[pairs], 1 / step)
    return sums, np.flatnonzero(is_new & (weights > 0))
