"""The context of a click: its kind, the time since the click before, the hour; as codes, and in the network.

Codes are small whole numbers, one column per feature, made alike from columns of recorded clicks and from
one live click. In the network a code has a row in a table for each place that it acts at (after Smirnova &
Vasile 2017): beside the input, as a factor of the input, of the hidden state before the step, or of the
output before it is scored. Factors start at 1, so that an untrained context changes nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.arrays import BoolArray, Int64Array
from model.encoder_cells import glorot_uniform
from model.encoder_config import CONTEXT_FEATURES, EncoderConfig

GAP_EDGES_MS = tuple(1000 * seconds for seconds in (2, 5, 10, 20, 40, 80, 160, 320, 640, 1280, 3600, 21_600))
"""A gap's code is 1 + the number of edges it reaches; 0 stands for the first click of a session."""
MAX_KINDS = 100
"""Kinds beyond the most usual are one: other."""
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class ContextCoder:
    """Makes codes of clicks; `kinds` are those with a code of their own, from 1, the others have 0."""

    kinds: tuple[str, ...] = ()

    @classmethod
    def fit(cls, kinds: Iterable[str]) -> Self:
        """Give the kinds of a log their codes, the most usual first."""
        ranked = sorted(Counter(kinds).items(), key=lambda counted: (-counted[1], counted[0]))
        return cls(tuple(kind for kind, _ in ranked[:MAX_KINDS]))

    def code(self, kind: str, time_ms: int, before_ms: int | None) -> tuple[int, int, int]:
        """Codes of one click; `before_ms` is the time of the session's click before, None of its first."""
        gap = 0 if before_ms is None else 1 + bisect_right(GAP_EDGES_MS, time_ms - before_ms)
        kind_code = self.kinds.index(kind) + 1 if kind in self.kinds else 0
        return kind_code, gap, time_ms // HOUR_MS % 24

    def codes(self, kinds: Iterable[str], time_ms: Int64Array, begins: BoolArray) -> Int64Array:
        """Codes of clicks in order by session; `begins` marks each session's first; (n, 3)."""
        coded = np.empty((len(time_ms), len(CONTEXT_FEATURES)), dtype=np.int64)
        of_kind = {kind: code for code, kind in enumerate(self.kinds, start=1)}
        coded[:, 0] = np.fromiter((of_kind.get(kind, 0) for kind in kinds), np.int64, len(time_ms))
        gaps_ms = np.diff(time_ms, prepend=time_ms[:1])
        coded[:, 1] = np.where(begins, 0, 1 + np.searchsorted(GAP_EDGES_MS, gaps_ms, side="right"))
        coded[:, 2] = time_ms // HOUR_MS % 24
        return coded


class ContextTables(nn.Module):
    """What the chosen features do at the chosen places; a table is None where it has no part."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        sizes = {"kind": 1 + len(config.kinds), "gap": 2 + len(GAP_EDGES_MS), "hour": 24}
        chosen = [sizes[feature] for feature in config.context]
        self.columns = [CONTEXT_FEATURES.index(feature) for feature in config.context]
        # where each chosen feature's codes begin in a table
        self.first: Tensor
        self.register_buffer("first", torch.tensor([0, *np.cumsum(chosen)[:-1]]), persistent=False)

        def table(place: str, width: int) -> nn.Parameter | None:
            return nn.Parameter(torch.empty(sum(chosen), width)) if place in config.context_at else None

        self.concat = table("concat", config.context_dim)
        self.product = table("product", config.embedding_dim)
        self.recurrence = table("recurrence", config.n_layers * config.n_units)
        self.output = table("output", config.embedding_dim)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the vectors beside the input; factors start at 1."""
        with torch.no_grad():
            for place, table in self.named_parameters():
                if place == "concat":
                    glorot_uniform(table, table.shape[1], table.shape[1], generator)
                else:
                    table.zero_()

    @property
    def n_kept(self) -> int:
        """Numbers that a state keeps of its latest click's context, for the output."""
        return 0 if self.output is None else len(self.columns)

    def rows(self, codes: Tensor | None, shape: torch.Size) -> Tensor:
        """Where the tables are read for codes of all features, (…, 3) → (…, features); zeros for None."""
        if codes is None:
            return self.first.expand(*shape, -1)
        return codes[..., self.columns] + self.first

    def at_input(self, x: Tensor, rows: Tensor) -> Tensor:
        """The item's embedding times its factors, and the context's vector after it; (…, n_inputs)."""
        if self.product is not None:
            x = x * self._factors(self.product, rows)
        if self.concat is not None:
            x = torch.cat([x, F.embedding(rows, self.concat).sum(-2)], dim=-1)
        return x

    def at_recurrence(self, hidden: list[Tensor], rows: Tensor) -> list[Tensor]:
        """Every layer's hidden state before the step times its factors; (n, n_units) each."""
        if self.recurrence is None:
            return hidden
        factors = self._factors(self.recurrence, rows).chunk(len(hidden), dim=-1)
        return [h * factor for h, factor in zip(hidden, factors, strict=True)]

    def at_output(self, query: Tensor, rows: Tensor) -> Tensor:
        """The query before it gets its length, times its factors; (…, embedding_dim)."""
        return query if self.output is None else query * self._factors(self.output, rows)

    def kept(self, rows: Tensor) -> list[Tensor]:
        """What a state keeps for the output: the rows as numbers, small enough to be exact in float16."""
        return [] if self.output is None else [rows.float()]

    @staticmethod
    def _factors(table: Tensor, rows: Tensor) -> Tensor:
        return 1.0 + F.embedding(rows, table).sum(-2)
