"""Ways in which a snapshot's folder may be damaged, for tests of what refuses it.

Each gives a function that does it. Some leave the manifest's promises broken; the others let the manifest
promise the files as they are then, so that only their meaning is wrong.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from index.exact import ExactIndex
from streams.manifest import BUNDLE_FILES, RANKING_FILE

Damage = Callable[[Path], None]


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_bytes(msgspec.json.encode(msgspec.json.decode(path.read_bytes()) | changes))


def promise(folder: Path) -> None:
    """Let the manifest promise the files as they are now, so that only their meaning is wrong."""
    files = {
        file: {
            "bytes": (folder / file).stat().st_size,
            "sha256": hashlib.sha256((folder / file).read_bytes()).hexdigest(),
        }
        for file in (*BUNDLE_FILES, RANKING_FILE)
        if file in BUNDLE_FILES or (folder / file).exists()
    }
    rewrite_manifest(folder, files=files)


def truncate(file: str) -> Damage:
    def damage(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: len(content) // 2])

    return damage


def flip(file: str) -> Damage:
    def damage(folder: Path) -> None:
        content = bytearray((folder / file).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / file).write_bytes(content)

    return damage


def remove(file: str) -> Damage:
    return lambda folder: (folder / file).unlink()


def promised_garbage(file: str, content: bytes = b"garbage") -> Damage:
    def damage(folder: Path) -> None:
        (folder / file).write_bytes(content)
        promise(folder)

    return damage


def promised_half(file: str) -> Damage:
    def damage(folder: Path) -> None:
        truncate(file)(folder)
        promise(folder)

    return damage


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "encoder.safetensors"
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            metadata = stored.metadata()
        change(tensors)
        save_file(tensors, path, metadata=metadata)
        promise(folder)

    return damage


def another_index(vectors: Callable[[], np.ndarray[Any, Any]]) -> Damage:
    def damage(folder: Path) -> None:
        ExactIndex(vectors()).save(folder / "index.faiss")
        promise(folder)

    return damage


def in_place_of(file: str, other: Path) -> Damage:
    def damage(folder: Path) -> None:
        (folder / file).write_bytes(other.read_bytes())
        promise(folder)

    return damage
