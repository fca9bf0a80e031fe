"""The table of faults, from the runs of ``make faults`` that are kept."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from benchmarks.kept import Found, Results
from benchmarks.report import markdown, show

SEEN: Final[Mapping[str, str]] = {
    "kills": "kills",
    "exceptions": "exceptions",
    "stops": "stops",
    "changes": "changes",
    "corrupt": "corrupt records",
    "announced": "bad snapshots announced",
    "swaps": "swaps",
    "pauses": "pauses",
    "clicks": "clicks",
    "missing": "missing",
    "differences": "states unlike the oracle's",
    "duplicates": "answered twice",
    "worst_ready_s": "s until ready again at worst",
    "worst_takeover_s": "s until another took over at worst",
    "worst_end_s": "s until it ended at worst",
    "worst_stop_s": "s to stop at worst",
    "worst_delay_ms": "ms of delay at worst",
    "growth": "growth of memory",
}
"""Which figures of a row are shown, in this order, and what they are."""


def faults(results: Results) -> Iterator[str]:
    """Each fault, in which form it was run, whether it held, and what was counted."""
    runs = _chosen(results)
    yield from markdown([_line(row, run) for row, run in runs])
    if not runs:
        return
    n_held, n_short = (
        sum(row["held"] for row, _ in runs),
        sum(run["conditions"]["shortened"] for _, run in runs),
    )
    yield ""
    yield f"{n_held} of {len(runs)} rows held, on {runs[-1][1]['machine']['cores']} cores." + (
        f" {n_short} of them in short form: pauses, repetitions and hours are cut." if n_short else ""
    )


def _chosen(results: Results) -> list[tuple[Found, Found]]:
    """For each row the newest run in full, or else in short form, with the run it is of; by row.

    A newer one that did not hold counts before an older one that did.
    """
    chosen: dict[int, tuple[Found, Found]] = {}
    for run in results.get("faults", ()):  # oldest first
        for row in run["rows"]:
            _, before = chosen.get(row["row"], (None, run))
            if not row["held"] or before["conditions"]["shortened"] or not run["conditions"]["shortened"]:
                chosen[row["row"]] = (row, run)
    return [chosen[number] for number in sorted(chosen)]


def _line(row: Found, run: Found) -> dict[str, Any]:
    return {
        "row": row["row"],
        "fault": row["fault"],
        "must be seen": row["must_show"],
        "held": _held(row),
        "seen": ", ".join(_seen(row["figures"])),
        "form": "short" if run["conditions"]["shortened"] else "in full",
        "run": f"{run['started'][:10]}, commit {run['versions']['nextclick']}",
    }


def _held(row: Found) -> str:
    return "skipped" if row["skipped"] else "yes" if row["held"] else "**no**"


def _seen(figures: Mapping[str, Any]) -> Iterator[str]:
    for name, what in SEEN.items():
        if isinstance(value := figures.get(name), int | float):
            yield f"{show(value)} {what}"
