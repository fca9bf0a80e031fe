"""Where a training run stands, on disk, so that a killed one goes on: weights, optimiser, chance, place.

What is written belongs to one run: to the same sessions, network and settings. Another run finds nothing.
A run that goes on makes the same updates as one that was never interrupted, to the bit on the same machine.
One safetensors file, written beside and renamed, never half of it; no pickle.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.encoder import SessionEncoder
from model.sequences import Sequences
from model.training_config import TrainingConfig

FORMAT_VERSION = 1
EVERY_S = 60.0
COST_SHARE = 0.05
"""Of the time, at most, goes into writing: a catalogue of a million items has a gigabyte of weights."""

_log = logging.getLogger(__name__)


class Standing(NamedTuple):
    """After how many updates a run stands, and all that the next one depends on."""

    n_updates: int
    clicks_done: int
    loss: float
    tensors: dict[str, Tensor]


class Checkpoint:
    """A file that a run writes every minute and goes on from; for one run at a time."""

    def __init__(self, path: Path, every_s: float = EVERY_S) -> None:
        self._path = path
        self._every_s = every_s
        self._due_s = time.monotonic() + every_s
        self._run = ""

    def begin(self, encoder: SessionEncoder, sequences: Sequences, config: TrainingConfig) -> Standing | None:
        """Say which run this is; gives where it stands, None where it is to begin."""
        self._run = _fingerprint(encoder, sequences, config)
        if not self._path.exists():
            return None
        try:
            with safe_open(self._path, framework="pt") as stored:
                metadata: dict[str, str] = stored.metadata() or {}
                if metadata.get("run") != self._run:
                    return None
                tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
            return Standing(
                int(metadata["n_updates"]), int(metadata["clicks_done"]), float(metadata["loss"]), tensors
            )
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            _log.warning("training begins anew, %s cannot be read: %s", self._path, error)
            return None

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() >= self._due_s

    def write(self, standing: Standing) -> None:
        """Keep it; a disk that is full costs the checkpoint, not the training."""
        began = time.monotonic()
        metadata = {
            "run": self._run,
            "n_updates": str(standing.n_updates),
            "clicks_done": str(standing.clicks_done),
            "loss": repr(standing.loss),
        }
        beside = self._path.with_suffix(".unfinished")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            save_file(standing.tensors, beside, metadata=metadata)
            beside.replace(self._path)
        except (SafetensorError, OSError) as error:
            _log.warning("cannot write %s: %s", self._path, error)
        now = time.monotonic()
        self._due_s = now + max(self._every_s, (now - began) / COST_SHARE)


def _fingerprint(encoder: SessionEncoder, sequences: Sequences, config: TrainingConfig) -> str:
    """Equal for runs that make the same updates."""
    of_run = {
        "format": FORMAT_VERSION,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "encoder": encoder.config.to_dict(),
        "n_items": encoder.n_items,
        "training": asdict(config),
    }
    found = hashlib.sha256(json.dumps(of_run, sort_keys=True).encode())
    for array in (sequences.rows, sequences.starts, sequences.codes):
        found.update(b"-" if array is None else array.tobytes())
    return found.hexdigest()
