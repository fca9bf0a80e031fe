"""The curves of the lifecycle demo: hit rates with and without refreshes, the canary, new items."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from deploy.demo.journal import Judged
from deploy.demo.lifecycle_outcome import LifecycleOutcome, Notes
from deploy.evaluation.picture import COLOURS, figure

BUCKET_S: Final = 5.0
FEWEST: Final = 10  # clicks that make a point
LIVE, BESIDE, BAD, QUIET = COLOURS[0], COLOURS[1], COLOURS[4], "#9aa0a6"


def draw_lifecycle(outcome: LifecycleOutcome, notes: Notes, path: Path) -> None:
    """Draw it into a .png, .svg or .pdf file; raises ``PictureError`` where it cannot be written."""
    with figure(path, 10.0, 9.0, 3, stacked=True) as (rates, sides, new):
        _draw_rates(rates, outcome, notes)
        _draw_sides(sides, outcome, notes)
        _draw_new_items(new, notes)
        for axes in (rates, sides, new):
            axes.set_xlim(0, outcome.seconds)
            axes.grid(True, axis="y")
            if outcome.canary is not None:
                axes.axvspan(outcome.canary.first_s, outcome.canary.last_s, color=BAD, alpha=0.12, lw=0)
        new.set_xlabel("seconds of live clicks; shaded: the sabotaged snapshot serves as canary")


def _draw_rates(axes: Any, outcome: LifecycleOutcome, notes: Notes) -> None:
    bad = outcome.sabotage.version
    sound = [one for one in notes.judged if one.snapshot != bad]
    axes.plot(*_by_time(sound, "hit"), color=LIVE, lw=1.6, label="refreshed, with fresh items")
    axes.plot(*_by_time(sound, "hit_beside"), color=BESIDE, lw=1.6, label="the first snapshot for ever")
    for n, at_s in enumerate(outcome.refreshed_s.values()):
        axes.axvline(at_s, color=QUIET, lw=0.8, ls=":", label="a refresh is swapped in" if n == 0 else None)
    axes.set_title(f"Hit rate@20 of the same clicks, by {BUCKET_S:.0f} s (without the canary's)")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower left")


def _draw_sides(axes: Any, outcome: LifecycleOutcome, notes: Notes) -> None:
    sessions = {one.session_id for one in notes.judged if one.snapshot == outcome.sabotage.version}
    others = [one for one in notes.judged if one.session_id not in sessions]
    own = [one for one in notes.judged if one.session_id in sessions]
    axes.plot(*_by_time(others, "hit"), color=LIVE, lw=1.6, label="all other sessions")
    axes.plot(*_by_time(own, "hit"), color=BAD, lw=1.6, marker="o", ms=3, label="sessions the canary served")
    axes.set_title("Hit rate@20 of the sessions that the canary served, and of all others")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower left")


def _draw_new_items(axes: Any, notes: Notes) -> None:
    for colour, marker, name, label in (
        (LIVE, "o", "shown_s", "to anybody"),
        (QUIET, "x", "shown_to_others_s", "to another session"),
    ):
        items = [item for item in notes.new_items if item[name] is not None]
        waited_s = [item[name] - item["clicked_s"] for item in items]
        axes.plot([item["clicked_s"] for item in items], waited_s, marker, color=colour, ms=5, label=label)
    axes.set_title("New items: seconds from the first click to the first recommendation")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")


def _by_time(judged: Iterable[Judged], which: str) -> tuple[list[float], list[float]]:
    """Middles of the buckets, and the hit rate of each."""
    buckets: dict[int, list[bool]] = defaultdict(list)
    for one in judged:
        buckets[int(one.at_s / BUCKET_S)].append(getattr(one, which))
    full = {bucket: hits for bucket, hits in sorted(buckets.items()) if len(hits) >= FEWEST}
    return [(bucket + 0.5) * BUCKET_S for bucket in full], [sum(hits) / len(hits) for hits in full.values()]
