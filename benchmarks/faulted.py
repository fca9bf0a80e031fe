"""The table of faults, from the newest run of ``make faults`` of all rows."""

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
    """Each fault, whether it held, and what was counted; beneath it when and in which form it was run."""
    runs = [
        run for run in results.get("faults", ()) if len(run["rows"]) == len(run["conditions"]["rows"]) > 1
    ]
    if not runs:
        yield from markdown([])
        return
    run = runs[-1]
    yield from markdown([_line(row) for row in run["rows"]])
    n_held = sum(row["held"] for row in run["rows"])
    form = "long rows shortened (`--short`)" if run["conditions"]["shortened"] else "in full"
    yield ""
    yield (
        f"{n_held} of {len(run['rows'])} rows held, {form}, in {run['seconds'] / 60:.0f} minutes on"
        f" {run['machine']['cores']} cores, {run['started'][:10]}, commit {run['versions']['nextclick']}."
    )
    if run["conditions"]["shortened"] and (longer := _in_full(results)):
        yield ""
        yield "In full, each by itself:"
        yield ""
        yield from markdown(
            [
                _line(row) | {"run": f"{alone['started'][:10]}, commit {alone['versions']['nextclick']}"}
                for row, alone in longer
            ]
        )


def _in_full(results: Results) -> list[tuple[Found, Found]]:
    """The newest run of each row that was not shortened, with the run it is of; by row."""
    newest: dict[int, tuple[Found, Found]] = {}
    for run in results.get("faults", ()):
        if not run["conditions"]["shortened"]:
            newest |= {row["row"]: (row, run) for row in run["rows"]}
    return [newest[number] for number in sorted(newest)]


def _line(row: Found) -> dict[str, Any]:
    return {
        "row": row["row"],
        "fault": row["fault"],
        "must be seen": row["must_show"],
        "held": _held(row),
        "seen": ", ".join(_seen(row["figures"])),
    }


def _held(row: Found) -> str:
    return "skipped" if row["skipped"] else "yes" if row["held"] else "**no**"


def _seen(figures: Mapping[str, Any]) -> Iterator[str]:
    for name, what in SEEN.items():
        if isinstance(value := figures.get(name), int | float):
            yield f"{show(value)} {what}"
