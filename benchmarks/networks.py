"""What cells, losses, samples, context and the sizes of things do for accuracy, each against the default.

Trained on the older part of a log and measured on the newer, validation parts only: the defaults may be
chosen by these figures. Every item is scored, so that no index has a part in it.
"""

import argparse
import re
import time
from dataclasses import dataclass, field, replace
from typing import Any, Final

from benchmarks.report import command, parser, print_table, say
from benchmarks.splits import Split
from index.exact import ExactIndex
from model.encoder import EncoderConfig
from model.evaluation import evaluate_next_items
from model.ranking import EncoderRanker
from model.threads import set_threads
from model.training import TrainingConfig, train
from streams.session import STATE_DTYPE


@dataclass(frozen=True, slots=True)
class Variant:
    """A network and how it is trained, beside the defaults."""

    name: str
    encoder: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


def _in_context(features: tuple[str, ...], *places: str) -> Variant:
    name = f"{', '.join(features)} at {', '.join(places)}"
    return Variant(name, {"context": features, "context_at": places})


def _settings(*more: Variant) -> tuple[Variant, ...]:
    """The default and what lies to both sides of it, each setting by itself."""
    wide, narrow = ({"n_units": n, "embedding_dim": n} for n in (160, 64))
    return (
        Variant("default"),
        Variant("4 passes", {}, {"n_epochs": 4}),
        Variant("16 passes", {}, {"n_epochs": 16}),
        Variant("dropout .2", {"dropout_embedding": 0.2, "dropout_hidden": 0.2}),
        Variant("dropout .5", {"dropout_embedding": 0.5, "dropout_hidden": 0.5}),
        Variant("64 units", narrow),
        Variant("160 units", wide),
        Variant("rate .004", {}, {"learning_rate": 0.004}),
        Variant("rate .016", {}, {"learning_rate": 0.016}),
        *more,
    )


SAMPLED: Final = {"full_softmax_up_to": 1}
GRU: Final = Variant("GRU", {"cell": "gru"})
VARIANTS: Final[dict[str, tuple[Variant, ...]]] = {
    "yoochoose100k": _settings(
        GRU,
        Variant("RNN", {"cell": "rnn"}),
        Variant("LSTM, 2 layers", {"n_layers": 2}),
        Variant("LSTM, separate embeddings", {"shared_embeddings": False}),
        Variant("cross-entropy, sampled", {}, SAMPLED),
        Variant("cross-entropy, in-batch only", {}, SAMPLED | {"n_negatives": 0}),
        Variant("BPR-max, λ .01", {}, {"loss": "bpr-max", "bpr_regularization": 0.01}),
        Variant(
            "BPR-max, λ .5, no cosine",
            {"normalized": False},
            {"loss": "bpr-max", "bpr_regularization": 0.5},
        ),
        Variant("TOP1-max", {}, {"loss": "top1-max"}),
        Variant("BPR", {}, {"loss": "bpr"}),
        Variant("TOP1", {}, {"loss": "top1"}),
        Variant("Adagrad .1, momentum .3", {}, {"optimizer": "adagrad", "learning_rate": 0.1}),
        _in_context(("gap", "hour"), "concat"),
        _in_context(("gap", "hour"), "output"),
    ),
    "serenade": _settings(GRU),
    "yoochoose64, newest quarter": _settings(GRU),
    "yoochoose64": (Variant("default"), GRU, Variant("4 passes", {}, {"n_epochs": 4})),
    "trivago": _settings(
        *(_in_context(("kind", "gap"), place) for place in ("concat", "product", "recurrence", "output")),
        _in_context(("kind", "gap"), "concat", "output"),
    ),
    "shoppers, 10,000 clicks": _settings(),
    "shoppers, 60,000 clicks": _settings(),
}


def main() -> None:
    """Train, measure and print a line for each variant and seed."""
    flags = parser(__doc__)
    flags.add_argument("--only", default="", help="a pattern: variants whose 'log: name' has it")
    flags.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = flags.parse_args()
    set_threads(1)
    lines: list[dict[str, Any]] = []
    for log in VARIANTS:
        lines += measure(log, asked)
    print_table(lines)


def measure(log: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Lines of one log."""
    chosen = [one for one in VARIANTS[log] if re.search(asked.only, f"{log}: {one.name}")]
    if not chosen:
        return []
    split = Split.read(log, asked.data)
    n_items = len(split.vocabulary)
    lines = []
    for variant in chosen:
        config = replace(EncoderConfig(kinds=split.coder.kinds), **variant.encoder)
        for seed in asked.seeds:
            began = time.process_time()
            training = TrainingConfig(seed=seed, **variant.training)
            encoder = train(split.older, n_items, config, training)
            cpu_s = time.process_time() - began
            search = ExactIndex(encoder.item_vectors()).search
            ranker = EncoderRanker(encoder, search, split.vocabulary.counts, STATE_DTYPE)
            found = evaluate_next_items(ranker, split.newer)
            accuracy = {name: round(value, 4) for name, value in found.as_metrics().items()}
            line = {"log": log, "variant": variant.name, "seed": seed} | accuracy
            lines.append(line | {"targets": found.targets, "cpu_s": round(cpu_s)})
            say("  ".join(f"{key} {value}" for key, value in lines[-1].items()))
    return lines


if __name__ == "__main__":
    command(main)
