"""The tables of fresh items, made from the newest result of ``bench-fresh``, as Markdown."""

from collections.abc import Iterator

from benchmarks.figures import conditions
from benchmarks.kept import Results, newest
from benchmarks.report import markdown


def live(results: Results) -> Iterator[str]:
    """How soon new items are recommended."""
    one = newest(results, "fresh")
    if one is None:
        yield from markdown([])
        return
    names = {
        "items_clicked": "new items clicked",
        "recommended": "recommended",
        "median_s": "after, median s",
        "longest_s": "longest s",
        "to_other_sessions": "to other sessions",
        "others_median_s": "after, median s ",
        "others_longest_s": "longest s ",
    }
    yield from markdown([{name: one["live"][key] for key, name in names.items()}])
    yield ""
    yield from conditions([one])


def foretold(results: Results) -> Iterator[str]:
    """What fresh items bring: Recall@20 and MRR@20 with and without."""
    one = newest(results, "fresh")
    lines = [] if one is None else one["replays"]
    yield from markdown(
        [
            {
                "log": line["log"],
                "ranking": f"`{line['ranking']}`",
                "targets, on new items": f"{line['targets']:,}, {line['on_new']:,}",
                "without": f"{line['recall_without']:.3f} / {line['mrr_without']:.3f}",
                "with": f"{line['recall']:.3f} / {line['mrr']:.3f}",
                "new items": f"{line['new_recall']:.3f}",
                "of these new to the session": f"{line['new_to_session_recall']:.3f}",
                "known items, without and with": (
                    f"{line['known_recall_without']:.3f}, {line['known_recall']:.3f}"
                ),
                "of the lists": f"{line['fresh_share']:.1%}",
            }
            for line in lines
        ]
    )
    if one is not None:
        yield ""
        yield from conditions([one])
