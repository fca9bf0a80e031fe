"""The order is learnt from sessions that nothing it orders has seen; what is served has seen them all."""

import numpy as np
import pytest

from model.blend_memory import ItemMemory
from model.blend_training import learn_blend
from model.encoder import EncoderConfig
from model.sequences import Sequences
from model.threads import set_threads
from model.training import TrainingConfig, train
from model.vocabulary import Vocabulary
from streams.learning import Order, learn_order
from tests.model.markov import markov_sessions

N_ITEMS = 40
ENCODER = EncoderConfig(n_units=8, embedding_dim=8)
TRAINING = TrainingConfig(n_epochs=2)
NEW_PAIR = (3, 4)
"""Clicked one after the other in the newest sessions only."""


def sessions() -> Sequences:
    log = markov_sessions(500, N_ITEMS, 0.0, length=6)
    rows = log.rows.copy()
    after = (rows[:-1] == NEW_PAIR[0]) & (rows[1:] == NEW_PAIR[1])
    assert not after.any()
    rows[-300:].reshape(-1, 6)[:, :2] = NEW_PAIR
    return Sequences(rows, log.starts)


@pytest.fixture(scope="module")
def order() -> Order:
    set_threads(1)
    return learn_order(sessions(), N_ITEMS, ENCODER, TRAINING)


def links(memory: ItemMemory, source: int) -> list[int]:
    targets: list[int] = memory.targets[memory.starts[source] : memory.starts[source + 1]].tolist()
    return targets


def test_what_is_ordered_has_not_seen_what_the_order_is_learnt_from(order: Order) -> None:
    older, newest = sessions().split_newest(0.1)
    assert order.blend is not None
    assert order.newest.rows.tolist() == newest.rows.tolist()
    np.testing.assert_array_equal(
        order.encoder.item_vectors(),
        train(older, N_ITEMS, ENCODER, TrainingConfig(n_epochs=1)).item_vectors(),
    )
    np.testing.assert_array_equal(order.memory.forward, ItemMemory.remember(older, N_ITEMS).forward)
    assert NEW_PAIR[1] not in links(order.memory, NEW_PAIR[0])


def test_what_is_served_has_seen_everything(order: Order) -> None:
    ranking = order.ranking(sessions())
    assert ranking is not None
    assert ranking.blend is order.blend
    assert NEW_PAIR[1] in links(ranking.memory, NEW_PAIR[0])


def test_what_is_measured_was_not_learnt_from(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[Sequences] = []

    def remember(
        memory: ItemMemory, encoder: object, search: object, held_out: Sequences, *rest: object
    ) -> object:
        taught.append(held_out)
        return learn_blend(memory, encoder, search, held_out, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("streams.learning.learn_blend", remember)
    vocabulary = Vocabulary([f"item-{n}" for n in range(N_ITEMS)], np.ones(N_ITEMS, dtype=np.int64))
    _, _, measured = order.measurable(vocabulary)
    older, newer = order.newest.split_newest(0.5)
    assert [one.rows.tolist() for one in taught] == [older.rows.tolist()]
    assert measured.rows.tolist() == newer.rows.tolist()
