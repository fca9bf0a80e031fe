"""The tables of accuracy, of training and of the model's parts, made from the newest results, as Markdown."""

from collections.abc import Iterator, Sequence
from statistics import mean

from benchmarks.figures import conditions
from benchmarks.kept import Found, Results, newest
from benchmarks.report import markdown

RANKINGS = ("lstm", "nextclick")


def accuracy(results: Results) -> Iterator[str]:
    """Every method on every log, with intervals, and what the first one has beyond it."""
    one = newest(results, "accuracy")
    lines: Sequence[Found] = [] if one is None else one["figures"]
    yield from markdown(
        [
            {
                "log, targets": f"{line['log']}, {line['targets']:,}",
                "method": f"`{line['method']}`",
                "Recall@20": _with_interval(line, "recall@20"),
                "MRR@20": _with_interval(line, "mrr@20"),
                "worst seed": f"{line['worst_recall@20']:.4f} / {line['worst_mrr@20']:.4f}",
                "the first has more, Recall@20": _difference(line["first_is_better_recall@20"]),
                "the first has more, MRR@20": _difference(line["first_is_better_mrr@20"]),
                "coverage": f"{line['coverage@20']:.1%}",
                "popularity bias": f"{line['popularity_bias@20']:.2f}",
            }
            for line in lines
        ]
    )
    if one is not None:
        yield ""
        yield from markdown(
            [
                {"what": mark["what"], "mark": mark["mark"], "measured": f"{mark['measured']:.4f}"}
                for mark in one["marks"]
            ]
        )
        yield ""
        for said in dict.fromkeys(line["command"] for line in lines):
            yield f"`{said}`  "
        yield from conditions([one])


def best_of_each(results: Results) -> Iterator[str]:
    """Recall@20 / MRR@20 of every method, a line for each log."""
    one = newest(results, "accuracy")
    lines: Sequence[Found] = [] if one is None else one["figures"]
    rows: dict[str, dict[str, str]] = {}
    for line in lines:
        row = rows.setdefault(line["log"], {"log": line["log"], "targets": f"{line['targets']:,}"})
        row[f"`{line['method']}`"] = f"{line['recall@20']:.3f} / {line['mrr@20']:.3f}"
    yield from markdown(list(rows.values()))


def _with_interval(line: Found, metric: str) -> str:
    low, high = line[f"interval_{metric}"]
    return f"{line[metric]:.4f} [{low:.4f}, {high:.4f}]"


def _difference(tested: Found | None) -> str:
    if tested is None:
        return ""
    return f"{tested['difference']:+.4f} [{tested['low']:+.4f}, {tested['high']:+.4f}]"


def training(results: Results) -> Iterator[str]:
    """How fast a log is learnt with each number of threads, and the memory of many clicks."""
    one = newest(results, "training")
    if one is None:
        yield from markdown([])
        return
    names = {
        "threads": "threads",
        "clicks_per_s": "clicks/s",
        "cores_busy": "cores busy",
        "passes": "passes",
        "seconds": "seconds",
        "nearly_after_passes": "passes to .99 of the best",
        "nearly_s": "seconds to it",
        "nearly_cpu_s": "of CPU",
        "best": "best Recall@20",
    }
    yield from markdown([{name: line[key] for key, name in names.items()} for line in one["speed"]])
    if one["memory"]:
        names = {
            "clicks": "made-up clicks",
            "items": "items",
            "cut_s": "cutting sessions, s",
            "cut_peak_mb": "its peak, MB",
            "sessions_mb": "before training, MB",
            "training_peak_mb": "training's peak, MB",
            "share_of_a_pass": "of a pass",
        }
        yield ""
        yield from markdown([{name: line[key] for key, name in names.items()} for line in one["memory"]])
    yield ""
    yield from conditions([one])


def ablation(results: Results) -> Iterator[str]:
    """What is lost without each part: Recall@20 / MRR@20 of both rankings, means over the seeds.

    Each log by the newest run that looked at it.
    """
    by_log: dict[str, list[Found]] = {}
    for run in results.get("ablation", ()):
        for log in {line["log"] for line in run["figures"]}:
            by_log[log] = [line for line in run["figures"] if line["log"] == log]
    if not by_log:
        yield from markdown([])
        return
    logs = sorted(by_log)
    lines = [line for log in logs for line in by_log[log]]
    parts = dict.fromkeys(line["without"] for line in lines)
    whole = {log: _accuracy(lines, log, "nothing") for log in logs}
    rows = []
    for part in parts:
        row = {"without": part}
        for log in logs:
            found = _accuracy(lines, log, part)
            for ranking in RANKINGS:
                before = whole[log][ranking] if part != "nothing" else None
                row[f"{log}, `{ranking}`"] = _shown(found[ranking], before)
        rows.append(row)
    yield from markdown(rows)
    yield ""
    targets = {line["log"]: line["targets"] for line in lines}
    told = ", ".join(f"{log} {n:,}" for log, n in targets.items())
    seeds = ", ".join(sorted({str(line["seed"]) for line in lines}))
    yield f"Recall@20 / MRR@20, below the first line the difference from it; seeds {seeds}; targets: {told}."


Pair = tuple[float, float] | None


def _accuracy(lines: Sequence[Found], log: str, part: str) -> dict[str, Pair]:
    """Recall and MRR of both rankings, means over the seeds; None where they were not measured."""
    own = [line for line in lines if (line["log"], line["without"]) == (log, part)]
    found: dict[str, Pair] = dict.fromkeys(RANKINGS)
    for ranking in RANKINGS:
        if own and all(line[f"{ranking}_recall"] is not None for line in own):
            recall, mrr = (mean(line[f"{ranking}_{metric}"] for line in own) for metric in ("recall", "mrr"))
            found[ranking] = (recall, mrr)
    return found


def _shown(found: Pair, before: Pair) -> str:
    if found is None:
        return ""
    if before is None:
        return f"{found[0]:.4f} / {found[1]:.4f}"
    return f"{found[0] - before[0]:+.4f} / {found[1] - before[1]:+.4f}"
