"""Optimisers that can change some rows of a table without touching the others.

A step of sampled training touches a few thousand of perhaps a million items. Torch's own optimisers
either go over the whole table each time or, for sparse gradients, have no momentum; and its Adagrad
starts its accumulator, decays and has no momentum in other ways than GRU4Rec, whose accuracy hangs on it.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Optimizer(Protocol):
    """Changes parameters against their gradients and remembers what it needs for each."""

    def update(
        self, parameter: Tensor, gradient: Tensor, learning_rate: float, rows: Tensor | None = None
    ) -> None:
        """Make one step on a parameter, in place.

        Args:
            parameter: any shape.
            gradient: the parameter's shape; with `rows`, (len(rows), …).
            learning_rate: for this step.
            rows: the rows that the gradient is of, none twice; None for all.
        """


class Adagrad:
    """Adagrad with momentum: a ← a + g²; v ← μ v − η g / √(a + ε); p ← p + v. The accumulator starts at 0."""

    def __init__(self, momentum: float = 0.0, epsilon: float = 1e-6) -> None:
        self._momentum = momentum
        self._epsilon = epsilon
        self._memory: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def update(
        self, parameter: Tensor, gradient: Tensor, learning_rate: float, rows: Tensor | None = None
    ) -> None:
        """Make one step; see `Optimizer.update`."""
        with torch.no_grad():
            _, accumulator, velocity = self._memory.setdefault(
                id(parameter), (parameter, torch.zeros_like(parameter), torch.zeros_like(parameter))
            )
            a, v = (accumulator, velocity) if rows is None else (accumulator[rows], velocity[rows])
            a.addcmul_(gradient, gradient)
            v.mul_(self._momentum).addcdiv_(gradient, (a + self._epsilon).sqrt_(), value=-learning_rate)
            if rows is None:
                parameter.add_(v)
                return
            accumulator[rows], velocity[rows] = a, v
            parameter.index_add_(0, rows, v)


class Adam:
    """Adam (Kingma & Ba 2015); with `rows`, a row's averages and its count of steps rest while untouched."""

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon
        self._memory: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def update(
        self, parameter: Tensor, gradient: Tensor, learning_rate: float, rows: Tensor | None = None
    ) -> None:
        """Make one step; see `Optimizer.update`."""
        with torch.no_grad():
            _, first, second, steps = self._memory.setdefault(id(parameter), _fresh_averages(parameter, rows))
            m, v, n = (first, second, steps) if rows is None else (first[rows], second[rows], steps[rows])
            n += 1
            m.lerp_(gradient, 1.0 - self._beta1)
            v.mul_(self._beta2).addcmul_(gradient, gradient, value=1.0 - self._beta2)
            size = learning_rate / (1.0 - self._beta1**n)
            change = m / (v / (1.0 - self._beta2**n)).sqrt_().add_(self._epsilon) * size
            if rows is None:
                parameter.sub_(change)
                return
            first[rows], second[rows], steps[rows] = m, v, n
            parameter.index_add_(0, rows, change, alpha=-1.0)


def _fresh_averages(parameter: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The parameter itself (so that its id stays its own), both averages, and steps (for all or per row)."""
    steps = torch.zeros(()) if rows is None else torch.zeros([len(parameter)] + [1] * (parameter.dim() - 1))
    return parameter, torch.zeros_like(parameter), torch.zeros_like(parameter), steps
