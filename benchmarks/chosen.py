"""What the product's rule chooses for a catalogue: how much it finds, and what that costs in accuracy."""

import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

from benchmarks.candidates import Search
from benchmarks.vectors import Catalogue, Trained
from index.build import build_index
from index.protocol import Float32Array
from model.evaluation import EncoderRanker, evaluate_next_items, sample_queries
from model.sequences import Sequences
from streams.session import STATE_DTYPE

K = 20


def choose(
    trained: Trained, catalogue: Catalogue, vectors: Float32Array, n_threads: int
) -> tuple[dict[str, Any], Search]:
    """Build the index as a trainer does: its breadth is tuned on sessions that the model was trained on."""
    n_seen = len(trained.all_sessions) - trained.n_held_out
    seen = catalogue.sessions(trained.all_sessions).select(0, n_seen)
    queries = sample_queries(catalogue.encoder, seen)
    faiss.omp_set_num_threads(n_threads)
    began = time.perf_counter()
    index = build_index(vectors, queries)
    found = {"index": index.kind, "breadth": getattr(index, "breadth", None)}
    return found | {"build_s": round(time.perf_counter() - began, 1)}, index.search


def cost_in_recall(
    trained: Trained,
    catalogue: Catalogue,
    vectors: Float32Array,
    search: Search,
    n_targets: int,
    n_threads: int,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Recall@20 on held-out clicks through the index and with every item scored; the share that is lost."""
    sessions = _with_targets(catalogue.sessions(trained.held_out), n_targets)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(np.ascontiguousarray(vectors))
    recalls = {}
    for name, searched in (("index", search), ("exact", flat.search)):
        tell(f"{len(vectors):,} items: Recall@{K} with {name}, {sessions.n_targets:,} targets")
        faiss.omp_set_num_threads(n_threads)
        ranker = EncoderRanker(catalogue.encoder, searched, catalogue.vocabulary.counts, STATE_DTYPE)
        recalls[name] = evaluate_next_items(ranker, sessions, K).recall
    cost = 1 - recalls["index"] / recalls["exact"]
    return {
        "targets": sessions.n_targets,
        "recall@20 exact": round(recalls["exact"], 4),
        "recall@20": round(recalls["index"], 4),
        "cost": round(cost, 5),
    }


def _with_targets(sessions: Sequences, n_targets: int) -> Sequences:
    """As many of the newest sessions as have so many clicks to foretell."""
    known = sessions.drop_unknown(min_length=2)
    targets = np.cumsum((known.lengths - 1)[::-1])
    n = min(int(np.searchsorted(targets, n_targets)) + 1, len(known))
    return known.select(len(known) - n, len(known))
