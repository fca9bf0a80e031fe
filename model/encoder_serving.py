"""The encoder in service: the step of training, in NumPy over the same weights.

A live batch is a few clicks. What is computed for them takes less time than the way there: torch's is long,
and between other processes that use the same caches its step took .5 ms of CPU for five clicks, this one .15.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from torch import Tensor

from model.arrays import Float32Array, Int64Array

if TYPE_CHECKING:
    from model.encoder import SessionEncoder
    from model.encoder_context import ContextTables

SHORTEST = 1e-12
"""Vectors are taken for as long as this at least where they are brought to length 1, as torch does."""


class _Layer(NamedTuple):
    """A layer's weights, gate below gate; see `model.encoder_cells` for their order and the formulas."""

    inputs: Float32Array
    hidden: Float32Array
    bias: Float32Array


_Parts: TypeAlias = Sequence[Float32Array]
_Step: TypeAlias = Callable[[_Layer, Float32Array, _Parts], list[Float32Array]]


def _array(tensor: Tensor) -> Float32Array:
    """The tensor's own memory."""
    array: Float32Array = tensor.detach().numpy()
    return array


def _sigmoid(x: Float32Array) -> Float32Array:
    """In place, as tanh: without an overflow, and NumPy has it for registers of many numbers."""
    x *= 0.5
    np.tanh(x, out=x)
    x *= 0.5
    x += 0.5
    return x


def _lstm(layer: _Layer, x: Float32Array, parts: _Parts) -> list[Float32Array]:
    h, c = parts
    n = c.shape[1]
    gates = _gates(layer, x, h)
    candidate = np.tanh(gates[:, 2 * n : 3 * n])
    opened = _sigmoid(gates)
    after = opened[:, n : 2 * n] * c
    after += opened[:, :n] * candidate
    return [opened[:, 3 * n :] * np.tanh(after), after]


def _gru(layer: _Layer, x: Float32Array, parts: _Parts) -> list[Float32Array]:
    (h,) = parts
    n = h.shape[1]
    from_input = x @ layer.inputs.T
    from_input += layer.bias
    from_hidden = h @ layer.hidden.T
    opened = _sigmoid(from_input[:, : 2 * n] + from_hidden[:, : 2 * n])
    candidate = np.tanh(from_input[:, 2 * n :] + opened[:, :n] * from_hidden[:, 2 * n :])
    return [candidate + opened[:, n:] * (h - candidate)]


def _rnn(layer: _Layer, x: Float32Array, parts: _Parts) -> list[Float32Array]:
    return [np.tanh(_gates(layer, x, parts[0]))]


def _gates(layer: _Layer, x: Float32Array, h: Float32Array) -> Float32Array:
    gates: Float32Array = x @ layer.inputs.T
    gates += h @ layer.hidden.T
    gates += layer.bias
    return gates


_STEPS: dict[str, _Step] = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}


class ServingEncoder:
    """What a click does to a session's state and what a state asks the index for; see `Encoder`.

    Reads the weights where they are: what training changes it sees, but for the scale. Weights that take
    another place in memory, as by a copy of the encoder, need a new one.
    """

    def __init__(self, encoder: SessionEncoder) -> None:
        config = encoder.config
        self._n_units = config.n_units
        self._n_parts = encoder.n_parts
        self._normalized = config.normalized
        self._step = _STEPS[config.cell]
        self._items = _array(encoder.items)
        self._layers = [
            _Layer(_array(layer.input_weight), _array(layer.hidden_weight), _array(layer.bias))
            for layer in encoder.recurrent_layers()
        ]
        self._n_recurrent = self._n_parts * len(self._layers) * self._n_units
        self._projection = None if encoder.projection is None else _array(encoder.projection)
        self._has_bias = encoder.bias is not None
        self._scale = 1.0 if encoder.log_scale is None else float(encoder.log_scale.detach().exp())
        self._context = None if encoder.context is None else _ServingContext(encoder.context)

    def advance(
        self, states: Float32Array, rows: Int64Array, codes: Int64Array | None = None
    ) -> Float32Array:
        """States after one click each; see `Encoder.advance`."""
        # Not the whole table ahead of time: of a million items it would be 400 MB more, twice at a swap.
        x = self._items[rows]
        if self._normalized:
            x = _unit(x)
        n, size = self._n_parts, self._n_units
        parts = [states[:, begin : begin + size] for begin in range(0, self._n_recurrent, size)]
        kept: list[Float32Array] = []
        if self._context is not None:
            at = self._context.rows(codes, len(x))
            parts[::n] = self._context.at_recurrence(parts[::n], at)
            x = self._context.at_input(x, at)
            kept = self._context.kept(at)
        after: list[Float32Array] = []
        for number, layer in enumerate(self._layers):
            after += self._step(layer, x, parts[n * number : n * (number + 1)])
            x = after[n * number]
        return np.concatenate(after + kept, axis=1)

    def queries(self, states: Float32Array) -> Float32Array:
        """Query vectors for the index; see `Encoder.queries`."""
        last = self._n_recurrent - self._n_parts * self._n_units  # where the last layer's state begins
        query = states[:, last : last + self._n_units]
        query = query.copy() if self._projection is None else query @ self._projection.T
        if self._context is not None and states.shape[1] > self._n_recurrent:
            query = self._context.at_output(query, states[:, self._n_recurrent :].astype(np.int64))
        if self._normalized:
            query = _unit(query)
        query *= self._scale
        if not self._has_bias:
            return query
        one_more = np.empty((len(query), query.shape[1] + 1), dtype=np.float32)
        one_more[:, :-1] = query
        one_more[:, -1] = self._scale
        return one_more


class _ServingContext:
    """What `ContextTables` does, on arrays."""

    def __init__(self, tables: ContextTables) -> None:
        self._columns = tables.columns
        self._first: Int64Array = tables.first.numpy()
        of_place = (tables.concat, tables.product, tables.recurrence, tables.output)
        self._concat, self._product, self._recurrence, self._output = (
            None if table is None else _array(table) for table in of_place
        )

    def rows(self, codes: Int64Array | None, n: int) -> Int64Array:
        if codes is None:
            return np.broadcast_to(self._first, (n, len(self._first)))
        rows: Int64Array = codes[:, self._columns] + self._first
        return rows

    def at_input(self, x: Float32Array, rows: Int64Array) -> Float32Array:
        if self._product is not None:
            x = x * _factors(self._product, rows)
        if self._concat is not None:
            x = np.concatenate([x, self._concat[rows].sum(axis=1)], axis=1)
        return x

    def at_recurrence(self, hidden: list[Float32Array], rows: Int64Array) -> list[Float32Array]:
        if self._recurrence is None:
            return hidden
        factors = np.split(_factors(self._recurrence, rows), len(hidden), axis=1)
        return [h * factor for h, factor in zip(hidden, factors, strict=True)]

    def at_output(self, query: Float32Array, rows: Int64Array) -> Float32Array:
        return query if self._output is None else query * _factors(self._output, rows)

    def kept(self, rows: Int64Array) -> list[Float32Array]:
        return [] if self._output is None else [rows.astype(np.float32)]


def _factors(table: Float32Array, rows: Int64Array) -> Float32Array:
    factors: Float32Array = table[rows].sum(axis=1)
    factors += 1.0
    return factors


def _unit(vectors: Float32Array) -> Float32Array:
    """In place to length 1."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    vectors /= np.maximum(lengths, SHORTEST)[:, None]
    return vectors
