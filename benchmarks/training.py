"""How fast a model is trained: clicks a second, the time until it is nearly as good as it gets, and memory.

On the older part of a public log with the default settings, with one thread and with two; after every pass
the newer part is foretold, every item scored, and the clock stands meanwhile. Then 10 million made-up clicks
are trained on for a while in a process of their own, whose memory is asked for.
"""

import argparse
import gc
import multiprocessing
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Report, command, parser, print_table, say
from benchmarks.splits import Split
from index.exact import ExactIndex
from model.allocator import return_freed_memory
from model.encoder import EncoderConfig, SessionEncoder
from model.evaluation import evaluate_next_items
from model.ranking import EncoderRanker
from model.threads import set_threads
from model.training import Progress, TrainingConfig, train
from model.vocabulary import Vocabulary
from streams.sequencing import cut_sessions
from streams.session import STATE_DTYPE
from streams.shoppers import generate_columns

LOG: Final = "yoochoose100k"
NEARLY: Final = 0.99
"""This share of the best Recall@20 is nearly as good as it gets."""
OFFICIAL_CLICKS_PER_S: Final = 7_200
OFFICIAL_PASSES: Final = 10
"""The official PyTorch GRU4Rec as it is set: 100 units, batches of 32, on two cores of such a machine."""
SHARE_OF_OFFICIAL: Final = 1 / 3
MOST_MB_A_MILLION: Final = 400.0


def main() -> None:
    """Measure, print and write."""
    flags = parser(__doc__)
    flags.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    flags.add_argument("--seeds", type=int, nargs="+", default=[1])
    flags.add_argument("--clicks", type=int, nargs="*", default=[1_000_000, 10_000_000], help="made up")
    flags.add_argument("--items", type=int, default=100_000, help="of the made-up clicks")
    flags.add_argument("--seconds", type=float, default=60, help="of training on the made-up clicks")
    asked = flags.parse_args()
    split = Split.read(LOG, asked.data)
    n_clicks = split.older.n_clicks
    official_s = OFFICIAL_PASSES * n_clicks / OFFICIAL_CLICKS_PER_S
    conditions = {"log": LOG, "clicks": n_clicks, "items": len(split.vocabulary)}
    conditions |= {"targets": split.newer.n_targets, "official_gru4rec_s": round(official_s, 1)}
    conditions |= {"made_up_items": asked.items, "seconds_on_made_up_clicks": asked.seconds}
    report = Report("training", conditions, asked.results, asked.note)
    lines = [measure(split, n, seed) for n in asked.threads for seed in asked.seeds]
    memory = [measure_memory(n, asked) for n in asked.clicks]
    report.body = {"speed": lines, "memory": memory}
    print_table([{name: value for name, value in line.items() if name != "recall"} for line in lines])
    print()
    print_table(memory)
    mark(report, official_s)
    report.write()


def mark(report: Report, official_s: float) -> None:
    """Set the figures beside what they should be."""
    allowed_s = official_s * SHARE_OF_OFFICIAL
    for n in sorted({line["threads"] for line in report.body["speed"]}):
        slowest = max(line["nearly_s"] for line in report.body["speed"] if line["threads"] == n)
        what = f"{n} thread{'s' if n > 1 else ''}: seconds to {NEARLY} of the best Recall@20"
        report.mark(what, f"<= {allowed_s:.1f}", slowest, slowest <= allowed_s)
    if report.body["memory"]:
        most = max(report.body["memory"], key=lambda line: int(line["clicks"]))
        per_million = most["training_mb"] / most["clicks"] * 1e6
        what = f"{most['clicks']:,} clicks: MB that training takes for a million"
        report.mark(what, f"<= {MOST_MB_A_MILLION:g}", per_million, per_million <= MOST_MB_A_MILLION)


