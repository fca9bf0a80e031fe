"""What serving, evaluation and index building ask of an encoder, whatever it is inside.

A state is a row of `state_dim` numbers that survive being rounded to float16, which is how a session record
stores them: its size in bytes is fixed. A recurrent encoder keeps its hidden state there, with a loss that
changes no figure. An encoder over a window of items has room too: whole numbers up to 2,048 are exact in
float16, so that two of them hold a row of up to four million, forty a window of twenty items.
"""

from __future__ import annotations

from typing import Protocol

from model.arrays import Float32Array, Int64Array


class Encoder(Protocol):
    """Clicked rows in, query vectors out, for many sessions at once; no call changes its arguments."""

    @property
    def state_dim(self) -> int:
        """Numbers in one session's state."""

    @property
    def query_dim(self) -> int:
        """Numbers in a query and in an item vector."""

    def initial_states(self, n: int) -> Float32Array:
        """States of n sessions without a click; (n, state_dim)."""

    def advance(
        self, states: Float32Array, rows: Int64Array, codes: Int64Array | None = None
    ) -> Float32Array:
        """States after one click each: (n, state_dim) and the clicked rows (n,) → (n, state_dim).

        `codes` are of the clicks' context, (n, 3), see `model.encoder_context`; None stands for zeros.
        """

    def queries(self, states: Float32Array) -> Float32Array:
        """Query vectors, whose inner product with an item vector is the item's score; (n, query_dim)."""

    def item_vectors(self, rows: Int64Array | None = None) -> Float32Array:
        """What the index holds, of all items or of the rows; (n_items, query_dim)."""
