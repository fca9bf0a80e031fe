"""What cells, losses, samples and the context of clicks do for accuracy, each against the default.

Trained on the older part of a log and measured on the newer, validation parts only: the defaults may be
chosen by these figures. Every item is scored, so that no index has a part in it.
"""

import argparse
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.report import command, parser, print_table, say
from index.exact import ExactIndex
from model.encoder import EncoderConfig
from model.encoder_context import ContextCoder
from model.evaluation import evaluate_next_items
from model.ranking import EncoderRanker
from model.threads import set_threads
from model.training import TrainingConfig, train
from model.vocabulary import Vocabulary
from streams.clickfile import ClickColumns, Columns, read_click_file
from streams.sequencing import cut_sessions
from streams.session import STATE_DTYPE

TRIVAGO: Final = Columns("session_id", "item_id", "timestamp", "event_type")
NEWEST: Final = 0.2


@dataclass(frozen=True, slots=True)
class Variant:
    """A network and how it is trained, beside the defaults."""

    name: str
    encoder: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


def yoochoose(folder: Path) -> tuple[ClickColumns, ClickColumns]:
    """The older and the newer clicks of yoochoose100k's training file."""
    return read_click_file(folder / "yoochoose100k" / "train_tr.tsv.gz"), read_click_file(
        folder / "yoochoose100k" / "train_valid.tsv.gz"
    )


def trivago(folder: Path) -> tuple[ClickColumns, ClickColumns]:
    """Trivago's actions on items with their kinds; the sessions that end last are the newer part."""
    clicks = read_click_file(folder / "trivago" / "events.csv.gz", TRIVAGO)
    ends = {session_id: place for place, session_id in enumerate(clicks.session_ids)}
    by_end = sorted(ends, key=ends.__getitem__)
    older = set(by_end[: round(len(by_end) * (1 - NEWEST))])
    is_older = np.array([session_id in older for session_id in clicks.session_ids])
    return _part(clicks, is_older), _part(clicks, ~is_older)


def _part(clicks: ClickColumns, chosen: Any) -> ClickColumns:
    return ClickColumns(
        clicks.session_ids[chosen],
        clicks.item_ids[chosen],
        clicks.time_ms[chosen],
        clicks.each_kind()[chosen],
    )


def _in_context(features: tuple[str, ...], *places: str) -> Variant:
    name = f"{', '.join(features)} at {', '.join(places)}"
    return Variant(name, {"context": features, "context_at": places})


SAMPLED: Final = {"full_softmax_up_to": 1}
LOGS: Final[dict[str, tuple[Callable[[Path], tuple[ClickColumns, ClickColumns]], tuple[Variant, ...]]]] = {
    "yoochoose100k": (
        yoochoose,
        (
            Variant("LSTM"),
            Variant("GRU", {"cell": "gru"}),
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
    ),
    "trivago": (
        trivago,
        (
            Variant("no context"),
            *(_in_context(("kind", "gap"), place) for place in ("concat", "product", "recurrence", "output")),
            _in_context(("kind", "gap"), "concat", "output"),
        ),
    ),
}


def main() -> None:
    """Train, measure and print a line for each variant and seed."""
    flags = parser(__doc__)
    flags.add_argument("--only", default="", help="a pattern: variants whose 'log: name' has it")
    flags.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = flags.parse_args()
    set_threads(1)
    lines: list[dict[str, Any]] = []
    for log in LOGS:
        lines += measure(log, asked)
    print_table(lines)


def measure(log: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Lines of one log."""
    read, variants = LOGS[log]
    chosen = [variant for variant in variants if re.search(asked.only, f"{log}: {variant.name}")]
    if not chosen:
        return []
    older, newer = read(asked.data)
    vocabulary = Vocabulary.from_clicks(older.item_ids)
    coder = ContextCoder.fit(older.each_kind())
    sessions = cut_sessions(older, vocabulary, None, coder)
    held_out = cut_sessions(newer, vocabulary, None, coder).drop_unknown(min_length=2)
    lines = []
    for variant in chosen:
        config = replace(EncoderConfig(kinds=coder.kinds), **variant.encoder)
        for seed in asked.seeds:
            began = time.process_time()
            training = TrainingConfig(seed=seed, **variant.training)
            encoder = train(sessions, len(vocabulary), config, training)
            cpu_s = time.process_time() - began
            search = ExactIndex(encoder.item_vectors()).search
            ranker = EncoderRanker(encoder, search, vocabulary.counts, STATE_DTYPE)
            found = evaluate_next_items(ranker, held_out)
            accuracy = {name: round(value, 4) for name, value in found.as_metrics().items()}
            line = {"log": log, "variant": variant.name, "seed": seed} | accuracy
            lines.append(line | {"targets": found.targets, "cpu_s": round(cpu_s)})
            say("  ".join(f"{key} {value}" for key, value in lines[-1].items()))
    return lines


if __name__ == "__main__":
    command(main)
