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

    def memory_of(self, parameter: Tensor) -> tuple[Tensor, ...]:
        """What is remembered for a parameter; nothing before its first update."""

    def remember(self, parameter: Tensor, memory: tuple[Tensor, ...]) -> None:
        """Go on from what `memory_of` gave."""


class Adagrad:
    """Adagrad with momentum: a ← a + g²; v ← μ v − η g / √(a + ε); p ← p + v. The accumulator starts at 0."""

    def __init__(self, momentum: float = 0.0, epsilon: float = 1e-6) -> None:
        self._momentum = momentum
        self._epsilon = epsilon
        self._memory: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def memory_of(self, parameter: Tensor) -> tuple[Tensor, ...]:
        """See `Optimizer.memory_of`."""
        return self._memory.get(id(parameter), (parameter,))[1:]

    def remember(self, parameter: Tensor, memory: tuple[Tensor, ...]) -> None:
        """See `Optimizer.remember`."""
        accumulator, velocity = memory
        self._memory[id(parameter)] = (parameter, accumulator, velocity)

    def update(
        self, parameter: Tensor, gradient: Tensor, learning_rate: float, rows: Tensor | None = None
    ) -> None:
        """Make one step; see `Optimizer.update`."""
        with torch.no_grad():
            if id(parameter) not in self._memory:
                fresh = (parameter, torch.zeros_like(parameter), torch.zeros_like(parameter))
                self._memory[id(parameter)] = fresh
            _, accumulator, velocity = self._memory[id(parameter)]
            a, v = accumulator, velocity
            if rows is not None:
                a, v = accumulator.index_select(0, rows), velocity.index_select(0, rows)
            a.addcmul_(gradient, gradient)
            v.mul_(self._momentum).addcdiv_(gradient, (a + self._epsilon).sqrt_(), value=-learning_rate)
            if rows is None:
                parameter.add_(v)
                return
            accumulator.index_copy_(0, rows, a)
            velocity.index_copy_(0, rows, v)
            parameter.index_add_(0, rows, v)


class Adam:
    """Adam (Kingma & Ba 2015); with `rows`, a row's averages and its count of steps rest while untouched."""

    def __init__(self, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8) -> None:
        self._beta1 = beta1
        self._beta2 = beta2
        self._epsilon = epsilon
        self._memory: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def memory_of(self, parameter: Tensor) -> tuple[Tensor, ...]:
        """See `Optimizer.memory_of`."""
        return self._memory.get(id(parameter), (parameter,))[1:]

    def remember(self, parameter: Tensor, memory: tuple[Tensor, ...]) -> None:
        """See `Optimizer.remember`."""
        m, v, n = memory
        self._memory[id(parameter)] = (parameter, m, v, n)

    def update(
        self, parameter: Tensor, gradient: Tensor, learning_rate: float, rows: Tensor | None = None
    ) -> None:
        """Make one step; see `Optimizer.update`."""
        with torch.no_grad():
            if (
                id(parameter) not in self._memory
            ):  # no setdefault: that would fill two new tables at every step
                self._memory[id(parameter)] = _fresh_averages(parameter, rows)
            memory = self._memory[id(parameter)]
            m, v, n = kept = (
                memory[1:] if rows is None else tuple(t.index_select(0, rows) for t in memory[1:])
            )
            n += 1
            m.lerp_(gradient, 1.0 - self._beta1)
            v.mul_(self._beta2).addcmul_(gradient, gradient, value=1.0 - self._beta2)
            # m / (1 − β₁ⁿ) over √(v / (1 − β₂ⁿ)) + ε; the corrections, few numbers, are put together first.
            root = (1.0 - self._beta2**n).sqrt_()
            size = learning_rate * root / (1.0 - self._beta1**n)
            deviation = v.sqrt().add_(root * self._epsilon)
            if rows is None:
                parameter.addcdiv_(m, deviation, value=-float(size))
                return
            for table, part in zip(memory[1:], kept, strict=True):
                table.index_copy_(0, rows, part)
            parameter.index_add_(0, rows, m.mul_(size).div_(deviation), alpha=-1.0)


def _fresh_averages(parameter: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The parameter itself (so that its id stays its own), both averages, and steps (for all or per row)."""
    steps = torch.zeros(()) if rows is None else torch.zeros([len(parameter)] + [1] * (parameter.dim() - 1))
    return parameter, torch.zeros_like(parameter), torch.zeros_like(parameter), steps
