"""How good the answers are: ``nextclick evaluate`` with its defaults and three seeds, on three public logs.

The command itself is run, as anybody would run it, with the best of the methods without weights beside it,
and every item scored as well, which tells what the index loses. The test files are those of the logs; what
was ever decided on them stands in docs/model.md.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.report import Report, command, parser, print_table, say
from benchmarks.running import BenchmarkError

METHODS: Final = ("nextclick", "lstm", "v-sknn", "vstan", "stan", "sequential-rules", "popular")
METRICS: Final = {"recall@20": "Recall@20", "mrr@20": "MRR@20"}
MOST_LOSS: Final = 0.005


@dataclass(frozen=True, slots=True)
class Log:
    """A public log, what `evaluate` is told about it, and the Recall@20 and MRR@20 that were set out for."""

    flags: tuple[str, ...] = ()
    marks: dict[str, tuple[float, float]] = field(default_factory=dict)


LOGS: Final = {
    "yoochoose100k": Log(marks={"nextclick": (0.712, 0.390), "lstm": (0.690, 0.372)}),
    "yoochoose64": Log(("--unknown", "miss"), {"nextclick": (0.721, 0.322), "lstm": (0.700, 0.300)}),
    "serenade": Log(marks={"nextclick": (0.680, 0.375)}),
}


def main() -> None:
    """Run the benchmark."""
    flags = parser(__doc__)
    flags.add_argument("--logs", nargs="+", choices=LOGS, default=list(LOGS))
    flags.add_argument(
        "--methods", nargs="+", default=list(METHODS), help="the first is compared to the others"
    )
    flags.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked = flags.parse_args()
    conditions = {"logs": asked.logs, "methods": asked.methods, "seeds": asked.seeds}
    report = Report("accuracy", conditions, asked.results, asked.note)
    asked.work.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    for log in asked.logs:
        found = _evaluate(log, asked.data, asked.work, asked.methods, asked.seeds)
        lines += lines_of(log, found)
    report.body = {"figures": lines}
    shown = (
        "log",
        "method",
        "recall@20",
        "mrr@20",
        "worst_recall@20",
        "worst_mrr@20",
        "coverage@20",
        "seconds",
    )
    print_table([{key: line[key] for key in shown} for line in lines])
    for what, wanted, measured, held in marks_of(lines):
        report.mark(what, wanted, measured, held)
    report.write()


def _evaluate(log: str, data: Path, work: Path, methods: list[str], seeds: list[int]) -> dict[str, Any]:
    """What the command says of a log; the command stands in the result, the picture in the folder of work."""
    arguments = [
        "evaluate", "--train", f"{log}/train.tsv.gz", "--test", f"{log}/test.tsv.gz", *LOGS[log].flags,
        "--methods", ",".join(methods), "--seeds", ",".join(map(str, seeds)), "--exact",
    ]  # fmt: skip
    said = f"nextclick {' '.join(arguments)}"
    say(said)
    began = time.monotonic()
    picture = (work / f"accuracy-{log}.png").absolute()
    nextclick = str(Path(sys.executable).with_name("nextclick"))
    ran = subprocess.run(
        [nextclick, *arguments, "--json", "--picture", str(picture)],
        cwd=data,
        stdout=subprocess.PIPE,
        check=False,
    )
    if ran.returncode:
        raise BenchmarkError(f"{said}: ended with {ran.returncode}, see above")
    say(f"{time.monotonic() - began:.0f} s; drawn: {picture}")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found | {"command": said}


def lines_of(log: str, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A line for each method: means, the worst seed, intervals, and by how much the first one is better."""
    first = next(iter(found["methods"]))
    beside = {one["against"]: one for one in found["comparisons"] if one["method"] == first}
    for method, figures in found["methods"].items():
        line = {"log": log, "method": method} | {key: found[key] for key in ("targets", "sessions", "items")}
        for metric in METRICS:
            line[metric] = figures[metric]
            line[f"worst_{metric}"] = figures.get("worst", figures)[metric]
            line[f"interval_{metric}"] = figures["intervals"][metric]
            line[f"loss_{metric}"] = figures["exact"]["loss"][metric] if "exact" in figures else None
            line[f"first_is_better_{metric}"] = beside[method][metric] if method in beside else None
        for figure in ("coverage@20", "popularity_bias@20", "seconds"):
            line[figure] = figures[figure]
        yield line | {"training": figures.get("training"), "command": found["command"]}


def marks_of(lines: list[dict[str, Any]]) -> Iterator[tuple[str, str, float, bool]]:
    """What was set out for beside what was measured: means over the seeds."""
    for line in lines:
        marks = LOGS[line["log"]].marks.get(line["method"])
        for (metric, name), least in zip(METRICS.items(), marks or (), strict=False):
            what = f"{line['log']}, `{line['method']}`: {name}"
            yield what, f">= {least:.3f}", line[metric], line[metric] >= least
    losses = [line[f"loss_{metric}"] for line in lines for metric in METRICS]
    if known := [loss for loss in losses if loss is not None]:
        what = "the largest share of a figure that the index loses"
        yield what, f"<= {MOST_LOSS}", max(known), max(known) <= MOST_LOSS


if __name__ == "__main__":
    command(main)
