"""Snapshots for benchmarks, with the index that the product's rule chooses, kept in the work folder."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import faiss

from benchmarks.vectors import Catalogue, Trained
from index.build import build_index
from streams.snapshot import Provenance, Snapshot, load_snapshot, save_snapshot


def make_snapshot(work: Path, trained: Trained, catalogue: Catalogue, say: Callable[[str], None]) -> Snapshot:
    """Build the snapshot of a catalogue, or give the one that the same code has built before.

    A graph of a million items takes minutes. The code of the index is part of the folder's name, so that a
    changed rule builds anew.
    """
    n_items = catalogue.encoder.n_items
    sources = sorted(Path(__file__).parent.parent.glob("index/*.py"))
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]
    weights = hashlib.sha256(catalogue.encoder.items.detach().numpy().tobytes()).hexdigest()[:8]
    folder = (work / f"snapshot-{n_items}-{weights}-{code}").absolute()
    for manifest in folder.glob("*/manifest.json"):
        return load_snapshot(str(manifest.parent))
    say(f"building the index of {n_items:,} items")
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    vectors = catalogue.encoder.item_vectors()
    index = build_index(vectors, catalogue.queries(trained.held_out, 500))
    return save_snapshot(str(folder), catalogue.encoder, catalogue.vocabulary, index, Provenance())
