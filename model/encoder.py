"""The session encoder: a recurrent network whose state, as a query, lies near the item clicked next.

Training and serving use the same weights through two doors: `unroll` runs windows of steps with
gradients, `advance`/`queries` take and give NumPy arrays for many sessions at once.

A score is scale · cos(h, e_j) + b_j. Cosine-normalised item embeddings were by far the largest gain in
accuracy that was measured. The scale is folded into the query and b_j / scale becomes one more
coordinate of the item vector, so that the inner product a nearest-neighbour index finds *is* the score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.arrays import Float32Array, Int64Array
from model.encoder_cells import CELLS, RecurrentLayer, dropout, glorot_uniform
from model.encoder_config import EncoderConfig
from model.encoder_context import ContextCoder, ContextTables
from model.encoder_serving import ServingEncoder

__all__ = ["EncoderConfig", "SessionEncoder"]


class SessionEncoder(nn.Module):
    """Items in, query vector out. See the module's text for the form of a score."""

    def __init__(self, config: EncoderConfig, n_items: int, seed: int | None = 0) -> None:
        """Draw weights by the seed, or leave that to who fills them in: None."""
        super().__init__()
        if n_items < 1:
            raise ValueError("an encoder needs at least one item")
        self.config = config
        self.n_items = n_items
        dim, n_units = config.embedding_dim, config.n_units
        self.items = nn.Parameter(torch.empty(n_items, dim))
        self.output_items = None if config.shared_embeddings else nn.Parameter(torch.empty(n_items, dim))
        self.bias = nn.Parameter(torch.zeros(n_items)) if config.output_bias else None
        self.log_scale = nn.Parameter(torch.zeros(())) if config.normalized else None
        self.context = ContextTables(config) if config.context else None
        cell = CELLS[config.cell]
        beside = config.context_dim if self.context is not None and self.context.concat is not None else 0
        self.layers = nn.ModuleList(
            cell(dim + beside if layer == 0 else n_units, n_units) for layer in range(config.n_layers)
        )
        self.n_parts = cell.n_parts
        self._recurrent_dim = cell.n_parts * config.n_layers * n_units
        self.projection = None if dim == n_units else nn.Parameter(torch.empty(dim, n_units))
        if seed is not None:
            self.reset_parameters(torch.Generator().manual_seed(seed))

    def recurrent_layers(self) -> Iterator[RecurrentLayer]:
        """The layers, from the input on."""
        for layer in self.layers:
            yield cast(RecurrentLayer, layer)

    @property
    def state_dim(self) -> int:
        """Width of one session's state: the parts of every layer's, and what the output needs of context."""
        return self._recurrent_dim + (0 if self.context is None else self.context.n_kept)

    @property
    def query_dim(self) -> int:
        """Width of a query and of an item vector."""
        return self.config.embedding_dim + (1 if self.bias is not None else 0)

    def context_coder(self) -> ContextCoder | None:
        """What makes the codes that `advance` takes; None where the encoder uses no context."""
        return None if self.context is None else ContextCoder(self.config.kinds)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw new weights."""
        config = self.config
        with torch.no_grad():
            for table in self.item_tables():
                # The bound must not shrink with the catalogue: a table of a million items would start
                # at lengths that one step of the optimiser wipes out.
                glorot_uniform(table, config.embedding_dim, config.embedding_dim, generator)
            if self.bias is not None:
                self.bias.zero_()
            if self.log_scale is not None:
                self.log_scale.fill_(math.log(config.initial_scale))
            if self.projection is not None:
                glorot_uniform(self.projection, config.n_units, config.embedding_dim, generator)
        for layer in self.recurrent_layers():
            layer.reset_parameters(generator)
        if self.context is not None:
            self.context.reset_parameters(generator)

    def item_tables(self) -> list[nn.Parameter]:
        """The embedding tables: one when shared, else those of the input and of the output."""
        return [self.items] if self.output_items is None else [self.items, self.output_items]

    def unit(self, vectors: Tensor) -> Tensor:
        """Vectors of length 1 where the encoder scores by cosine, unchanged where not."""
        return F.normalize(vectors, dim=-1) if self.config.normalized else vectors

    # ------------------------------------------------------------------ training

    def unroll(
        self,
        inputs: Tensor,
        keep: Tensor,
        state: Tensor,
        generator: torch.Generator | None = None,
        codes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run a window of steps for many sessions side by side.

        Args:
            inputs: embeddings of the clicked items; (steps, lanes, embedding_dim)
            keep: 0 where a new session begins with the step, else 1; (steps, lanes)
            state: what the window begins with; (lanes, state_dim)
            generator: draws the dropout; None for no dropout.
            codes: of the clicks' context, where the encoder uses it; (steps, lanes, 3)

        Returns:
            outputs (steps, lanes, embedding_dim) to be scored, and the state after the window.
        """
        config = self.config
        inputs = dropout(inputs, config.dropout_embedding, generator)
        at = None if self.context is None else self.context.rows(codes, inputs.shape[:2])
        if self.context is not None and at is not None:
            inputs = self.context.at_input(inputs, at)
        n = self.n_parts
        parts = list(state[:, : self._recurrent_dim].chunk(n * config.n_layers, dim=1))
        outputs = []
        for step, (x, kept) in enumerate(zip(inputs.unbind(0), keep.unsqueeze(-1).unbind(0), strict=True)):
            if self.context is not None and at is not None:
                parts[::n] = self.context.at_recurrence(parts[::n], at[step])
            for i, layer in enumerate(self.layers):
                of_layer = slice(n * i, n * (i + 1))
                parts[of_layer] = layer(x, [part * kept for part in parts[of_layer]])
                x = dropout(parts[n * i], config.dropout_hidden, generator)
            outputs.append(x)
        if self.context is not None and at is not None:
            parts += self.context.kept(at[-1])
        return self.project(torch.stack(outputs), at), torch.cat(parts, dim=1)

    def project(self, hidden: Tensor, at: Tensor | None = None) -> Tensor:
        """From the last hidden state to the space of the item embeddings, of unit length if normalised.

        `at` says where the context's tables are read for it.
        """
        query = hidden if self.projection is None else F.linear(hidden, self.projection)
        if self.context is not None and at is not None:
            query = self.context.at_output(query, at)
        return self.unit(query)

    def scale(self) -> Tensor | float:
        """What cosines are multiplied with; 1 without normalisation."""
        return 1.0 if self.log_scale is None else self.log_scale.exp()

    # ------------------------------------------------------------------- serving

    def initial_states(self, n: int) -> Float32Array:
        """States of n sessions without a click; (n, state_dim)."""
        return np.zeros((n, self.state_dim), dtype=np.float32)

    def serving(self) -> ServingEncoder:
        """What `advance` and `queries` are done by, to be kept where they are called for every click."""
        return ServingEncoder(self)

    def advance(
        self, states: Float32Array, rows: Int64Array, codes: Int64Array | None = None
    ) -> Float32Array:
        """States after one click each: (n, state_dim) and the clicked rows (n,) → (n, state_dim).

        `codes` are of the clicks' context, (n, 3), from `context_coder`; None stands for zeros.
        """
        return self.serving().advance(states, rows, codes)

    def queries(self, states: Float32Array) -> Float32Array:
        """Query vectors for the index; (n, state_dim) → (n, query_dim)."""
        return self.serving().queries(states)

    def item_vectors(self, rows: Int64Array | None = None) -> Float32Array:
        """What the index holds, of all items or of the rows; (n_items, query_dim)."""
        with torch.inference_mode():
            chosen = slice(None) if rows is None else torch.from_numpy(rows)
            vectors = self.unit(self.item_tables()[-1][chosen])
            if self.bias is not None:
                vectors = torch.cat([vectors, (self.bias[chosen] / self.scale()).unsqueeze(1)], dim=1)
            return np.array(vectors.numpy(), dtype=np.float32, order="C")

    def with_rows(self, old_rows: Int64Array, seed: int = 0) -> SessionEncoder:
        """The same network for another catalogue: new row i takes what old row `old_rows[i]` has learnt.

        A new item (-1) begins with fresh weights.
        """
        resized = SessionEncoder(self.config, len(old_rows), seed)
        known = torch.from_numpy(np.flatnonzero(old_rows >= 0))
        source = torch.from_numpy(old_rows[old_rows >= 0])
        per_item = {"items", "output_items", "bias"}
        ours = dict(self.named_parameters())
        with torch.no_grad():
            for name, parameter in resized.named_parameters():
                if name in per_item:
                    parameter[known] = ours[name][source]
                else:
                    parameter.copy_(ours[name])
        return resized
