"""What the lifecycle demo came to, and what should be otherwise."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from deploy.demo.journal import Answered, Judged
from deploy.demo.lifecycle_figures import CanaryFigures, Gain, NewItems, Sabotage

ROLLED_BACK_WITHIN_S: Final = 60.0
SHOWN_MEDIAN_S: Final = 5.0
SHOWN_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class LifecycleOutcome:
    """All that was shown."""

    clicks: int
    answered: int
    missing: int
    latency_ms: Mapping[str, float | None]
    refreshed_s: Mapping[str, float]
    gain_of_known: Gain  # from the first refresh on, clicks on items that the first snapshot knew
    gain: Gain  # the same of all clicks
    sabotage: Sabotage
    canary: CanaryFigures | None
    new_items: NewItems
    told_by_worker: Mapping[str, Mapping[str, float]]
    n_restarts: int
    seconds: float

    @classmethod
    def of(
        cls,
        notes: "Notes",
        report: Mapping[str, Any],
        refreshed_s: Mapping[str, float],
        sabotage: Sabotage,
        told_by_worker: Mapping[str, Mapping[str, float]],
        n_restarts: int,
    ) -> "LifecycleOutcome":
        """Compute it from the front end's notes and its last report."""
        since_s = min(refreshed_s.values(), default=math.inf)
        later = [one for one in notes.judged if one.at_s >= since_s and one.snapshot != sabotage.version]
        return cls(
            clicks=report["clicks"],
            answered=report["answered"],
            missing=report["missing"],
            latency_ms=report["latency_ms"],
            refreshed_s=refreshed_s,
            gain_of_known=Gain.of(one for one in later if not one.new),
            gain=Gain.of(later),
            sabotage=sabotage,
            canary=CanaryFigures.of(notes.judged, notes.answered, sabotage),
            new_items=NewItems.of(notes.new_items, report["seconds"]),
            told_by_worker=told_by_worker,
            n_restarts=n_restarts,
            seconds=report["seconds"],
        )

    def problems(self) -> list[str]:
        """What should have been otherwise."""
        found = []
        if self.missing:
            found.append(f"{self.missing:,} of {self.clicks:,} clicks have no recommendation")
        gain = self.gain_of_known
        if not gain.beyond_chance:
            found.append(
                f"the hit rate is {gain.refreshed:.3f} and without refreshes {gain.never_refreshed:.3f}:"
                f" no gain beyond chance (standard error {gain.standard_error:.3f})"
            )
        return [*found, *self._about_sabotage(), *self._about_new_items()]

    def _about_sabotage(self) -> list[str]:
        found, canary = [], self.canary
        if not self.sabotage.refused:
            found.append("the gate did not refuse the sabotaged snapshot")
        if not self.sabotage.kind.can_be_read:
            return found
        if canary is None:
            found.append("the sabotaged snapshot never served as canary")
        elif not self.sabotage.rolled_back:
            found.append("the sabotaged canary was not rolled back")
        elif canary.seconds_to_rollback > ROLLED_BACK_WITHIN_S:
            found.append(f"the rollback took {canary.seconds_to_rollback:.0f} s")
        if canary is not None and canary.strays:
            found.append(f"{canary.strays:,} answers came from the other side than their session's")
        if canary is not None and not canary.others_untouched:
            found.append(
                f"production's sessions had {canary.others_before.difference:+.3f} over those never refreshed"
                f" before, and {canary.others_meanwhile.difference:+.3f} meanwhile"
            )
        return found

    def _about_new_items(self) -> list[str]:
        new = self.new_items
        if new.median_s is None or new.recommended < new.came:
            return [f"{new.came - new.recommended} of {new.came} new items were never recommended"]
        if new.median_s > SHOWN_MEDIAN_S or (new.longest_s or 0.0) > SHOWN_WITHIN_S:
            return [
                f"new items were recommended {new.median_s:.1f} s after their first click in the median,"
                f" {new.longest_s:.1f} s at most"
            ]
        return []

    def as_json(self, seconds: float) -> dict[str, Any]:
        """The object that ``--json`` prints; ``seconds`` is how long the whole demo took."""
        whole = asdict(self) | {
            "problems": self.problems(),
            "stream_seconds": self.seconds,
            "seconds": round(seconds, 1),
        }
        text = json.dumps(whole)
        rounded: dict[str, Any] = json.loads(text, parse_float=lambda number: round(float(number), 4))
        return rounded


@dataclass(frozen=True, slots=True)
class Notes:
    """What the front end has written down."""

    judged: list[Judged]
    answered: list[Answered]
    new_items: list[dict[str, Any]]
    began_s: float  # by the wall clock

    @classmethod
    def read(cls, path: Path) -> "Notes":
        """Read its file."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            judged=[Judged(*row) for row in found["judged"]],
            answered=[Answered(*row) for row in found["answered"]],
            new_items=found["new_items"],
            began_s=found["began_s"],
        )
