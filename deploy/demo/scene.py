"""What is to be seen at a moment of the demo, and what it came to at the end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

BUCKET_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo has shown."""

    clicks: int
    answered: int
    missing: int
    rejected: int
    unacknowledged: int
    snapshots: tuple[str, ...]
    swapped_s: float | None
    p50_ms: float | None
    p99_ms: float | None
    n_targets: int
    hit_rate: float
    popular_hit_rate: float
    n_restarts: int
    seconds: float

    @property
    def swaps(self) -> int:
        """How often answers went over to another snapshot."""
        return max(0, len(self.snapshots) - 1)

    def problems(self) -> list[str]:
        """What should have been otherwise."""
        found = []
        if self.missing:
            found.append(f"{self.missing:,} of {self.clicks:,} clicks have no recommendation")
        if self.unacknowledged:
            found.append(f"Kafka did not take {self.unacknowledged:,} clicks")
        if not self.swaps:
            found.append("no second snapshot answered")
        if self.hit_rate <= self.popular_hit_rate:
            found.append(
                f"hit rate@20 {self.hit_rate:.3f} is not above popularity's {self.popular_hit_rate:.3f}"
            )
        return found

    def as_json(self, seconds: float) -> dict[str, Any]:
        """The object that ``--json`` prints; ``seconds`` is how long the whole demo took."""
        return {
            "clicks": self.clicks,
            "recommendations": self.answered,
            "missing": self.missing,
            "rejected": self.rejected,
            "swaps": self.swaps,
            "snapshots": list(self.snapshots),
            "latency_ms": {"p50": self.p50_ms, "p99": self.p99_ms},
            "hit_rate@20": round(self.hit_rate, 4),
            "popular_hit_rate@20": round(self.popular_hit_rate, 4),
            "seconds": round(seconds, 1),
        }


@dataclass(slots=True)
class Scene:
    """The front end's latest report, what it was bucket by bucket, and what else happens."""

    title: str
    made_up: bool  # item ids are words
    planned_s: float
    report: Mapping[str, Any] = field(default_factory=dict)
    trainer: str = ""  # what it does, empty while none runs
    restarts: int = 0
    retraining_s: float | None = None
    latencies_ms: list[float] = field(default_factory=list)  # p99 by bucket
    hit_rates: list[float] = field(default_factory=list)  # by bucket
    clicks_per_s: float = 0.0
    _bucket: tuple[float, int, int, int] = (0.0, 0, 0, 0)  # seconds, hits, targets, sent at its start
    _p99_ms: float = 0.0

    @property
    def seconds(self) -> float:
        """Since the first click was due."""
        return float(self.report.get("seconds", 0.0))

    @property
    def versions(self) -> dict[str, float]:
        """Snapshots that have answered, and when each was first seen."""
        return dict(self.report.get("versions", {}))

    @property
    def swapped(self) -> bool:
        """Whether a second snapshot has answered."""
        return len(self.versions) > 1

    @property
    def swapped_s(self) -> float | None:
        """When the latest snapshot was first seen, None before a second one."""
        return list(self.versions.values())[-1] if self.swapped else None

    def take(self, report: Mapping[str, Any]) -> None:
        """Take the front end's latest report; every two seconds it fills a bucket."""
        if "seconds" not in report or report is self.report:
            return
        self.report = report
        self._p99_ms = max(self._p99_ms, report["latency_ms"]["p99"] or 0.0)
        began_s, hits, targets, sent = self._bucket
        length_s = self.seconds - began_s
        if length_s < BUCKET_S:
            return
        n_targets = report["targets"] - targets
        self.latencies_ms.append(self._p99_ms)
        last = self.hit_rates[-1] if self.hit_rates else 0.0
        self.hit_rates.append((report["hits"] - hits) / n_targets if n_targets else last)
        self.clicks_per_s = (report["sent"] - sent) / length_s
        self._bucket = (self.seconds, report["hits"], report["targets"], report["sent"])
        self._p99_ms = 0.0

    def worker_restarted(self, n_restarts: int) -> None:
        """The worker had ended and was started again."""
        self.restarts = n_restarts

    def retraining_began(self) -> None:
        """The second trainer was started."""
        self.retraining_s = self.seconds

    def rate(self, hits: str) -> float:
        """``hits`` or ``popular_hits`` as a share of the targets so far."""
        n_targets = int(self.report.get("targets", 0))
        return float(self.report[hits]) / n_targets if n_targets else 0.0

    def outcome(self) -> Outcome:
        """What the last report says."""
        report = self.report
        return Outcome(
            clicks=report["clicks"],
            answered=report["answered"],
            missing=report["missing"],
            rejected=report["rejected"],
            unacknowledged=report["unacknowledged"],
            snapshots=tuple(self.versions),
            swapped_s=self.swapped_s,
            p50_ms=report["latency_ms"]["p50"],
            p99_ms=report["latency_ms"]["p99"],
            n_targets=report["targets"],
            hit_rate=self.rate("hits"),
            popular_hit_rate=self.rate("popular_hits"),
            n_restarts=self.restarts,
            seconds=self.seconds,
        )
