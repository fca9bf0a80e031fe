"""The settings of the trainer as the configurations of the network, of its training and of the gate.

What is not set keeps the default of ``EncoderConfig`` and ``TrainingConfig``.
"""

from typing import Any

from deploy.settings import Settings
from model.encoder_config import EncoderConfig
from model.training_config import TrainingConfig
from streams.clickfile import ClickColumns
from streams.gate import Bounds


def encoder_config(settings: Settings) -> EncoderConfig:
    """The network; its items' vectors are as wide as its state."""
    values = {
        "cell": settings.cell,
        "n_units": settings.units,
        "embedding_dim": settings.units,
        "n_layers": settings.layers,
        "dropout_embedding": settings.dropout_embedding,
        "dropout_hidden": settings.dropout_hidden,
        "context": _names(settings.click_context),
        "context_at": _names(settings.click_context_at),
    }
    return EncoderConfig(**_given(values))


def unread_kinds(encoder: EncoderConfig, clicks: ClickColumns) -> str | None:
    """What to tell where the context uses the kind of a click, and none were read from a file."""
    if "kind" not in encoder.context or clicks.kinds is not None:
        return None
    return "click_context uses the kind of a click, and without --kind-column all are of one kind"


def training_config(settings: Settings) -> TrainingConfig:
    """How it is trained."""
    values = {
        "n_epochs": settings.epochs,
        "n_lanes": settings.batch_size,
        "learning_rate": settings.learning_rate,
        "loss": settings.loss,
        "n_negatives": settings.negatives,
        "seed": settings.seed,
    }
    return TrainingConfig(**_given(values))


def gate_bounds(settings: Settings) -> Bounds:
    """What the gate holds a new snapshot to."""
    return Bounds(
        max_loss=settings.gate_max_loss,
        min_index_recall=settings.gate_index_recall,
        max_megabytes=settings.gate_megabytes,
        max_latency_ms=settings.gate_latency_ms,
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    """Names with commas between, each once."""
    return None if text is None else tuple(dict.fromkeys(text.split(",")))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
