"""A picture of the newest results: latency against load, and what a click costs against the catalogue's size.

Drawn without a background and in greys and colours that stand out on white and on black alike.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.kept import ROOT, Found, newest, read_results
from benchmarks.report import command, say
from streams.errors import NextclickError

PICTURE = ROOT / "docs" / "benchmarks.svg"
INK = "#80868f"
COLOURS = ("#3b8ed8", "#e07b39", "#3aa76d")
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: small, and searchable
    "svg.hashsalt": "nextclick",
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.25,
}


def lines_of(latency: Found) -> dict[int, list[tuple[float, float, float]]]:
    """Rate, p50 and p99 in ms by size of the catalogue, as far as the worker kept up."""
    found: dict[int, list[tuple[float, float, float]]] = {}
    for line in latency["figures"]:
        if line["what"] == "worker" and line["rate"] > 0:
            found.setdefault(line["items"], []).append((line["rate"], line["p50"], line["p99"]))
    return found


def costs_of(scale: Found) -> list[tuple[str, float, float]]:
    """Name of the case, the worker's and Kafka's CPU in microseconds per click."""
    return [
        (
            f"{line['items']:,}" + (f"\n{line['workers']} workers" if line["workers"] > 1 else ""),
            line["cpu_us_per_click"],
            line.get("broker_cpu_us_per_click") or 0.0,
        )
        for line in scale["figures"]
    ]


def draw(latency: Found | None, scale: Found | None, path: Path) -> None:
    """Draw both halves into an SVG file, or the one that was measured."""
    halves = [
        (half, found) for half, found in ((_draw_latency, latency), (_draw_costs, scale)) if found is not None
    ]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8 * len(halves), 3.8), layout="constrained")
        for axes, (half, found) in zip(
            figure.subplots(1, len(halves), squeeze=False)[0], halves, strict=True
        ):
            half(axes, found)
        figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})


def _draw_latency(axes: Axes, latency: Found) -> None:
    by_items = lines_of(latency)
    for colour, (n_items, points) in zip(COLOURS, by_items.items(), strict=False):
        rates = [rate for rate, _, _ in points]
        axes.plot(
            rates, [p50 for _, p50, _ in points], color=colour, marker="o", ms=3, label=f"{n_items:,} items"
        )
        axes.plot(rates, [p99 for _, _, p99 in points], color=colour, marker="o", ms=3, linestyle="--")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlim(left=0)
    axes.grid(True, axis="y")
    axes.set_xlabel("clicks per second, one worker")
    axes.set_title("From due to answered, ms: p50 solid, p99 dashed", loc="left")
    axes.legend(frameon=False)


def _draw_costs(axes: Axes, scale: Found) -> None:
    names, own, kafka = zip(*costs_of(scale), strict=True)
    axes.bar(names, own, width=0.55, color=COLOURS[0], label="worker")
    axes.bar(names, kafka, width=0.55, bottom=own, color=INK, alpha=0.7, label="Kafka")
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel("items in the catalogue")
    axes.set_title("CPU of a click, microseconds", loc="left")
    axes.legend(frameon=False)


def main() -> None:
    """Draw the picture in docs/."""
    results = read_results()
    latency, scale = newest(results, "latency"), newest(results, "scale")
    if latency is None and scale is None:
        raise NextclickError("there are no results yet to draw: run make bench-latency and make bench-scale")
    draw(latency, scale, PICTURE)
    say(f"drawn: {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    command(main)
