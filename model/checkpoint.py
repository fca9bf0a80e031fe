"""An encoder on disk: one safetensors file with its weights and, as metadata, its shape. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from model.encoder import EncoderConfig, SessionEncoder

FORMAT_VERSION = 1


class CheckpointError(ValueError):
    """A stored encoder that cannot be used; the text says why."""


def save_encoder(encoder: SessionEncoder, path: Path) -> None:
    """Write the encoder's weights and configuration."""
    tensors = {name: value.detach().contiguous() for name, value in encoder.state_dict().items()}
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "n_items": str(encoder.n_items),
        "config": json.dumps(encoder.config.to_dict(), sort_keys=True),
    }
    save_file(tensors, path, metadata=metadata)


def load_encoder(path: Path) -> SessionEncoder:
    """Read an encoder written by `save_encoder`, ready to serve.

    Raises:
        CheckpointError: damaged, of another format version, of other shapes, or holding NaN or infinity.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            metadata: dict[str, str] = stored.metadata() or {}
            tensors: dict[str, torch.Tensor] = {
                name: stored.get_tensor(name).clone()  # its own is the file in memory, which may go away
                for name in stored.keys()  # noqa: SIM118
            }
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path.name} is not a readable encoder: {error}") from error
    encoder = _empty_encoder(path, metadata)
    try:
        encoder.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise CheckpointError(f"{path.name} does not fit its configuration: {text}") from error
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise CheckpointError(f"{path.name}: {name} holds NaN or infinity")
    return encoder.eval()


def _is_finite(tensor: torch.Tensor) -> bool:
    """Whether no number is NaN or infinite, by their sum where that tells.

    `isfinite` alone takes a second for a million items, and more memory than the tensor itself.
    """
    if bool(tensor.sum().isfinite()):
        return True
    # Very large ones may sum to infinity.
    return all(bool(part.isfinite().all()) for part in torch.split(tensor, 4_096))


def _empty_encoder(path: Path, metadata: dict[str, str]) -> SessionEncoder:
    version = metadata.get("format_version")
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path.name} has format version {version}, this release reads {FORMAT_VERSION}"
        )
    try:
        config: dict[str, Any] = json.loads(metadata["config"])
        return SessionEncoder(EncoderConfig.from_dict(config), int(metadata["n_items"]), seed=None)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path.name} does not say which encoder it is: {error}") from error
