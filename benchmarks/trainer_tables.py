"""The tables of training cycles and of refreshing, made from the newest results of a kind, as Markdown."""

from collections.abc import Iterator

from benchmarks.figures import conditions
from benchmarks.kept import Results, newest
from benchmarks.report import markdown
from benchmarks.trainer import by_stage

CYCLES = {
    "before": "what serves at first, from the start",
    "whole": "**a month from the archive**",
    "quick": "**the newest clicks**",
    "from the start": "all from the start",
    "from the topic": "from the topic",
}


def cycles(results: Results) -> Iterator[str]:
    """What each cycle took, and where its time went."""
    one = newest(results, "trainer")
    if one is None:
        yield from markdown([])
        return
    names = {
        "clicks": "clicks read",
        "items": "items",
        "swapped_s": "to the swap, s",
        "trainer_s": "the cycle alone, s",
        "cpu_s": "CPU, s",
        "peak_mb": "memory, MB",
        "stood_still_s": "stood still, s",
    }
    lines = one["figures"]
    yield from markdown(
        [{"cycle": CYCLES[line["what"]]} | {name: line[key] for key, name in names.items()} for line in lines]
    )
    yield ""
    titled = [line | {"what": CYCLES[line["what"]].strip("*")} for line in lines]
    yield from markdown([{"s": line.pop("stage")} | line for line in by_stage(titled)])
    yield ""
    yield from conditions([one])


def refreshing(results: Results) -> Iterator[str]:
    """How good each way of learning on is, over all slices."""
    one = newest(results, "refresh")
    lines = [] if one is None else one["figures"]
    yield from markdown(
        [
            {
                "log": line["log"],
                "trained again": line["way"],
                "targets": line["targets"],
                "Recall@20 / MRR@20": f"{line['recall']:.4f} / {line['mrr']:.4f}",
                "of full": f"{line['of_full']:.3f}",
                "refused": line["refused"],
                "s": line["seconds"],
            }
            for line in lines
        ]
    )
    if one is not None:
        yield ""
        yield from conditions([one])
