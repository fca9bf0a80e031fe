"""Learn the served ranking from a log: its order from the newest sessions, everything else from all.

The blend may only learn from clicks that what it orders has not seen, yet what is served must know the newest
clicks. So an encoder and a memory are made without the newest sessions, and the blend learns over them; then
both are made once more from all sessions, and the blend goes along. The first encoder takes half the passes,
for the order that is learnt over it is as good (docs/model.md has the figures).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from index.build import build_index
from index.protocol import ItemIndex
from model.blend import Blend, BlendedRanking
from model.blend_memory import ItemMemory
from model.blend_ranker import BlendRanker
from model.blend_training import learn_blend
from model.encoder import EncoderConfig, SessionEncoder
from model.ranking import EncoderRanker, PopularRanker, Ranker, sample_queries
from model.sequences import UNKNOWN, Sequences
from model.training import Checkpoint, OnProgress, TrainingConfig, train
from model.vocabulary import Vocabulary
from streams.session import STATE_DTYPE

HELD_OUT_SHARE: Final = 0.1
"""The newest share of the sessions, which the blend learns from."""


@dataclass(frozen=True, slots=True)
class Order:
    """A blend, and what it was learnt over: all made without the ``newest`` sessions but the blend itself.

    ``blend`` is None where the newest sessions are too few to learn from.
    """

    blend: Blend | None
    encoder: SessionEncoder
    index: ItemIndex
    memory: ItemMemory
    older: Sequences
    newest: Sequences
    seed: int

    def ranking(self, sessions: Sequences) -> BlendedRanking | None:
        """The ranking to serve: the same order over a memory of all sessions."""
        if self.blend is None:
            return None
        return BlendedRanking(ItemMemory.remember(sessions, self.memory.n_items), self.blend)

    def measurable(self, vocabulary: Vocabulary) -> tuple[Ranker, PopularRanker, Sequences]:
        """What can be measured without having learnt from what it is measured on, and those sessions.

        The order is learnt once more, from the older half of the newest sessions; the other half is left.
        Beside it stands what was popular before all of them.
        """
        older, newest = self.newest.split_newest(0.5)
        blend = learn_blend(self.memory, self.encoder, self.index.search, older, self.seed, STATE_DTYPE)
        parts = (self.encoder, self.index.search, vocabulary.counts)
        ranker: Ranker = EncoderRanker(*parts, STATE_DTYPE)
        if blend is not None:
            ranker = BlendRanker(*parts, BlendedRanking(self.memory, blend), STATE_DTYPE)
        counts = np.bincount(self.older.rows[self.older.rows != UNKNOWN], minlength=self.memory.n_items)
        return ranker, PopularRanker(counts), newest


def learn_order(
    sessions: Sequences,
    n_items: int,
    encoder: EncoderConfig,
    training: TrainingConfig,
    *,
    on_training: OnProgress | None = None,
    on_order: Callable[[], None] = lambda: None,
    checkpoint: Checkpoint | None = None,
) -> Order:
    """Learn a blend from the newest of the sessions.

    ``on_training`` follows the encoder, which ``checkpoint`` keeps, and ``on_order`` is called when that is
    done. Raises ``TrainingError`` where an encoder cannot be trained.
    """
    older, newest = sessions.split_newest(HELD_OUT_SHARE)
    half = replace(training, n_epochs=-(-training.n_epochs // 2))
    trained = train(older, n_items, encoder, half, on_progress=on_training, checkpoint=checkpoint)
    on_order()
    index = build_index(trained.item_vectors(), sample_queries(trained, older))
    memory = ItemMemory.remember(older, n_items)
    blend = learn_blend(memory, trained, index.search, newest, training.seed, STATE_DTYPE)
    return Order(blend, trained, index, memory, older, newest, training.seed)
