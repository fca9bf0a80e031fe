"""What ``nextclick evaluate`` found, as lines for people."""

from collections.abc import Iterator
from typing import Any

from deploy.evaluation.terms import Terms
from streams.recommender import RepeatItems

METRIC_TITLES = {"recall": "Recall", "mrr": "MRR", "ndcg": "NDCG"}


def table(result: dict[str, Any], terms: Terms) -> Iterator[str]:
    """All that was found, the figures that matter most first."""
    methods, k = result["methods"], terms.k
    repeats = {"all": "all repeats", "not-last": "no repeat of the last item", "none": "no repeats"}
    yield (
        f"{result['targets']:,} targets in {result['sessions']:,} sessions, {result['items']:,} items; best "
        f"{k}, {repeats[terms.repeat_items.value]}, ties {terms.ties.value}; 95 % intervals over sessions"
    )
    yield ""
    yield from _aligned(_main_rows(methods, terms))
    yield ""
    yield f"Recall@{k} / MRR@{k} by what may repeat"
    rules = sorted(RepeatItems, key=lambda rule: rule is not terms.repeat_items)
    yield from _aligned(_pair_rows(methods, "repeat_items", k, [rule.value for rule in rules]))
    yield ""
    yield f"Recall@{k} / MRR@{k} by the session's clicks"
    groups = next(iter(methods.values()))["by_session_length"]
    targets = ["targets", *(f"{group['targets']:,}" for group in groups.values())]
    rows = _pair_rows(methods, "by_session_length", k, list(groups))
    yield from _aligned([rows[0], targets, *rows[1:]])
    if exact := _exact_rows(methods, k):
        yield ""
        yield f"Recall@{k} / MRR@{k} with every item scored, and the share of it that the index loses"
        yield from _aligned(exact)
    if comparisons := _against_first(result, k):
        yield ""
        yield from _aligned(comparisons)
    for name, figures in methods.items():
        if training := figures.get("training"):
            yield ""
            yield f"{name}: trained in {training['seconds']:.1f} s, {training['clicks_per_s']:,.0f} clicks/s"


def _main_rows(methods: dict[str, Any], terms: Terms) -> list[list[str]]:
    k = terms.k
    titles = [f"{title}@{k}" for title in METRIC_TITLES.values()]
    rows = [["", *titles, "coverage", "popularity bias", "seconds"]]
    for name, figures in methods.items():
        cells = _with_intervals(figures, k)
        rest = [f"{figures[f'coverage@{k}']:.3f}", f"{figures[f'popularity_bias@{k}']:.2f}"]
        rows.append([name, *cells, *rest, f"{figures['seconds']:.1f}"])
        if worst := figures.get("worst"):
            rows[-1][0] = f"{name}, mean of seeds {', '.join(map(str, terms.seeds))}"
            rows.append(["  worst", *(f"{worst[f'{m}@{k}']:.4f}" for m in METRIC_TITLES), "", "", ""])
    return rows


def _pair_rows(methods: dict[str, Any], part: str, k: int, groups: list[str]) -> list[list[str]]:
    rows = [["", *groups]]
    for name, figures in methods.items():
        own = [figures[part][group] for group in groups]
        rows.append([name, *(f"{group[f'recall@{k}']:.4f} / {group[f'mrr@{k}']:.4f}" for group in own)])
    return rows


def _exact_rows(methods: dict[str, Any], k: int) -> list[list[str]]:
    """What the index costs; of the methods that have one, where it was asked for."""
    rows = []
    for name, figures in methods.items():
        if exact := figures.get("exact"):
            pair = [f"{exact[f'{metric}@{k}']:.4f}" for metric in ("recall", "mrr")]
            lost = [f"{exact['loss'][f'{metric}@{k}']:+.2%}" for metric in ("recall", "mrr")]
            rows.append([name, " / ".join(pair), " / ".join(lost)])
    return rows


def _against_first(result: dict[str, Any], k: int) -> list[list[str]]:
    """The first method less each of the others, with interval and p."""
    first = next(iter(result["methods"]))
    rows = [[f"{first} less", *(f"{title}@{k}" for title in METRIC_TITLES.values())]]
    for comparison in result["comparisons"]:
        if comparison["method"] == first:
            own = [comparison[f"{metric}@{k}"] for metric in METRIC_TITLES]
            rows.append([comparison["against"], *map(show_difference, own)])
    return rows if len(rows) > 1 else []


def show_difference(comparison: dict[str, float]) -> str:
    """A difference with its interval and p."""
    low, high = comparison["low"], comparison["high"]
    return f"{comparison['difference']:+.4f} [{low:+.4f}, {high:+.4f}] p {comparison['p']:.3f}"


def replay_table(result: dict[str, Any], terms: Terms) -> Iterator[str]:
    """What a replay found: each slice, and everything together."""
    k, slices = terms.k, result["slices"]
    yield (
        f"{result['targets']:,} targets in {result['sessions']:,} sessions, foretold in {len(slices)} "
        f"slices, each learnt from before the next; Recall@{k} / MRR@{k}"
    )
    yield ""
    rows = [["slice", "targets", "items"]]
    rows += [[str(i), f"{own['targets']:,}", f"{own['items']:,}"] for i, own in enumerate(slices, start=1)]
    for name, figures in result["methods"].items():
        for way in ("learning", "frozen"):
            rows[0].append(name if way == "learning" else f"{name}, never again")
            for row, own in zip(rows[1:], figures[way]["curve"], strict=True):
                row.append(f"{own[f'recall@{k}']:.4f} / {own[f'mrr@{k}']:.4f}")
    yield from _aligned(rows)
    yield ""
    titles = [f"{title}@{k}" for title in METRIC_TITLES.values()]
    rows = [["all slices", *titles]]
    for name, figures in result["methods"].items():
        for way, label in (("learning", name), ("frozen", f"{name}, never again")):
            rows.append([label, *_with_intervals(figures[way], k)])
        gains = [figures["gain"][f"{metric}@{k}"] for metric in METRIC_TITLES]
        rows.append(["  the first less the second", *map(show_difference, gains)])
    yield from _aligned(rows)


def _with_intervals(figures: dict[str, Any], k: int) -> list[str]:
    cells = []
    for name in (f"{metric}@{k}" for metric in METRIC_TITLES):
        low, high = figures["intervals"][name]
        cells.append(f"{figures[name]:.4f} [{low:.4f}, {high:.4f}]")
    return cells


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    """Columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{row[0]:<{widths[0]}}", *(f"{c:>{w}}" for c, w in zip(row[1:], widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()
