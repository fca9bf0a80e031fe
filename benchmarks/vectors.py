"""The model that benchmarks serve: trained on real clicks where there are some, in any size of catalogue.

Random vectors mislead (a graph needs twenty times the work on them), and no public log has a million items.
So a larger catalogue is the trained one resampled: each further item is a copy of a trained one, moved in a
random direction by the distance that the original has to its nearest neighbour. A smaller one is its most
popular part. All is drawn from a seed; the trained model is kept in the work folder.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.checkpoint import load_encoder, save_encoder
from model.encoder import SessionEncoder
from model.evaluation import sample_queries
from model.sequences import Sequences
from model.threads import set_threads
from model.training import Progress, train
from model.training_config import TrainingConfig
from model.vocabulary import Vocabulary
from streams.clickfile import ClickColumns, read_click_file
from streams.sequencing import cut_sessions
from streams.shoppers import generate_columns

LOG: Final = "yoochoose64"
N_EPOCHS: Final = 4
SEED: Final = 20_261_122
N_GENERATED_CLICKS: Final = 500_000
N_GENERATED_ITEMS: Final = 18_000
_BLOCK: Final = 2_048

Say = Callable[[str], None]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trained:
    """A model and the sessions that it is measured with: held-out ones, and all there are."""

    source: str  # which clicks
    encoder: SessionEncoder
    vocabulary: Vocabulary
    all_sessions: Sequences
    n_held_out: int  # the last of them, not trained on

    @property
    def held_out(self) -> Sequences:
        """Sessions that the model has not seen."""
        return self.all_sessions.select(len(self.all_sessions) - self.n_held_out, len(self.all_sessions))


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The model with ``n_items`` items; row i of it is (a copy of) row ``sources[i]`` of the trained one."""

    encoder: SessionEncoder
    vocabulary: Vocabulary
    sources: Rows

    def sessions(self, trained: Sequences, seed: int = SEED) -> Sequences:
        """The same sessions in this catalogue: each click on an item or on one of its copies, by chance."""
        n_sources = int(trained.rows.max(initial=0)) + 1
        by_source = np.argsort(self.sources, kind="stable")
        counts = np.bincount(self.sources, minlength=n_sources)
        begins = np.concatenate([[0], np.cumsum(counts)])
        known = (trained.rows >= 0) & (counts[trained.rows] > 0)
        rows = np.where(known, trained.rows, 0)
        picks = (np.random.default_rng(seed).random(len(rows)) * counts[rows]).astype(np.int64)
        copies = by_source[np.minimum(begins[rows] + picks, len(by_source) - 1)]
        return Sequences(np.where(known, copies, -1), trained.starts)

    def queries(self, trained: Sequences, n: int) -> NDArray[np.float32]:
        """Queries as they come in service, from states of real sessions; (n, query_dim)."""
        found = sample_queries(self.encoder, self.sessions(trained), n)
        return found[np.random.default_rng(SEED).permutation(len(found))[:n]]


def trained_model(work: Path, data: Path | None, say: Say, n_epochs: int = N_EPOCHS) -> Trained:
    """Give the trained model, from the work folder where it is there already."""
    source, load = _clicks(data)
    config = TrainingConfig(n_epochs=n_epochs, seed=SEED)
    digest = hashlib.sha256(json.dumps([source, asdict(config)], sort_keys=True).encode()).hexdigest()[:8]
    folder = work / f"model-{digest}"
    if not (folder / "sessions.npz").is_file():
        _train(folder, *load(), config, say)
    arrays = np.load(folder / "sessions.npz")
    sessions = Sequences(arrays["rows"], arrays["starts"])
    encoder = load_encoder(folder / "encoder.safetensors").eval()
    vocabulary = Vocabulary.load(folder / "items.parquet")
    return Trained(source, encoder, vocabulary, sessions, int(arrays["n_held_out"]))


