"""Synthetic sessions with a dial: at 0 the next item follows from the clicks before it, at 1 from nothing."""

from __future__ import annotations

import numpy as np

from model.sequences import Sequences


def markov_sessions(
    n_sessions: int, n_items: int, randomness: float, *, order: int = 1, length: int = 8, seed: int = 0
) -> Sequences:
    """Sessions in which an item decides, through a fixed permutation, which one comes `order` clicks later.

    With order 2 the item just clicked says nothing: only a model that carries its state can know.
    """
    successor = np.random.default_rng(99).permutation(n_items)
    rng = np.random.default_rng(seed)
    clicks = np.empty((n_sessions, length), dtype=np.int64)
    clicks[:, :order] = rng.integers(0, n_items, (n_sessions, order))
    for step in range(order, length):
        noise = rng.integers(0, n_items, n_sessions)
        is_noise = rng.random(n_sessions) < randomness
        clicks[:, step] = np.where(is_noise, noise, successor[clicks[:, step - order]])
    return Sequences.from_lengths(clicks.ravel(), np.full(n_sessions, length, dtype=np.int64))
