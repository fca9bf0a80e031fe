"""A real snapshot that is small enough for unit tests: twelve items, eight units, every item scored."""

import numpy as np
import torch

from index.exact import ExactIndex
from model.blend import Blend, BlendedRanking
from model.blend_candidates import FEATURES
from model.blend_memory import ItemMemory
from model.encoder import EncoderConfig, SessionEncoder
from model.sequences import Sequences
from model.threads import set_threads
from model.vocabulary import Vocabulary
from streams.snapshot import Manifest, Provenance, Snapshot

ITEMS = tuple(f"item-{n:02}" for n in range(12))

set_threads(1)  # as a worker does; several threads on matrices of this size only wait for each other
CONFIG = EncoderConfig(n_units=8, embedding_dim=6, dropout_embedding=0.25, dropout_hidden=0.25)


def tiny_parts(
    seed: int = 0, items: tuple[str, ...] = ITEMS, config: EncoderConfig = CONFIG
) -> tuple[SessionEncoder, Vocabulary, ExactIndex]:
    encoder = SessionEncoder(config, len(items), seed=seed).eval()
    counts = np.arange(len(items), 0, -1, dtype=np.int64) * 10
    return encoder, Vocabulary(items, counts), ExactIndex(encoder.item_vectors())


def tiny_snapshot(
    version: str = "v1",
    seed: int = 0,
    items: tuple[str, ...] = ITEMS,
    config: EncoderConfig = CONFIG,
    *,
    blended: bool = False,
) -> Snapshot:
    """A snapshot that was never on disk; another seed is another model, other items another catalogue."""
    encoder, vocabulary, index = tiny_parts(seed, items, config)
    manifest = Manifest(version, 0, len(items), index.kind, config.to_dict(), {}, Provenance())
    ranking = tiny_ranking(seed, len(items)) if blended else None
    return Snapshot(version, encoder, vocabulary, index, manifest, "", "", ranking)


def with_drawn_context(snapshot: Snapshot) -> Snapshot:
    """The snapshot with weights for its context, which by themselves begin without an effect."""
    context = snapshot.encoder.context
    assert context is not None
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for table in context.parameters():
            table.normal_(0.0, 0.3, generator=generator)
    return snapshot


def tiny_ranking(seed: int = 0, n_items: int = len(ITEMS)) -> BlendedRanking:
    """A ranking that nobody learnt: links of sessions drawn by the seed, and a network of random weights."""
    random = np.random.default_rng(seed)
    sessions = [random.integers(0, n_items, random.integers(2, 6)).tolist() for _ in range(40)]
    memory = ItemMemory.remember(Sequences.from_lists(sessions), n_items)
    shapes = {
        "linear": (len(FEATURES),),
        "first": (5, len(FEATURES)),
        "first_bias": (5,),
        "second": (5, 5),
        "second_bias": (5,),
        "output": (5,),
    }
    weights = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return BlendedRanking(memory, Blend(**weights))