def _clicks(data: Path | None) -> tuple[str, Callable[[], tuple[ClickColumns, ClickColumns]]]:
    """What to train on and to hold out: the public log, or made-up shoppers where it is absent."""
    folder = None if data is None else data / LOG
    if folder is not None and (folder / "train.tsv.gz").is_file():
        return LOG, lambda: (
            read_click_file(folder / "train.tsv.gz"),
            read_click_file(folder / "test.tsv.gz"),
        )

    def generate() -> tuple[ClickColumns, ClickColumns]:
        columns = generate_columns(
            SEED, N_GENERATED_CLICKS, n_items=N_GENERATED_ITEMS, n_shoppers=5_000, clicks_per_s=50
        )
        cut = len(columns) * 9 // 10
        return _part(columns, slice(0, cut)), _part(columns, slice(cut, None))

    return "generated shoppers", generate


def _part(columns: ClickColumns, part: slice) -> ClickColumns:
    return ClickColumns(columns.session_ids[part], columns.item_ids[part], columns.time_ms[part])


def _train(folder: Path, older: ClickColumns, newer: ClickColumns, config: TrainingConfig, say: Say) -> None:
    vocabulary = Vocabulary.from_clicks(older.item_ids)
    seen = cut_sessions(older, vocabulary, None).drop_short(2)
    held_out = cut_sessions(newer, vocabulary, None).drop_unknown(2)

    def tell(progress: Progress) -> None:
        share = progress.clicks_done / progress.clicks_total
        say(f"training the benchmarks' model: {share:.0%}, {progress.clicks_per_s:,.0f} clicks/s")

    set_threads(1)  # beside other work a second one spends its time waiting for the first
    encoder = train(seen, len(vocabulary), training_config=config, on_progress=tell)
    folder.mkdir(parents=True, exist_ok=True)
    save_encoder(encoder, folder / "encoder.safetensors")
    vocabulary.save(folder / "items.parquet")
    rows = np.concatenate([seen.rows, held_out.rows])
    starts = np.concatenate([seen.starts, held_out.starts[1:] + seen.n_clicks])
    np.savez(
        folder / "sessions.npz", rows=rows, starts=starts, n_held_out=len(held_out)
    )  # last: it is the mark


def catalogue_of(trained: Trained, n_items: int, seed: int = SEED) -> Catalogue:
    """The trained model with ``n_items`` items, fewer or more than it has."""
    n_trained = trained.encoder.n_items
    rng = np.random.default_rng(seed)
    sources = np.concatenate(
        [np.arange(min(n_items, n_trained)), rng.integers(n_trained, size=max(n_items - n_trained, 0))]
    )
    encoder = trained.encoder.with_rows(sources).eval()
    if n_items > n_trained:
        _scatter(encoder, n_trained, sources, rng)
    ids = trained.vocabulary.item_ids
    names = [ids[row] if n < n_trained else f"{ids[row]}-{n}" for n, row in enumerate(sources.tolist())]
    counts = trained.vocabulary.counts[sources].copy()
    counts[n_trained:] = min(1, int(counts[:n_trained].min()))  # vocabularies are ordered by falling counts
    return Catalogue(encoder, Vocabulary(names, counts), sources)


def _scatter(encoder: SessionEncoder, n_trained: int, sources: Rows, rng: np.random.Generator) -> None:
    """Move the copies away from their originals."""
    with torch.no_grad():
        for table in encoder.item_tables():
            originals = encoder.unit(table[:n_trained]).numpy()
            distances = nearest_distances(originals)
            for begin in range(n_trained, len(sources), 100_000):
                part = sources[begin : begin + 100_000]
                noise = rng.standard_normal((len(part), originals.shape[1]), dtype=np.float32)
                noise *= (distances[part] / np.linalg.norm(noise, axis=1))[:, None]
                table[begin : begin + len(part)] = torch.from_numpy(originals[part] + noise)
            table[:n_trained] = torch.from_numpy(originals)


def nearest_distances(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of each vector to its nearest neighbour; (n, d) → (n,)."""
    squares = np.einsum("ij,ij->i", vectors, vectors)
    nearest = np.empty(len(vectors), dtype=np.float32)
    for begin in range(0, len(vectors), _BLOCK):
        block = vectors[begin : begin + _BLOCK]
        gaps = squares[begin : begin + len(block), None] + squares - 2 * (block @ vectors.T)
        gaps[np.arange(len(block)), begin + np.arange(len(block))] = np.inf
        nearest[begin : begin + len(block)] = np.sqrt(np.maximum(gaps.min(axis=1), 0.0))
    return nearest