def measure(split: Split, n_threads: int, seed: int) -> dict[str, Any]:
    """Train once, and measure after every pass; seconds are of training alone."""
    say(f"training with {n_threads} threads, seed {seed}")
    set_threads(n_threads)
    recalls: list[float] = []
    ends_s: list[float] = []
    ends_cpu_s: list[float] = []
    clicks_per_pass = split.older.n_clicks
    began, cpu_began, away_s, away_cpu_s = time.perf_counter(), time.process_time(), 0.0, 0.0

    def look(epoch: int, encoder: SessionEncoder) -> None:
        nonlocal away_s, away_cpu_s
        left, left_cpu = time.perf_counter(), time.process_time()
        ends_s.append(left - began - away_s)
        ends_cpu_s.append(left_cpu - cpu_began - away_cpu_s)
        search = ExactIndex(encoder.item_vectors()).search
        ranker = EncoderRanker(encoder, search, split.vocabulary.counts, STATE_DTYPE)
        recalls.append(evaluate_next_items(ranker, split.newer).recall)
        away_s += time.perf_counter() - left
        away_cpu_s += time.process_time() - left_cpu

    config = TrainingConfig(seed=seed)
    train(split.older, len(split.vocabulary), EncoderConfig(), config, on_epoch=look)
    seconds = ends_s[-1]
    nearly = next(n for n, recall in enumerate(recalls) if recall >= NEARLY * max(recalls))
    return {
        "threads": n_threads,
        "seed": seed,
        "clicks_per_s": round(config.n_epochs * clicks_per_pass / seconds),
        "foretold_per_s": round(config.n_epochs * split.older.n_targets / seconds),
        "passes": config.n_epochs,
        "seconds": round(seconds, 2),
        "cores_busy": round(ends_cpu_s[-1] / seconds, 2),
        "best": round(max(recalls), 4),
        "nearly_after_passes": nearly + 1,
        "nearly_s": round(ends_s[nearly], 2),
        "nearly_cpu_s": round(ends_cpu_s[nearly], 2),
        "recall": [round(recall, 4) for recall in recalls],
    }


def measure_memory(n_clicks: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Train on made-up clicks in a process of its own."""
    say(f"{n_clicks:,} made-up clicks")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(train_for_a_while, (n_clicks, asked.items, asked.seconds))


class _Enough(Exception):
    """The time is over."""


def train_for_a_while(n_clicks: int, n_items: int, seconds: float) -> dict[str, Any]:
    """Make up clicks, cut them into sessions, and train for so many seconds or a pass, with one thread."""
    set_threads(1)
    began = time.perf_counter()
    clicks = generate_columns(1, n_clicks, n_items=n_items, n_shoppers=20_000, clicks_per_s=500.0)
    generated_s, clicks_mb = time.perf_counter() - began, _forget_peak_mb()
    began = time.perf_counter()
    vocabulary = Vocabulary.from_clicks(clicks.item_ids)
    sessions = cut_sessions(clicks, vocabulary, 30 * 60_000).drop_short(2)
    cut_s, cut_mb = time.perf_counter() - began, _peak_mb()
    del clicks
    sessions_mb = _forget_peak_mb()
    began = time.perf_counter()
    latest: Progress | None = None

    def follow(progress: Progress) -> None:
        nonlocal latest
        latest = progress
        if time.perf_counter() - began > seconds:
            raise _Enough

    with suppress(_Enough):
        train(sessions, len(vocabulary), training_config=TrainingConfig(n_epochs=1), on_progress=follow)
    if latest is None:
        raise RuntimeError("training told nothing of itself")
    return {
        "clicks": n_clicks,
        "items": len(vocabulary),
        "sessions": len(sessions),
        "made_up_s": round(generated_s, 1),
        "clicks_mb": round(clicks_mb),
        "cut_s": round(cut_s, 1),
        "cut_peak_mb": round(cut_mb),
        "sessions_mb": round(sessions_mb),
        "training_peak_mb": round(_peak_mb()),
        "training_mb": round(_peak_mb() - sessions_mb),
        "share_of_a_pass": round(latest.clicks_done / latest.clicks_total, 3),
        "foretold_per_s": round(latest.clicks_per_s),
    }


def _forget_peak_mb() -> float:
    """Give freed memory back and let the peak begin anew; what the process holds now."""
    gc.collect()
    return_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_mb()


def _peak_mb() -> float:
    """The most that this process held since the peak began."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    command(main)
