"""Snapshots as an operator reads them: rows of the list, facts of one, both sides of a canary."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from rich.console import Console
from rich.table import Table

from streams.announcements import Announcement
from streams.canary_rule import Judgement
from streams.live_figures import Comparison
from streams.manifest import Manifest
from streams.quality import Figures
from streams.sequential_test import Difference

_UNITS_S = (("d", 86_400), ("h", 3_600), ("min", 60))
Announced = Mapping[str, Announcement]


def row_of(manifest: Manifest, announced: Announced | None, now_ms: int) -> dict[str, Any]:
    """Give a snapshot's row of the list; ``announced`` is None where Kafka does not tell."""
    provenance = manifest.provenance
    return {
        "version": manifest.version,
        "created_ms": manifest.created_ms,
        "age_s": round((now_ms - manifest.created_ms) / 1000),
        "kind": provenance.kind,
        "parent": provenance.parent,
        "items": manifest.n_items,
        "clicks": provenance.window.n_clicks,
        "window_s": _window_s(manifest),
        "metrics": provenance.metrics,
        "megabytes": round(manifest.megabytes, 1),
        "serves": None if announced is None else _serves(manifest.version, announced),
        "refused": _refused(manifest),
    }


def _serves(version: str, announced: Announced) -> list[str]:
    return [
        alias + (" (pinned)" if one.pinned else "")
        for alias, one in sorted(announced.items())
        if one.version == version
    ]


def _refused(manifest: Manifest) -> list[str]:
    gate = manifest.provenance.gate
    return list(gate.reasons) if gate is not None and gate.refused else []


def _window_s(manifest: Manifest) -> int | None:
    window = manifest.provenance.window
    since_ms, until_ms = window.first_ms or window.from_ms, window.until_ms or manifest.created_ms
    return round((until_ms - since_ms) / 1000) if since_ms else None


def list_table(rows: list[dict[str, Any]]) -> Table:
    """Lay the rows out; a refused snapshot says why where others say what they serve."""
    table = Table(box=None, pad_edge=False)
    numbers = ("age", "window", "clicks", "items", "Recall@20", "MRR@20")
    for heading in ("version", "kind", *numbers, "serves"):
        justify = "right" if heading in numbers else "left"
        table.add_column(heading, justify=justify, no_wrap=heading != "serves")  # type: ignore[arg-type]
    for row in rows:
        metrics = row["metrics"]
        serves = "?" if row["serves"] is None else ", ".join(row["serves"])
        table.add_row(
            row["version"],
            row["kind"],
            span(row["age_s"]),
            "" if row["window_s"] is None else span(row["window_s"]),
            f"{row['clicks']:,}",
            f"{row['items']:,}",
            *(f"{metrics[name]:.3f}" if name in metrics else "" for name in ("recall@20", "mrr@20")),
            f"refused: {'; '.join(row['refused'])}" if row["refused"] else serves,
        )
    return table


def facts_of(manifest: Manifest, location: str, announced: Announced | None) -> list[tuple[str, str]]:
    """Give all that a manifest says, a line each."""
    provenance, window, gate = manifest.provenance, manifest.provenance.window, manifest.provenance.gate
    serves = "?" if announced is None else ", ".join(_serves(manifest.version, announced)) or "nothing"
    facts = [
        ("version", manifest.version),
        ("location", location),
        ("made", f"{_show_time(manifest.created_ms)} UTC, {provenance.kind}"),
        ("parent", provenance.parent or "none"),
        ("serves", serves),
        ("items", f"{manifest.n_items:,}, {manifest.index_kind} index"),
        ("encoder", ", ".join(f"{name} {value}" for name, value in manifest.encoder.items())),
        ("trained on", f"{window.n_clicks:,} clicks in {window.n_sessions:,} sessions"),
    ]
    if window.until_ms:
        since = f"{_show_time(window.first_ms)} to " if window.first_ms else "until "
        facts.append(("arrived", f"{since}{_show_time(window.until_ms)} UTC"))
    if window.history:
        facts.append(("history", ", ".join(PurePosixPath(name).name for name in window.history)))
    facts += [
        (f"{window.topic} {part.partition}", f"offsets {part.start:,} to {part.end:,}")
        for part in window.offsets
    ]
    facts += [(name, f"{figure:g}") for name, figure in provenance.metrics.items()]
    facts += [("figures are of", provenance.metrics_of)] if provenance.metrics_of else []
    if provenance.index_recall is not None:
        facts.append(("index finds", f"{provenance.index_recall:.2%} of the exact answer"))
    if gate is not None:
        verdict = "accepted" if gate.accepted else "forced, although refused" if gate.forced else "refused"
        beside = f", beside {gate.serving} on {gate.targets:,} clicks" if gate.serving else ""
        facts.append(("gate", verdict + beside))
        facts += [("", reason) for reason in gate.reasons]
    facts += [
        (name, f"{digest.bytes:,} bytes, {digest.sha256[:12]}…") for name, digest in manifest.files.items()
    ]
    return facts


def comparison_result(comparison: Comparison, judgement: Judgement) -> dict[str, Any]:
    """Give both sides of a comparison, and what is said of it."""
    return {
        "version": comparison.judged.version,
        "against": comparison.against[-1],
        "against_versions": list(comparison.against),
        "since_ms": comparison.since_ms,
        "standing": judgement.standing.value,
        "figures": _figures(judgement.first),
        "against_figures": _figures(judgement.second),
        "hit_rate_difference": _difference(judgement.hit_rate),
        "mrr_difference": _difference(judgement.mrr),
    }


def _figures(figures: Figures) -> dict[str, float | int]:
    return {
        "clicks": figures.clicks,
        "hit_rate": round(figures.hit_rate, 4),
        "mrr": round(figures.mrr, 4),
    }


def _difference(found: Difference) -> list[float]:
    return [round(value, 4) for value in (found.found, found.low, found.high)]


def comparison_table(result: Mapping[str, Any], names: tuple[str, str]) -> Table:
    """Lay both sides out, and their difference with the interval that holds at all times."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "version", "clicks", "hit rate@20", "MRR@20"):
        table.add_column(heading, justify="left" if heading in ("", "version") else "right", no_wrap=True)
    sides = ((names[0], "version", "figures"), (names[1], "against", "against_figures"))
    n_before = len(result["against_versions"]) - 1
    before = f" and {n_before} before it" if n_before else ""
    for name, version, figures in sides:
        found = result[figures]
        shown = result[version] + (before if version == "against" else "")
        table.add_row(name, shown, f"{found['clicks']:,}", f"{found['hit_rate']:.3f}", f"{found['mrr']:.3f}")
    hit_rate, mrr = (
        f"{found:+.3f} ({low:+.3f} to {high:+.3f})"
        for found, low, high in (result["hit_rate_difference"], result["mrr_difference"])
    )
    table.add_row("difference", result["standing"], "", hit_rate, mrr)
    return table


def print_table(table: Table) -> None:
    """Print a table; piped, Rich would take 80 columns and cut versions short."""
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def span(seconds: float) -> str:
    """A length of time in its largest unit and the next: 3 d 4 h, 12 min, 8 s."""
    if seconds < 60:
        return f"{max(0, round(seconds))} s"
    for at, (unit, size) in enumerate(_UNITS_S):
        if seconds >= size:
            rest = _UNITS_S[at + 1 : at + 2]
            more = [f"{int(seconds % size // smaller)} {name}" for name, smaller in rest]
            return " ".join([f"{int(seconds // size)} {unit}", *more])
    raise AssertionError(seconds)


def _show_time(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
