"""Recurrent layers behind one interface: an input and the state's parts in, the new parts out.

Every layer has one bias per gate and not torch's two, whose sum is all that counts. A layer's output is
the first part of its state.
"""

from __future__ import annotations

import math
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

Parts: TypeAlias = list[Tensor] | tuple[Tensor, ...]
"""A layer's state: vectors of `n_units`, the output first; (n, n_units) each."""


class RecurrentLayer(nn.Module):
    """The weights of one layer, gate below gate, and the step that a kind of cell makes with them."""

    n_gates: ClassVar[int]
    n_parts: ClassVar[int]
    """Vectors of `n_units` that the state consists of."""

    def __init__(self, n_inputs: int, n_units: int) -> None:
        super().__init__()
        self.input_weight = nn.Parameter(torch.empty(self.n_gates * n_units, n_inputs))
        self.hidden_weight = nn.Parameter(torch.empty(self.n_gates * n_units, n_units))
        self.bias = nn.Parameter(torch.empty(self.n_gates * n_units))
        self.register_buffer("no_bias", torch.zeros(self.n_gates * n_units), persistent=False)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Glorot-uniform, gate by gate."""
        n_units = self.hidden_weight.shape[1]
        with torch.no_grad():
            for weight in (self.input_weight, self.hidden_weight):
                glorot_uniform(weight, weight.shape[1], n_units, generator)
            self.bias.zero_()

    def forward(self, x: Tensor, parts: Parts) -> tuple[Tensor, ...]:
        """One step: input (n, n_inputs) and the state's parts → the new parts."""
        raise NotImplementedError


class LSTMLayer(RecurrentLayer):
    """c ← f∘c + i∘c̃, h ← o∘tanh(c); gates in the order i, f, c̃, o (Hochreiter & Schmidhuber 1997)."""

    n_gates = 4
    n_parts = 2

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Glorot-uniform, gate by gate; the forget gate starts open (bias 1)."""
        super().reset_parameters(generator)
        n_units = self.hidden_weight.shape[1]
        with torch.no_grad():
            self.bias[n_units : 2 * n_units] = 1.0

    def forward(self, x: Tensor, parts: Parts) -> tuple[Tensor, ...]:
        """One step; the parts are h and c."""
        no_bias: Tensor = self.no_bias  # type: ignore[assignment]
        return torch.lstm_cell(x, parts, self.input_weight, self.hidden_weight, self.bias, no_bias)


class GRULayer(RecurrentLayer):
    """h ← (1 − z)∘h̃ + z∘h, h̃ = tanh(W x + b + r∘U h); gates in the order r, z, h̃ (Cho et al. 2014)."""

    n_gates = 3
    n_parts = 1

    def forward(self, x: Tensor, parts: Parts) -> tuple[Tensor, ...]:
        """One step; the only part is h."""
        no_bias: Tensor = self.no_bias  # type: ignore[assignment]
        return (torch.gru_cell(x, parts[0], self.input_weight, self.hidden_weight, self.bias, no_bias),)


class RNNLayer(RecurrentLayer):
    """h ← tanh(W x + U h + b) (Elman 1990)."""

    n_gates = 1
    n_parts = 1

    def forward(self, x: Tensor, parts: Parts) -> tuple[Tensor, ...]:
        """One step; the only part is h."""
        no_bias: Tensor = self.no_bias  # type: ignore[assignment]
        return (torch.rnn_tanh_cell(x, parts[0], self.input_weight, self.hidden_weight, self.bias, no_bias),)


CELLS: dict[str, type[RecurrentLayer]] = {"lstm": LSTMLayer, "gru": GRULayer, "rnn": RNNLayer}


def glorot_uniform(weight: Tensor, n_in: int, n_out: int, generator: torch.Generator) -> None:
    """Fill `weight` uniformly in ± √(6 / (n_in + n_out)) (Glorot & Bengio 2010)."""
    bound = math.sqrt(6.0 / (n_in + n_out))
    weight.uniform_(-bound, bound, generator=generator)


def dropout(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Leave out a share `rate` of the coordinates and scale the rest up; no generator, no dropout."""
    if rate == 0.0 or generator is None:
        return x
    keep = 1.0 - rate
    return x * torch.empty_like(x).bernoulli_(keep, generator=generator).mul_(1.0 / keep)
