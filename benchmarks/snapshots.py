"""Snapshots for benchmarks, with the index that the product's rule chooses, kept in the work folder."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import faiss

from benchmarks.vectors import SEED, Catalogue, Trained
from index.build import build_index
from index.protocol import ItemIndex
from model.blend import BlendedRanking
from model.blend_memory import ItemMemory
from model.blend_training import learn_blend
from streams.snapshot import Provenance, Snapshot, load_snapshot, save_snapshot


def make_snapshot(work: Path, trained: Trained, catalogue: Catalogue, say: Callable[[str], None]) -> Snapshot:
    """Build the snapshot of a catalogue, or give the one that the same code has built before.

    A graph of a million items takes minutes. The code of index and ranking is part of the folder's name, so
    that a changed rule builds anew.
    """
    n_items = catalogue.encoder.n_items
    packages = Path(__file__).parent.parent
    sources = sorted([*packages.glob("index/*.py"), *packages.glob("model/blend*.py")])
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]
    weights = hashlib.sha256(catalogue.encoder.items.detach().numpy().tobytes()).hexdigest()[:8]
    folder = (work / f"snapshot-{n_items}-{weights}-{code}").absolute()
    for manifest in folder.glob("*/manifest.json"):
        return load_snapshot(str(manifest.parent))
    say(f"building the index of {n_items:,} items")
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    vectors = catalogue.encoder.item_vectors()
    index = build_index(vectors, catalogue.queries(trained.held_out, 500))
    say(f"learning the order of {n_items:,} items")
    ranking = _ranking(trained, catalogue, index)
    parts = (catalogue.encoder, catalogue.vocabulary, index)
    return save_snapshot(str(folder), *parts, Provenance(), ranking=ranking)


def _ranking(trained: Trained, catalogue: Catalogue, index: ItemIndex) -> BlendedRanking | None:
    """Learn it from the sessions that the encoder has not seen."""
    n_seen = len(trained.all_sessions) - trained.n_held_out
    seen = catalogue.sessions(trained.all_sessions.select(0, n_seen))
    memory = ItemMemory.remember(seen, catalogue.encoder.n_items)
    held_out = catalogue.sessions(trained.held_out)
    blend = learn_blend(memory, catalogue.encoder, index.search, held_out, SEED)
    return None if blend is None else BlendedRanking(memory, blend)
