"""The indexes that could serve, FAISS's own among them, behind one small interface.

``exact`` and ``hnsw`` and ``ivf`` are the product's. The others are here to know what they would bring.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from index.approximate import ApproximateIndex, same_length
from index.exact import ExactIndex
from index.protocol import Float32Array, Int64Array

Search = Callable[[Float32Array, int], tuple[Float32Array, Int64Array]]
BLOCKS = 64
IP = faiss.METRIC_INNER_PRODUCT
WIDE = 104
"""The vectors of 100 units and their bias, filled up to what 26 and 52 parts divide."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to search a built index: how it is called, and the search."""

    name: str
    search: Search


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kind of index: ``build`` gives its settings, from the fastest to the most thorough."""

    name: str
    build: Callable[[Float32Array], Iterator[Setting]]
    from_items: int = 0
    up_to_items: int = 10_000_000


def exact(vectors: Float32Array) -> Iterator[Setting]:
    """The product's exact index."""
    yield Setting("", ExactIndex(vectors).search)


def exact_by_columns(vectors: Float32Array) -> Iterator[Setting]:
    """All scores by BLAS; the best are looked for in the columns of best maximum only. Exact."""
    n_items = len(vectors)
    width = -(-n_items // BLOCKS)
    transposed = np.asfortranarray(vectors.T)

    def search(queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        scores = np.empty((len(queries), k), dtype=np.float32)
        rows = np.empty((len(queries), k), dtype=np.int64)
        step = max((1 << 20) // n_items, 1)
        everything = np.full((min(step, len(queries)), BLOCKS * width), -np.inf, dtype=np.float32)
        for begin in range(0, len(queries), step):
            part = queries[begin : begin + step]
            found = everything[: len(part)]
            np.matmul(part, transposed, out=found[:, :n_items])
            best = found.reshape(len(part), BLOCKS, width).max(axis=1)
            columns = np.argpartition(best, width - k, axis=1)[:, width - k :] if width > k else None
            if columns is None:
                columns = np.broadcast_to(np.arange(width), (len(part), width))
            places = (columns[:, None, :] + (np.arange(BLOCKS) * width)[:, None]).reshape(len(part), -1)
            chosen = np.take_along_axis(found, places, axis=1)
            top = np.argpartition(chosen, chosen.shape[1] - k, axis=1)[:, chosen.shape[1] - k :]
            values = np.take_along_axis(chosen, top, axis=1)
            order = np.argsort(-values, axis=1)
            scores[begin : begin + step] = np.take_along_axis(values, order, axis=1)
            rows[begin : begin + step] = np.take_along_axis(
                np.take_along_axis(places, top, axis=1), order, axis=1
            )
        return scores, rows

    yield Setting("", search)


def faiss_flat(vectors: Float32Array) -> Iterator[Setting]:
    """FAISS's exact index."""
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    yield Setting("", flat.search)


def hnsw(vectors: Float32Array) -> Iterator[Setting]:
    """The product's graph."""
    index = ApproximateIndex.hnsw(vectors)
    for breadth in (32, 48, 64, 96, 128, 192, 256, 384, 512):
        index.widen(breadth)
        yield Setting(f"efSearch {breadth}", index.search)


def hnsw_of(quantizer: Any) -> Callable[[Float32Array], Iterator[Setting]]:
    """A graph over vectors in 8 or 16 bits a coordinate; scores are of the rounded vectors."""

    def build(vectors: Float32Array) -> Iterator[Setting]:
        long = same_length(vectors)
        index = faiss.IndexHNSWSQ(long.shape[1], quantizer, 32, IP)
        index.hnsw.efConstruction = 200
        index.train(long)
        index.add(long)
        for breadth in (32, 64, 128, 256, 512):
            index.hnsw.efSearch = breadth
            yield Setting(f"efSearch {breadth}", _refined(index.search, vectors, long.shape[1]))

    return build


def ivf(vectors: Float32Array) -> Iterator[Setting]:
    """The product's cells."""
    index = ApproximateIndex.ivf(vectors)
    for breadth in index.breadths():
        index.widen(breadth)
        yield Setting(f"nprobe {breadth}", index.search)


def scalar(quantizer: int) -> Callable[[Float32Array], Iterator[Setting]]:
    """Every vector in 8 bits a coordinate, all scored, the best scored again exactly."""

    def build(vectors: Float32Array) -> Iterator[Setting]:
        index = faiss.IndexScalarQuantizer(vectors.shape[1], quantizer, IP)
        index.train(vectors)
        index.add(vectors)
        yield Setting("refine 2", _refined(index.search, vectors, vectors.shape[1], 2))

    return build


def pq_fast_scan(n_parts: int) -> Callable[[Float32Array], Iterator[Setting]]:
    """Every vector in 4-bit parts, all scored in registers, the best scored again exactly."""

    def build(vectors: Float32Array) -> Iterator[Setting]:
        yield from _rescored(
            faiss.IndexPQFastScan(WIDE, n_parts, 4, IP), _widened(vectors), (2, 4, 8, 16, 32)
        )

    return build


def ivf_fast_scan(n_parts: int) -> Callable[[Float32Array], Iterator[Setting]]:
    """The same in cells, of which the nearest are scored."""

    def build(vectors: Float32Array) -> Iterator[Setting]:
        long = _widened(same_length(vectors))
        n_cells = max(min(int(4 * np.sqrt(len(long))), len(long) // 39), 1)
        quantizer = faiss.IndexFlatIP(WIDE)
        index = faiss.IndexIVFPQFastScan(quantizer, WIDE, n_cells, n_parts, 4, IP)
        index.cp.max_points_per_centroid = 64
        for setting in _rescored(index, long, (4,)):
            for share in (64, 32, 16, 8, 4, 2):
                index.nprobe = max(n_cells // share, 1)
                yield Setting(f"nprobe {index.nprobe} {setting.name}", setting.search)

    return build


def rabitq_fast_scan(vectors: Float32Array) -> Iterator[Setting]:
    """A bit for each coordinate, all scored in registers, the best scored again exactly."""
    yield from _rescored(faiss.IndexRaBitQFastScan(WIDE, IP), _widened(vectors), (8, 16, 32))


def _rescored(index: Any, long: Float32Array, factors: Sequence[int]) -> Iterator[Setting]:
    """Find ``factor`` times as many by the short codes, and order those by the vectors themselves."""
    index.train(long)
    index.add(long)
    both = faiss.IndexRefineFlat(index, faiss.swig_ptr(long))
    for factor in factors:
        both.k_factor = factor
        yield Setting(f"refine {factor}", lambda queries, k: both.search(_widened(queries), k))


def _widened(vectors: Float32Array, dim: int = WIDE) -> Float32Array:
    wide = np.zeros((len(vectors), dim), dtype=np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide


def _refined(search: Any, vectors: Float32Array, dim: int, factor: int = 1) -> Search:
    """Look for ``factor`` times as many by the short codes, and score those by the vectors themselves."""

    def refined(queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        _, rows = search(_widened(queries, dim), min(k * factor, len(vectors)))
        found = np.matmul(vectors[rows], queries[:, :, None])[:, :, 0]
        found[rows < 0] = -np.inf
        order = np.argsort(-found, axis=1)[:, :k]
        return np.take_along_axis(found, order, axis=1), np.take_along_axis(rows, order, axis=1)

    return refined


CANDIDATES: Sequence[Candidate] = (
    Candidate("exact", exact),
    Candidate("exact by columns", exact_by_columns),
    Candidate("FAISS flat", faiss_flat),
    Candidate("hnsw", hnsw),
    Candidate("ivf", ivf, from_items=10_000),
    Candidate("SQ8", scalar(faiss.ScalarQuantizer.QT_8bit), up_to_items=20_000),
    Candidate("PQ26 FastScan", pq_fast_scan(26)),
    Candidate("PQ52 FastScan", pq_fast_scan(52)),
    Candidate("RaBitQ FastScan", rabitq_fast_scan, up_to_items=20_000),
    Candidate("IVF PQ26 FastScan", ivf_fast_scan(26), from_items=10_000),
    Candidate("IVF PQ52 FastScan", ivf_fast_scan(52), from_items=10_000),
    Candidate("HNSW SQ8", hnsw_of(faiss.ScalarQuantizer.QT_8bit), from_items=10_000, up_to_items=20_000),
    Candidate("HNSW SQ16", hnsw_of(faiss.ScalarQuantizer.QT_fp16), from_items=10_000, up_to_items=20_000),
)
