"""Which index serves a catalogue of which size best: how much it finds, and what a query costs.

Every candidate searches the same trained vectors with the same queries, taken from states of sessions that
the model has not seen. Recall is against scoring everything, of the best 20; the time is that of the best 21,
which is what a worker asks for, in CPU time of one thread, the median of many batches of one size.

What the product's rule chooses for each size is measured once more, as a trainer builds it, and also by what
it costs in Recall@20 on held-out clicks against scoring every item.
"""

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import re
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import faiss
import numpy as np

from benchmarks.candidates import CANDIDATES, Candidate, Search
from benchmarks.chosen import choose, cost_in_recall
from benchmarks.report import Report, Say, command, parser, print_table, say
from benchmarks.vectors import Catalogue, Trained, catalogue_of, trained_model
from index.exact import ExactIndex
from index.protocol import Float32Array

K = 20
SEARCHED = 21
BATCHES = (1, 10, 100, 500)
RECALL_WISHED, COST_ALLOWED = 0.99, 0.005


def main() -> None:
    """Run the benchmark."""
    flags = parser(__doc__)
    flags.add_argument("--items", type=int, nargs="+", default=[3_000, 20_000, 100_000, 1_000_000])
    flags.add_argument("--queries", type=int, default=500)
    flags.add_argument("--seconds", type=float, default=0.4, help="for each figure")
    flags.add_argument("--targets", type=int, default=20_000, help="clicks to foretell for the cost")
    flags.add_argument(
        "--only", default="", help="a pattern: candidates whose names have it; ^$ for the chosen one alone"
    )
    flags.add_argument("--build-threads", type=int, default=os.cpu_count() or 1)
    asked = flags.parse_args()
    conditions = {"k": K, "searched": SEARCHED, "queries": asked.queries, "threads": 1, "dim": None}
    report = Report("index", conditions, asked.results, asked.note)
    trained = trained_model(asked.work, asked.data, Say())
    report.conditions |= {"clicks": trained.source, "trained_items": trained.encoder.n_items}
    lines: list[dict[str, Any]] = []
    chosen: list[dict[str, Any]] = []
    for n_items in asked.items:
        say(f"{n_items:,} items: making the vectors")
        catalogue = catalogue_of(trained, n_items)
        vectors = catalogue.encoder.item_vectors()
        queries = catalogue.queries(trained.held_out, asked.queries)
        report.conditions["dim"] = vectors.shape[1]
        best, _ = ExactIndex(vectors).search(queries, K)
        chosen.append(_chosen(trained, catalogue, vectors, queries, best, asked))
        say("  ".join(f"{key} {value}" for key, value in chosen[-1].items()))
        for candidate in CANDIDATES:
            if (
                re.search(asked.only, candidate.name)
                and candidate.from_items <= n_items <= candidate.up_to_items
            ):
                for line in _measure(candidate, vectors, queries, best, asked.seconds, asked.build_threads):
                    say("  ".join(f"{key} {value}" for key, value in line.items()))
                    lines.append(line)
    report.body = {"figures": lines, "best": _best(lines), "chosen": chosen}
    print_table(lines)
    print(f"\nthe fastest that find {RECALL_WISHED:.0%}:")
    print_table(report.body["best"])
    print("\nwhat the rule chooses:")
    print_table(chosen)
    for line in chosen:
        named = f"{line['items']:,} items, {line['index']}"
        recall, cost = line["recall"], line["cost"]
        report.mark(f"{named}: recall against exact at 20", ">= .99", recall, recall >= RECALL_WISHED)
        report.mark(f"{named}: cost in Recall@20, relative", "< .005", cost, cost < COST_ALLOWED)
    report.write()


def _chosen(
    trained: Trained,
    catalogue: Catalogue,
    vectors: Float32Array,
    queries: Float32Array,
    best: Float32Array,
    asked: argparse.Namespace,
) -> dict[str, Any]:
    """Build what the rule chooses and measure it."""
    say(f"{len(vectors):,} items: building what the rule chooses")
    found, search = choose(trained, catalogue, vectors, asked.build_threads)
    faiss.omp_set_num_threads(1)
    times = {f"us_{n}": round(time_of(search, queries, n, asked.seconds), 1) for n in BATCHES}
    cost = cost_in_recall(trained, catalogue, vectors, search, asked.targets, asked.build_threads, say)
    recall = {"recall": round(recall_of(search, queries, best), 4)}
    return {"items": len(vectors)} | found | recall | times | cost


def _measure(
    candidate: Candidate,
    vectors: Float32Array,
    queries: Float32Array,
    best: Float32Array,
    seconds: float,
    build_threads: int,
) -> Iterator[dict[str, Any]]:
    """Build it with all threads, search with one; a line for each setting until one finds nearly all."""
    say(f"{len(vectors):,} items: building {candidate.name}")
    faiss.omp_set_num_threads(build_threads)
    began = time.perf_counter()
    build_s = 0.0
    for setting in candidate.build(vectors):
        build_s = build_s or time.perf_counter() - began
        faiss.omp_set_num_threads(1)
        recall = recall_of(setting.search, queries, best)
        times = {f"us_{n}": round(time_of(setting.search, queries, n, seconds), 1) for n in BATCHES}
        named = {"items": len(vectors), "index": candidate.name, "setting": setting.name}
        yield named | {"recall": round(recall, 4)} | times | {"build_s": round(build_s, 1)}
        if recall > 0.9985:
            return


def recall_of(search: Search, queries: Float32Array, best: Float32Array) -> float:
    """The share of the best K that it finds; an item of the same score as the last one counts."""
    scores, _ = search(queries, SEARCHED)
    worst = best[:, -1:]
    return float((scores[:, :K] >= worst - 1e-4 * (1 + abs(worst))).mean())


def time_of(search: Search, queries: Float32Array, n: int, seconds: float) -> float:
    """Microseconds of CPU for each query in batches of n, of different queries each time."""
    n = min(n, len(queries))
    taken: list[float] = []
    search(queries[:n], SEARCHED)
    deadline = time.perf_counter() + seconds
    at = 0
    while len(taken) < 3 or time.perf_counter() < deadline:
        at = (at + n) if at + 2 * n <= len(queries) else 0
        batch = np.ascontiguousarray(queries[at : at + n])
        began = time.thread_time()
        search(batch, SEARCHED)
        taken.append(time.thread_time() - began)
    return median(taken) / n * 1e6


def _best(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each size of catalogue and of batch the fastest candidate that finds enough, and the product's."""
    found = []
    for n_items in dict.fromkeys(line["items"] for line in lines):
        enough = [line for line in lines if line["items"] == n_items and line["recall"] >= RECALL_WISHED]
        for n in BATCHES:
            if enough:
                first = min(enough, key=lambda line: line[f"us_{n}"])
                name = f"{first['index']} {first['setting']}".strip()
                found.append(
                    {
                        "items": n_items,
                        "batch": n,
                        "index": name,
                        "us": first[f"us_{n}"],
                        "recall": first["recall"],
                    }
                )
    return found


if __name__ == "__main__":
    command(main)
