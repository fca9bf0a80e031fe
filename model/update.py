"""One update of the weights from one window of steps.

In a small catalogue every item is a candidate. In others the candidates are the rows of the window's own
clicks and of the sampled negatives; only those rows of the tables are read and changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.arrays import Int64Array
from model.batching import IDLE, Window
from model.encoder import SessionEncoder
from model.losses import bpr, bpr_max, cross_entropy, log_q_corrected, top1, top1_max
from model.optimizer import Adagrad, Adam, Optimizer
from model.sampling import CandidateOdds, NegativeSampler
from model.training_config import TrainingConfig, TrainingError

OPTIMIZERS: dict[str, Callable[[TrainingConfig], Optimizer]] = {
    "adam": lambda config: Adam(),
    "adagrad": lambda config: Adagrad(config.momentum),
}
LOSSES: dict[str, Callable[[Tensor, Tensor, TrainingConfig], Tensor]] = {
    "cross-entropy": lambda scores, targets, config: cross_entropy(scores, targets, config.label_smoothing),
    "bpr": lambda scores, targets, config: bpr(scores, targets),
    "bpr-max": lambda scores, targets, config: bpr_max(scores, targets, config.bpr_regularization),
    "top1": lambda scores, targets, config: top1(scores, targets),
    "top1-max": lambda scores, targets, config: top1_max(scores, targets),
}


class _Candidates(NamedTuple):
    """The part of the tables that an update reads and changes."""

    rows: Tensor | None  # which rows; None for all
    tables: list[Tensor]  # input and output embeddings, one tensor twice where they are shared
    bias: Tensor | None
    leaves: list[tuple[nn.Parameter, Tensor]]  # what gradients are taken of, beside its parameter
    inputs: Tensor  # the window's inputs as indices into the candidates; (steps, lanes)
    targets: Tensor  # likewise


class Updater:
    """Turns windows into updates; holds everything that lives from one update to the next."""

    def __init__(self, encoder: SessionEncoder, counts: Int64Array, config: TrainingConfig) -> None:
        self._encoder = encoder
        self._config = config
        self._generator = torch.Generator().manual_seed(config.seed)
        self._optimizer = OPTIMIZERS[config.optimizer](config)
        self._sampler: NegativeSampler | None = None
        if encoder.n_items > config.full_softmax_up_to:
            self._sampler = NegativeSampler(counts, config.alpha, self._generator)
            self._odds = CandidateOdds(counts, self._sampler)
        per_item = {id(table) for table in (*encoder.item_tables(), encoder.bias)}
        self._network = [p for p in encoder.parameters() if id(p) not in per_item]

    def update(self, window: Window, state: Tensor, learning_rate: float) -> tuple[float, Tensor]:
        """Make one update; returns the loss and the state after the window, detached."""
        inputs, targets = torch.from_numpy(window.inputs), torch.from_numpy(window.targets)
        keep = torch.from_numpy((~window.begins).astype(np.float32))
        candidates = self._candidates(inputs, targets)
        encoder = self._encoder
        units = [encoder.unit(candidates.tables[0])]
        units.append(units[0] if len(candidates.tables) == 1 else encoder.unit(candidates.tables[1]))
        codes = None if window.codes is None else torch.from_numpy(window.codes)
        outputs, state = encoder.unroll(
            F.embedding(candidates.inputs, units[0]), keep, state, self._generator, codes
        )
        active = (targets != IDLE).flatten().nonzero().squeeze(1)
        hidden = outputs.flatten(0, 1)[active] * encoder.scale()  # (active, embedding_dim)
        if candidates.bias is None:
            scores = hidden @ units[1].T  # (active, candidates)
        else:
            scores = torch.addmm(candidates.bias, hidden, units[1].T)
        # The other losses estimate no sum over the catalogue: they compare the scores that are served.
        if candidates.rows is not None and self._config.loss == "cross-entropy":
            scores = self._corrected(scores, candidates, candidates.rows, active)
        loss = LOSSES[self._config.loss](scores, candidates.targets.flatten()[active], self._config)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise TrainingError("the loss is no longer finite: a smaller learning rate may help")
        self._step(loss, candidates, learning_rate)
        return value, state.detach()

    def tensors(self) -> dict[str, Tensor]:
        """All that the next update depends on beside its window and state; no copies."""
        found = {"generator": self._generator.get_state()}
        for name, parameter in self._encoder.named_parameters():
            found[f"encoder.{name}"] = parameter.detach()
            for at, memory in enumerate(self._optimizer.memory_of(parameter)):
                found[f"optimizer.{name}.{at}"] = memory
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""
        self._generator.set_state(tensors["generator"])
        with torch.no_grad():
            for name, parameter in self._encoder.named_parameters():
                parameter.copy_(tensors[f"encoder.{name}"])
                memory = [key for key in tensors if key.rpartition(".")[0] == f"optimizer.{name}"]
                if memory:
                    self._optimizer.remember(parameter, tuple(tensors[key] for key in sorted(memory)))

    def _candidates(self, inputs: Tensor, targets: Tensor) -> _Candidates:
        encoder = self._encoder
        parameters = [*encoder.item_tables(), *([] if encoder.bias is None else [encoder.bias])]
        n_tables = len(encoder.item_tables())
        inputs, targets = inputs.clamp(min=0), targets.clamp(min=0)  # idle lanes are left out of the loss
        if self._sampler is None:
            leaves: list[tuple[nn.Parameter, Tensor]] = [(p, p) for p in parameters]
            rows = None
        else:
            drawn = self._sampler.draw(self._config.n_negatives)
            clicked = torch.stack([inputs, targets])
            rows, places = torch.unique(torch.cat([clicked.flatten(), drawn]), return_inverse=True)
            inputs, targets = places[: clicked.numel()].view_as(clicked).unbind(0)
            leaves = [(p, p.detach().index_select(0, rows).requires_grad_()) for p in parameters]
        read = [leaf for _, leaf in leaves]
        bias = None if encoder.bias is None else read[-1]
        return _Candidates(rows, read[:n_tables], bias, leaves, inputs, targets)

    def _corrected(self, scores: Tensor, candidates: _Candidates, rows: Tensor, active: Tensor) -> Tensor:
        """Correct for the odds of being a candidate; items of a lane's own window are there in any case."""
        log_q = self._odds.log_odds(rows, len(active), self._config.n_negatives)
        of_lane = torch.cat([candidates.inputs, candidates.targets]).T  # (lanes, 2 * steps)
        certain = of_lane[active % len(of_lane)]
        return log_q_corrected(scores, log_q, certain, self._config.log_q)

    def _step(self, loss: Tensor, candidates: _Candidates, learning_rate: float) -> None:
        leaves = [leaf for _, leaf in candidates.leaves]
        gradients = torch.autograd.grad(loss, [*leaves, *self._network])
        for (parameter, _), gradient in zip(candidates.leaves, gradients, strict=False):
            self._optimizer.update(parameter, gradient, learning_rate, candidates.rows)
        for parameter, gradient in zip(self._network, gradients[len(leaves) :], strict=True):
            self._optimizer.update(parameter, gradient, learning_rate)
