"""The shape of the encoder, stored beside its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from model.encoder_cells import CELLS

CONTEXT_FEATURES = ("kind", "gap", "hour")
"""What may be used of a click beside its item, in the order of the codes' columns."""
CONTEXT_PLACES = ("concat", "product", "recurrence", "output")


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """What the network is made of; a snapshot of an earlier release takes the defaults of what it lacks.

    Attributes:
        cell: the recurrent cell, one of `CELLS`: "lstm", "gru" or "rnn".
        n_units: width of the hidden state, and of an LSTM's cell state.
        n_layers: recurrent layers on top of each other.
        embedding_dim: width of an item's embedding; another width than `n_units` adds a linear output layer.
        dropout_embedding: share of the input's coordinates left out while training.
        dropout_hidden: share of each layer's output left out while training, the last layer's too.
        shared_embeddings: the item that is read and the item that is scored have one embedding.
        normalized: score by cosine times a scale instead of by the plain inner product.
        initial_scale: where the learnt scale starts.
        output_bias: give every item a bias, which is how popularity enters the score.
        context: what of a click is used beside its item, of `CONTEXT_FEATURES`: its kind, the time since
            the click before, the hour of the day; none by default. See `model.encoder_context`.
        context_at: where it acts, of `CONTEXT_PLACES`: beside the input, as a factor of the input, of the
            hidden state before a step, of the output.
        context_dim: width of the vector beside the input.
        kinds: the kinds of click that have a code of their own.
    """

    cell: str = "lstm"
    n_units: int = 100
    n_layers: int = 1
    embedding_dim: int = 100
    dropout_embedding: float = 0.35
    dropout_hidden: float = 0.35
    shared_embeddings: bool = True
    normalized: bool = True
    initial_scale: float = 14.0
    output_bias: bool = True
    context: tuple[str, ...] = ()
    context_at: tuple[str, ...] = ("product",)
    context_dim: int = 16
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        if self.cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, not {self.cell!r}")
        if min(self.n_units, self.n_layers, self.embedding_dim, self.context_dim) < 1:
            raise ValueError("n_units, n_layers, embedding_dim and context_dim must be at least 1")
        for name in ("dropout_embedding", "dropout_hidden"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is the share left out and must be in [0, 1)")
        if self.initial_scale <= 0:
            raise ValueError("initial_scale must be positive")
        for name, known in (("context", CONTEXT_FEATURES), ("context_at", CONTEXT_PLACES)):
            chosen = getattr(self, name)
            if len(set(chosen)) != len(chosen) or not set(chosen) <= set(known):
                raise ValueError(f"{name} must be some of {', '.join(known)}, not {', '.join(chosen)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote; an unknown name raises ValueError."""
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"unknown encoder settings: {', '.join(sorted(unknown))}")
        lists = {name: tuple(value) for name, value in dict(values).items() if isinstance(value, list)}
        return cls(**{**values, **lists})  # JSON has no tuples
