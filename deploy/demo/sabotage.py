"""A snapshot whose weights were shuffled: nothing in the bundle is damaged, only what it recommends is bad.

``python -m deploy.demo.sabotage SNAPSHOT FOLDER`` writes it into the folder and prints where. Every tensor
keeps its shape and its numbers, in another order; the index is built from the vectors that come of it, and
sizes and checksums are those of the files, so that nothing but its answers tells.
"""

import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from index.build import build_index
from model.arrays import Float32Array
from model.blend import Blend, BlendedRanking
from model.encoder import SessionEncoder
from streams.snapshot import Snapshot, load_snapshot, save_snapshot

WEIGHTS_OF_LINKS: Final = ("forward", "together", "popularity", "recent")


def sabotaged(snapshot: Snapshot, folder: Path, seed: int = 0) -> Snapshot:
    """Shuffle the weights of a snapshot and save it as another one in the folder."""
    rng = np.random.default_rng(seed)
    _shuffle(snapshot.encoder, rng)
    ranking = snapshot.ranking
    return save_snapshot(
        str(folder),
        snapshot.encoder,
        snapshot.vocabulary,
        build_index(snapshot.encoder.item_vectors()),
        snapshot.manifest.provenance,
        ranking=None if ranking is None else _shuffled(ranking, rng),
    )


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


if __name__ == "__main__":
    print(sabotaged(load_snapshot(sys.argv[1]), Path(sys.argv[2])).location)
