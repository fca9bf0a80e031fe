"""What each part of the model is worth: all of it, then each part removed in turn, on logs cut by time.

Parts of the network are removed before it is trained, and its own order (`lstm`) and the served one
(`nextclick`) are measured; parts of the ranking are removed from one trained network, and only the order is
learnt again. Every item is scored, so that no index has a part in it. No test file is looked at.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from benchmarks.report import Report, command, parser, print_table, say
from benchmarks.splits import Split
from index.exact import ExactIndex
from model.arrays import Int64Array
from model.blend import Blend, BlendedRanking
from model.blend_candidates import FEATURES
from model.blend_memory import ItemMemory
from model.blend_ranker import BlendRanker
from model.blend_training import collect, fit
from model.encoder import EncoderConfig, SessionEncoder
from model.evaluation import evaluate_next_items
from model.metrics import Accuracy
from model.ranking import EncoderRanker, Search
from model.threads import set_threads
from model.training import TrainingConfig, train
from streams.learning import Order, learn_order
from streams.session import STATE_DTYPE

LOGS: Final = ("yoochoose100k", "serenade", "yoochoose64, newest quarter")


@dataclass(frozen=True, slots=True)
class Removed:
    """A network without a part of it, or trained without."""

    what: str
    encoder: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    only_sampled: bool = False


NETWORK: Final = (
    Removed("cosine: plain inner products", {"normalized": False}),
    Removed("one embedding for what is read and scored", {"shared_embeddings": False}),
    Removed("bias of the items", {"output_bias": False}),
    Removed("dropout", {"dropout_embedding": 0.0, "dropout_hidden": 0.0}),
    Removed("label smoothing", {}, {"label_smoothing": 0.0}),
    Removed("the rate's rise and fall", {}, {"warm_up": 0.0, "final_share": 1.0}),
    Removed("small updates: 128 sessions side by side", {}, {"n_lanes": 128}),
    Removed("drawn negatives: the window's own alone", {}, {"n_negatives": 0}, only_sampled=True),
    Removed("logQ", {}, {"log_q": 0.0}, only_sampled=True),
)
RANKING: Final = {
    "the encoder's score (its items stay candidates)": ("lstm", "confidence"),
    "links forward": ("forward", "forward-last"),
    "links in either order": ("together",),
    "popularity": ("popularity", "recent-popularity"),
    "places in the session, repeats": ("last", "second-last", "third-last", "older", "times"),
    "length and variety of the session": ("length", "variety"),
}


def main() -> None:
    """Measure, print and write."""
    flags = parser(__doc__)
    flags.add_argument("--logs", nargs="+", choices=LOGS, default=list(LOGS))
    flags.add_argument("--seeds", type=int, nargs="+", default=[1])
    flags.add_argument("--alone", action="store_true", help="of the network's parts: its own order only")
    asked = flags.parse_args()
    set_threads(1)
    report = Report("ablation", {"logs": asked.logs, "seeds": asked.seeds}, asked.results, asked.note)
    lines = [line for log in asked.logs for seed in asked.seeds for line in _of_log(log, seed, asked)]
    report.body = {"figures": lines}
    print_table(lines)
    report.write()


def _of_log(log: str, seed: int, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    split = Split.read(log, asked.data)
    named = {"log": log, "targets": split.newer.n_targets, "seed": seed}
    for without, accuracies in remove_each(split, seed, asked.alone):
        line: dict[str, Any] = named | {"without": without}
        for ranking, found in accuracies.items():
            line[f"{ranking}_recall"] = None if found is None else round(found.recall, 4)
            line[f"{ranking}_mrr"] = None if found is None else round(found.mrr, 4)
        say("  ".join(f"{key} {value}" for key, value in line.items()))
        yield line


def remove_each(
    split: Split, seed: int, alone: bool = False
) -> Iterator[tuple[str, dict[str, Accuracy | None]]]:
    """What was removed, and the accuracy of the network's own order and of the served one."""
    whole = Parts.train(split, Removed("nothing"), seed)
    yield "nothing", {"lstm": whole.own(), "nextclick": whole.served()}
    is_sampled = len(split.vocabulary) > TrainingConfig().full_softmax_up_to
    for removed in NETWORK:
        if not removed.only_sampled or is_sampled:
            parts = Parts.train(split, removed, seed, alone)
            yield removed.what, {"lstm": parts.own(), "nextclick": None if alone else parts.served()}
    for what, features in RANKING.items():
        yield what, {"lstm": None, "nextclick": whole.without(features).served()}
    unlinked = replace(whole, memory=_unlinked(whole.memory), past=_unlinked(whole.past))
    yield "all links, as candidates too", {"lstm": None, "nextclick": unlinked.without().served()}


@dataclass(frozen=True, slots=True)
class Parts:
    """What a served ranking is made of.

    Attributes:
        split: what it is trained and measured on.
        encoder: trained on all of the older sessions.
        memory: of them.
        order: what the blend was learnt over, without the newest of them; None where it was not.
        past: the memory that it was learnt over.
        blend: None where none was learnt.
    """

    split: Split
    encoder: SessionEncoder
    memory: ItemMemory
    order: Order | None
    past: ItemMemory
    blend: Blend | None

    @classmethod
    def train(cls, split: Split, removed: Removed, seed: int, alone: bool = False) -> "Parts":
        """As a trainer does; ``alone`` leaves the order out."""
        n_items = len(split.vocabulary)
        config = replace(EncoderConfig(), **removed.encoder)
        training = TrainingConfig(seed=seed, **removed.training)
        encoder = train(split.older, n_items, config, training)
        memory = ItemMemory.remember(split.older, n_items)
        if alone:
            return cls(split, encoder, memory, None, memory, None)
        order = learn_order(split.older, n_items, config, training)
        return cls(split, encoder, memory, order, order.memory, order.blend)

    def without(self, features: tuple[str, ...] = ()) -> "Parts":
        """The order learnt again, as if there were no such features."""
        order = self.order
        if order is None:
            raise ValueError("no order was learnt over these")
        gone = [FEATURES.index(feature) for feature in features]
        examples = collect(self.past, order.encoder, order.index.search, order.newest, STATE_DTYPE)
        examples.features[:, gone] = 0.0
        blend = fit(examples, order.seed)
        linear, first = blend.linear.copy(), blend.first.copy()
        linear[gone], first[:, gone] = 0.0, 0.0
        return replace(self, blend=replace(blend, linear=linear, first=first))

    def own(self) -> Accuracy:
        """Of the network's own order."""
        return evaluate_next_items(EncoderRanker(*self._found(), STATE_DTYPE), self.split.newer)

    def served(self) -> Accuracy | None:
        """Of the order that was learnt."""
        if self.blend is None:
            return None
        ranking = BlendedRanking(self.memory, self.blend)
        return evaluate_next_items(BlendRanker(*self._found(), ranking, STATE_DTYPE), self.split.newer)

    def _found(self) -> tuple[SessionEncoder, Search, Int64Array]:
        search = ExactIndex(self.encoder.item_vectors()).search
        return self.encoder, search, self.split.vocabulary.counts


def _unlinked(memory: ItemMemory) -> ItemMemory:
    """The same popularity, and no links."""
    nothing = np.empty(0, dtype=np.float32)
    return replace(
        memory,
        starts=np.zeros_like(memory.starts),
        targets=np.empty(0, dtype=np.int32),
        forward=nothing,
        together=nothing,
    )


if __name__ == "__main__":
    command(main)
