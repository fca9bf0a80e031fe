"""How two snapshots differ: settings, training window, items, figures, and what they answer."""

from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table

from model.vocabulary import Vocabulary
from streams.events import MIN_TIMESTAMP_MS, Click
from streams.manifest import Manifest
from streams.recommender import Arrival, Recommender, RepeatItems
from streams.snapshot import Snapshot

ASKED_ITEMS: Final = 200
SHOWN_ITEMS: Final = 10
_TOP_K: Final = 20


def difference_of(before: Snapshot, after: Snapshot) -> dict[str, Any]:
    """Compare two snapshots; rows of tables are pairs of what was and what is."""
    common = [item for item in after.vocabulary.item_ids if before.vocabulary.row(item) is not None]
    asked = common[:ASKED_ITEMS]  # a vocabulary begins with the most popular
    return {
        "from": before.version,
        "to": after.version,
        "settings": _changed(_settings(before), _settings(after)),
        "window": _changed(_window(before.manifest), _window(after.manifest)),
        "metrics": _changed(before.manifest.provenance.metrics, after.manifest.provenance.metrics),
        "items": {
            "from": len(before.vocabulary),
            "to": len(after.vocabulary),
            "common": len(common),
            "gained": len(after.vocabulary) - len(common),
            "lost": len(before.vocabulary) - len(common),
            "gained_most_popular": _only_in(after.vocabulary, before.vocabulary),
            "lost_most_popular": _only_in(before.vocabulary, after.vocabulary),
        },
        "top_20": {"asked_items": len(asked), "overlap": _overlap(before, after, asked)},
    }


def _settings(snapshot: Snapshot) -> dict[str, Any]:
    manifest = snapshot.manifest
    ranking = "none" if snapshot.ranking is None else "nextclick"
    more = {"index": manifest.index_kind, "ranking": ranking, "kind": manifest.provenance.kind}
    return dict(manifest.encoder) | more


def _window(manifest: Manifest) -> dict[str, Any]:
    window = manifest.provenance.window
    offsets = {f"offsets of {part.partition}": [part.start, part.end] for part in window.offsets}
    return {
        "clicks": window.n_clicks,
        "sessions": window.n_sessions,
        "first_ms": window.first_ms,
        "until_ms": window.until_ms,
        "history": window.history,
    } | offsets


def _changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    return {
        name: [before.get(name), after.get(name)]
        for name in (before | after)
        if before.get(name) != after.get(name)
    }


def _only_in(one: Vocabulary, other: Vocabulary) -> list[dict[str, Any]]:
    """The most popular items that only the first knows, with their clicks."""
    only = (row for row, item in enumerate(one.item_ids) if other.row(item) is None)
    return [
        {"item_id": one.item_id(row), "clicks": int(one.counts[row])}
        for row, _ in zip(only, range(SHOWN_ITEMS), strict=False)
    ]


def _overlap(before: Snapshot, after: Snapshot, items: Sequence[str]) -> float | None:
    """Which share of the 20 items after a click on one of these both give, in the mean."""
    if not items:
        return None
    lists = [_answers(snapshot, items) for snapshot in (before, after)]
    shares = [len(one & other) / max(1, len(one), len(other)) for one, other in zip(*lists, strict=True)]
    return round(sum(shares) / len(shares), 4)


def _answers(snapshot: Snapshot, items: Sequence[str]) -> list[set[str]]:
    """The best items after one click on each of these."""
    recommender = Recommender(snapshot, top_k=_TOP_K, repeat_items=RepeatItems.ALL)
    arrivals = [
        Arrival(Click(f"diff-{number}", item), 0, number, MIN_TIMESTAMP_MS)
        for number, item in enumerate(items)
    ]
    answers = recommender.answer(arrivals, {}, created_ms=0).recommendations
    return [{item.item_id for item in answer.items} for answer in answers]


def difference_table(difference: dict[str, Any]) -> Table:
    """Lay the difference out: what, before, after."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", difference["from"], difference["to"]):
        table.add_column(heading, overflow="fold")
    for part in ("settings", "window", "metrics"):
        for name, (before, after) in difference[part].items():
            table.add_row(name, _show(before), _show(after))
    items = difference["items"]
    table.add_row("items", f"{items['from']:,}", f"{items['to']:,}")
    table.add_row("items of both", f"{items['common']:,}", "")
    for name, text in (("lost", "items lost"), ("gained", "items gained")):
        popular = ", ".join(f"{one['item_id']} ({one['clicks']:,})" for one in items[f"{name}_most_popular"])
        cells = (f"{items[name]:,}: {popular}" if popular else "0", "")
        table.add_row(text, *(cells if name == "lost" else reversed(cells)))
    overlap, asked = difference["top_20"]["overlap"], difference["top_20"]["asked_items"]
    if overlap is not None:
        table.add_row("top 20 in common", f"{overlap:.1%}, after one click on each of {asked} items", "")
    return table


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**12 else str(value)
    return "" if value is None else str(value)
