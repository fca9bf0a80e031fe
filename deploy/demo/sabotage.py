"""Snapshots that must not serve, made of one that does; of each only what it recommends is bad.

``python -m deploy.demo.sabotage SNAPSHOT FOLDER [KIND]`` writes one into the folder and prints where. Sizes
and checksums are those of the files, so that nothing but the answers tells.
"""

import shutil
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from deploy.demo.lifecycle_figures import SabotageKind
from index.build import build_index
from model.arrays import Float32Array
from model.blend import Blend, BlendedRanking
from model.encoder import SessionEncoder
from model.sequences import Sequences
from model.training_config import TrainingConfig
from streams.learning import learn_order
from streams.manifest import INDEX_FILE, MANIFEST_FILE, digest_of, read_manifest
from streams.snapshot import Snapshot, load_snapshot, save_snapshot

WEIGHTS_OF_LINKS: Final = ("forward", "together", "popularity", "recent")
NOISE_SESSIONS, NOISE_LENGTH = 4_000, 5


def sabotaged(
    snapshot: Snapshot, folder: Path, kind: SabotageKind = SabotageKind.SHUFFLED, seed: int = 0
) -> str:
    """Write a bad copy of a snapshot into the folder; gives its location."""
    rng = np.random.default_rng(seed)
    match kind:
        case SabotageKind.SHUFFLED:
            _shuffle(snapshot.encoder, rng)
            ranking = None if snapshot.ranking is None else _shuffled(snapshot.ranking, rng)
            return _save(snapshot, folder, snapshot.encoder, ranking)
        case SabotageKind.NOISE:
            return _save(snapshot, folder, *_trained_on_noise(snapshot, rng))
        case SabotageKind.INDEX:
            return _with_index_of_another(snapshot, folder, rng)


def _save(snapshot: Snapshot, folder: Path, encoder: SessionEncoder, ranking: BlendedRanking | None) -> str:
    saved = save_snapshot(
        str(folder),
        encoder,
        snapshot.vocabulary,
        build_index(encoder.item_vectors()),
        snapshot.manifest.provenance,
        ranking=ranking,
    )
    return saved.location


def _shuffle(encoder: SessionEncoder, rng: np.random.Generator) -> None:
    weights = encoder.state_dict()
    encoder.load_state_dict(
        {
            name: value.flatten()[rng.permutation(value.numel())].reshape(value.shape)
            for name, value in weights.items()
        }
    )


def _shuffled(ranking: BlendedRanking, rng: np.random.Generator) -> BlendedRanking:
    links: dict[str, Any] = {name: _mixed(getattr(ranking.memory, name), rng) for name in WEIGHTS_OF_LINKS}
    blend = Blend(**{field.name: _mixed(getattr(ranking.blend, field.name), rng) for field in fields(Blend)})
    return BlendedRanking(replace(ranking.memory, **links), blend)


def _mixed(weights: Float32Array, rng: np.random.Generator) -> Float32Array:
    return rng.permutation(weights.ravel()).reshape(weights.shape)


def _trained_on_noise(
    snapshot: Snapshot, rng: np.random.Generator
) -> tuple[SessionEncoder, BlendedRanking | None]:
    n_items = len(snapshot.vocabulary)
    rows = rng.integers(n_items, size=NOISE_SESSIONS * NOISE_LENGTH)
    sessions = Sequences.from_lengths(rows, np.full(NOISE_SESSIONS, NOISE_LENGTH))
    order = learn_order(sessions, n_items, snapshot.encoder.config, TrainingConfig(n_epochs=2))
    return order.encoder, order.ranking(sessions)


def _with_index_of_another(snapshot: Snapshot, folder: Path, rng: np.random.Generator) -> str:
    """By hand: what saves snapshots reads them back and does not let such a one through."""
    manifest, _ = read_manifest(Path(snapshot.location), None)
    version = f"{manifest.version[:-6]}{rng.bytes(3).hex()}"
    target = folder / version
    shutil.copytree(snapshot.location, target)
    _shuffle(snapshot.encoder, rng)
    build_index(snapshot.encoder.item_vectors()).save(target / INDEX_FILE)
    files = manifest.files | {INDEX_FILE: digest_of(target / INDEX_FILE)}
    bad = msgspec.structs.replace(manifest, version=version, files=files)
    (target / MANIFEST_FILE).write_bytes(msgspec.json.encode(bad))
    return str(target)


if __name__ == "__main__":
    wished = SabotageKind(sys.argv[3]) if len(sys.argv) > 3 else SabotageKind.SHUFFLED
    print(sabotaged(load_snapshot(sys.argv[1]), Path(sys.argv[2]), wished))
