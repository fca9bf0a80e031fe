"""The served ranking: a small network over features of each candidate orders what encoder and memory bring.

It scores one candidate at a time, f(x) = w·x + v·relu(B relu(A x + a) + b), and has learnt from sessions that
neither its encoder nor its memory had seen which of a click's candidates is clicked next
(`model/blend_training.py`). About 1,500 multiplications a candidate and a hundred candidates a click: less
than the search in the index.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from model.arrays import Float32Array, Int64Array
from model.blend_candidates import FEATURES, NEAREST, gather
from model.blend_memory import ItemMemory
from model.ranking import Search
from model.sequences import UNKNOWN

FORMAT_VERSION: Final = 1
CLICKS_AT_ONCE: Final = 256
"""Their candidates and what becomes of them stay in the processor's cache."""


class BlendError(ValueError):
    """A stored ranking that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """The network's weights, for features as they are: what standardises them is multiplied in.

    Attributes:
        linear: w; (n_features,)
        first: A; (n_units, n_features)
        first_bias: a; (n_units,)
        second: B; (n_units, n_units)
        second_bias: b; (n_units,)
        output: v; (n_units,)
    """

    linear: Float32Array
    first: Float32Array
    first_bias: Float32Array
    second: Float32Array
    second_bias: Float32Array
    output: Float32Array

    def __post_init__(self) -> None:
        """Refuse weights that do not fit each other."""
        n_units, n_features = len(self.output), len(FEATURES)
        wanted = {
            "linear": (n_features,),
            "first": (n_units, n_features),
            "first_bias": (n_units,),
            "second": (n_units, n_units),
            "second_bias": (n_units,),
        }
        for name, shape in wanted.items():
            if (found := getattr(self, name).shape) != shape:
                raise ValueError(f"{name} is of shape {found}, not {shape}")

    def scores(self, features: Float32Array) -> Float32Array:
        """How likely each candidate is, as a logarithm up to a constant; (n_features, n) → (n,)."""
        hidden = self.first @ features
        hidden += self.first_bias[:, None]
        np.maximum(hidden, 0.0, out=hidden)
        hidden = self.second @ hidden
        hidden += self.second_bias[:, None]
        np.maximum(hidden, 0.0, out=hidden)
        scores: Float32Array = self.output @ hidden + self.linear @ features
        return scores


class BlendedRanking:
    """Memory and blend together: the encoder's nearest items in, the best items of all candidates out."""

    def __init__(self, memory: ItemMemory, blend: Blend) -> None:
        self.memory = memory
        self.blend = blend

    def find(
        self, search: Search, queries: Float32Array, recent: Int64Array, n: int
    ) -> tuple[Float32Array, Int64Array]:
        """Ask the index for the nearest items of the queries, and give the n best of all candidates."""
        return self.best(*search(queries, self.n_nearest(n)), recent, n)

    def n_nearest(self, n: int) -> int:
        """How many of the encoder's nearest items have to be found for an answer of n."""
        return min(max(NEAREST, n), self.memory.n_items)

    def best(
        self, scores: Float32Array, nearest: Int64Array, recent: Int64Array, n: int
    ) -> tuple[Float32Array, Int64Array]:
        """Order the candidates of each click.

        Args:
            scores, nearest, recent: see `model.blend_candidates.gather`.
            n: how many items are wanted.

        Returns:
            Scores and rows of the n best, best first; (n_clicks, n) each, padded with -inf and `UNKNOWN`.
        """
        best_scores = np.full((len(nearest), n), -np.inf, dtype=np.float32)
        best_rows = np.full((len(nearest), n), UNKNOWN, dtype=np.int64)
        for begin in range(0, len(nearest), CLICKS_AT_ONCE):
            part = slice(begin, begin + CLICKS_AT_ONCE)
            candidates = gather(self.memory, scores[part], nearest[part], recent[part])
            found = _first(self.blend.scores(candidates.features), candidates.rows, candidates.counts, n)
            width = found[0].shape[1]
            best_scores[part, :width], best_rows[part, :width] = found
        return best_scores, best_rows

    def save(self, path: Path) -> None:
        """Write the ranking as one safetensors file."""
        tensors = {f"memory.{name}": value for name, value in asdict(self.memory).items()}
        tensors |= {f"blend.{name}": value for name, value in asdict(self.blend).items()}
        metadata = {"format_version": str(FORMAT_VERSION), "features": " ".join(FEATURES)}
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, path, metadata)

    @classmethod
    def load(cls, path: Path) -> BlendedRanking:
        """Read a ranking written by `save`.

        Raises:
            BlendError: damaged, of another format version, of other features, or holding NaN or infinity.
        """
        try:
            with safe_open(path, framework="numpy") as stored:
                metadata: dict[str, str] = stored.metadata() or {}
                tensors: dict[str, Any] = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise BlendError(f"{path.name} is not a readable ranking: {error}") from error
        version = metadata.get("format_version")
        if version != str(FORMAT_VERSION):
            raise BlendError(f"{path.name} has format version {version}, this release reads {FORMAT_VERSION}")
        if metadata.get("features") != " ".join(FEATURES):
            raise BlendError(f"{path.name} was learnt from other features than this release computes")
        for name, tensor in tensors.items():
            if not np.isfinite(tensor).all():
                raise BlendError(f"{path.name}: {name} holds NaN or infinity")
        try:
            memory = ItemMemory(**_part(tensors, "memory", ItemMemory))
            return cls(memory, Blend(**_part(tensors, "blend", Blend)))
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise BlendError(f"{path.name} does not fit together: {error}") from error


def _part(tensors: dict[str, Any], prefix: str, kind: type[ItemMemory] | type[Blend]) -> dict[str, Any]:
    return {field.name: tensors[f"{prefix}.{field.name}"] for field in fields(kind)}


def _first(
    scores: Float32Array, rows: Int64Array, counts: Int64Array, n: int
) -> tuple[Float32Array, Int64Array]:
    """The n best of each click's candidates, or as many columns as there are candidates."""
    width = int(counts.max(initial=0))
    ends = np.cumsum(counts)
    clicks = np.repeat(np.arange(len(counts)), counts)
    places = np.arange(len(rows)) - np.repeat(ends - counts, counts)
    table = np.full((len(counts), width), -np.inf, dtype=np.float32)
    table[clicks, places] = scores
    order = np.argsort(-table, axis=1)[:, : min(n, width)]
    best = np.take_along_axis(table, order, axis=1)
    at = np.minimum((ends - counts)[:, None] + order, max(len(rows) - 1, 0))
    return best, np.where(np.isfinite(best), rows[at], UNKNOWN)
