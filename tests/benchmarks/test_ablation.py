"""A part that is removed is gone: the served order no longer depends on it."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.ablation import NETWORK, RANKING, Parts, Removed, _unlinked
from benchmarks.splits import Split
from model.blend_candidates import FEATURES
from model.encoder import EncoderConfig
from model.encoder_context import ContextCoder
from model.training import TrainingConfig
from model.vocabulary import Vocabulary
from tests.model.markov import markov_sessions

SMALL = {"n_units": 8, "embedding_dim": 8}


@pytest.fixture(scope="module")
def whole() -> Parts:
    older, newer = markov_sessions(500, 40, 0.3, length=6), markov_sessions(40, 40, 0.3, length=6, seed=1)
    vocabulary = Vocabulary([f"item-{n}" for n in range(40)], np.ones(40, dtype=np.int64))
    split = Split(vocabulary, ContextCoder(), older, newer)
    return Parts.train(split, Removed("nothing", SMALL, {"n_epochs": 2}), seed=1)


def test_every_part_of_the_network_can_be_removed() -> None:
    for removed in NETWORK:
        assert replace(EncoderConfig(), **removed.encoder) != EncoderConfig() or removed.training
        assert replace(TrainingConfig(), **removed.training) != TrainingConfig() or removed.encoder


def test_every_feature_belongs_to_one_part_of_the_ranking() -> None:
    assert sorted(feature for part in RANKING.values() for feature in part) == sorted(FEATURES)


def test_a_feature_that_is_removed_has_no_weight(whole: Parts) -> None:
    blend = whole.without(("forward", "forward-last")).blend
    assert blend is not None
    gone = [FEATURES.index("forward"), FEATURES.index("forward-last")]
    others = [n for n in range(len(FEATURES)) if n not in gone]
    assert not blend.linear[gone].any()
    assert not blend.first[:, gone].any()
    assert blend.first[:, others].any(axis=0).all()


def test_with_nothing_removed_the_order_is_the_trainer_s(whole: Parts) -> None:
    again = whole.without().blend
    assert again is not None
    assert whole.blend is not None
    np.testing.assert_array_equal(again.first, whole.blend.first)


def test_without_links_what_they_know_is_lost(whole: Parts) -> None:
    unlinked = replace(whole, memory=_unlinked(whole.memory), past=_unlinked(whole.past)).without()
    served, lost = whole.served(), unlinked.served()
    assert served is not None
    assert lost is not None
    assert served.mrr > lost.mrr
