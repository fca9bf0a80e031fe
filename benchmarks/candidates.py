"""The indexes that could serve, behind one small interface.

``exact``, ``codes`` and ``cells`` are the product's. The others are FAISS's own in the forms that are usual,
here to know what they would bring.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from index.approximate import ApproximateIndex, CellIndex, CodeIndex, same_length
from index.exact import ExactIndex
from index.protocol import Float32Array, Int64Array

Search = Callable[[Float32Array, int], tuple[Float32Array, Int64Array]]
IP = faiss.METRIC_INNER_PRODUCT
WIDE = 104
"""The vectors of 100 units and their bias, filled up to what 26 parts divide."""


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


def product(kind: type[ApproximateIndex]) -> Callable[[Float32Array], Iterator[Setting]]:
    """One of the product's approximate indexes, with each of its breadths."""

    def build(vectors: Float32Array) -> Iterator[Setting]:
        index = kind.build(vectors)
        for breadth in kind.BREADTHS:
            index.widen(breadth)
            yield Setting(f"breadth {breadth}", index.search)

    return build


def faiss_flat(vectors: Float32Array) -> Iterator[Setting]:
    """FAISS's exact index."""
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    yield Setting("", flat.search)


def hnsw(vectors: Float32Array) -> Iterator[Setting]:
    """A graph of near neighbours."""
    long = same_length(vectors)
    index = faiss.IndexHNSWFlat(long.shape[1], 32, IP)
    index.hnsw.efConstruction = 200
    index.add(long)
    for breadth in (32, 48, 64, 96, 128, 256, 512):
        index.hnsw.efSearch = breadth
        yield Setting(f"efSearch {breadth}", _filling_up(index, long.shape[1]))


def ivf(vectors: Float32Array) -> Iterator[Setting]:
    """Cells as FAISS's guidelines have them: 4√n centres, all of them scored."""
    long = same_length(vectors)
    n_cells = int(4 * np.sqrt(len(long)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(long.shape[1]), long.shape[1], n_cells, IP)
    index.cp.max_points_per_centroid = 64
    index.train(long)
    index.add(long)
    for share in (64, 32, 16, 8, 4):
        index.nprobe = n_cells // share
        yield Setting(f"nprobe {index.nprobe}", _filling_up(index, long.shape[1]))


def wider_codes(vectors: Float32Array) -> Iterator[Setting]:
    """Codes of half the size: four coordinates to each 4 bits."""
    wide = _widened(vectors, WIDE)
    codes = faiss.IndexRefineFlat(faiss.IndexPQFastScan(WIDE, 26, 4, IP))
    codes.train(wide)
    codes.add(wide)
    for factor in (2, 4, 8, 16, 32):
        codes.k_factor = factor
        yield Setting(f"breadth {factor}", _filling_up(codes, WIDE))


def _filling_up(index: Any, dim: int) -> Search:
    return lambda queries, k: index.search(_widened(queries, dim), k)


def _widened(vectors: Float32Array, dim: int) -> Float32Array:
    wide = np.zeros((len(vectors), dim), dtype=np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide


CANDIDATES: Sequence[Candidate] = (
    Candidate("exact", exact),
    Candidate("codes", product(CodeIndex), up_to_items=100_000),
    Candidate("cells", product(CellIndex), from_items=10_000),
    Candidate("FAISS flat", faiss_flat, up_to_items=100_000),
    Candidate("HNSW", hnsw, from_items=10_000, up_to_items=100_000),
    Candidate("IVF, 4√n cells", ivf, from_items=10_000),
    Candidate("PQ26 FastScan", wider_codes, up_to_items=100_000),
)
