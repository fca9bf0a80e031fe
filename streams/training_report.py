"""What a training cycle tells: how far it is, and how it ended."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self, TypeAlias

from model.metrics import Accuracy
from streams.drift import ClickCounts
from streams.manifest import Verdict

ITSELF: Final = "this model on the newest sessions, which it had not seen; its links have counted them since"


class Kind(StrEnum):
    """How a cycle makes a snapshot."""

    FULL = "full"  # from the start, of the whole window
    REFRESH = "refresh"  # what serves goes on with what is new


class Stage(StrEnum):
    """What a cycle is doing, in this order; some are of one kind of cycle only."""

    READING = "reading clicks"
    REFRESHING = "learning from the newest clicks"
    REHEARSING = "training without the newest sessions"
    ORDERING = "learning the order of answers"
    MEASURING = "measuring"
    TRAINING = "training"
    BUILDING = "building the index"
    PUBLISHING = "writing the snapshot"
    JUDGING = "comparing it with what serves"


@dataclass(frozen=True, slots=True)
class TrainerProgress:
    """How far a stage is, in clicks; a stage of one step has a total of 0."""

    stage: Stage
    n_done: int = 0
    n_total: int = 0
    epoch: int | None = None
    n_epochs: int | None = None
    loss: float | None = None
    clicks_per_s: float = 0.0

    @property
    def seconds_left(self) -> float | None:
        """How long the stage takes yet at this speed, None where it is not known."""
        return (self.n_total - self.n_done) / self.clicks_per_s if self.clicks_per_s > 0 else None


class StageTimes:
    """How long each stage of a cycle takes, up to the beginning of the next."""

    def __init__(self) -> None:
        self._seconds: dict[Stage, float] = {}
        self._stage: Stage | None = None
        self._since = 0.0

    def at(self, stage: Stage) -> None:
        """Note where the cycle is."""
        if stage is not self._stage:
            self._count()
            self._stage = stage

    def seconds(self) -> dict[Stage, float]:
        """Of each stage so far, the present one among them."""
        self._count()
        return dict(self._seconds)

    def _count(self) -> None:
        now = time.monotonic()
        if self._stage is not None:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._since = now


@dataclass(frozen=True, slots=True)
class TooFewClicks:
    """There is not enough to train on yet."""

    n_clicks: int
    n_sessions: int
    min_clicks: int
    min_sessions: int

    def __str__(self) -> str:
        return (
            f"{self.n_clicks:,} clicks in {self.n_sessions:,} sessions of two clicks or more;"
            f" training needs {self.min_clicks:,} in {self.min_sessions:,}"
        )


@dataclass(frozen=True, slots=True)
class NothingNew:
    """Too few clicks have come since the serving snapshot was made to learn from and to compare by."""

    n_new: int
    n_needed: int
    n_sessions_needed: int

    def __str__(self) -> str:
        return (
            f"{self.n_new:,} clicks that follow on another, in sessions of usual length, have come since the"
            f" serving snapshot was made; a refresh needs {self.n_needed:,} in {self.n_sessions_needed:,}"
            " sessions"
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a manifest, and which model they are of."""

    metrics: dict[str, float]
    metrics_of: str

    @classmethod
    def of(cls, model: Accuracy, popular: Accuracy, metrics_of: str) -> Self:
        """A model on sessions that it has not seen, and what is popular beside it."""
        of_popular = {f"popular_{name}": figure for name, figure in popular.as_metrics().items()}
        figures = {name: round(figure, 4) for name, figure in (model.as_metrics() | of_popular).items()}
        return cls(figures | {"targets": model.targets}, metrics_of)

    @classmethod
    def of_gate(cls, verdict: Verdict, popular: Accuracy) -> Self:
        """The candidate itself, as the gate measured it."""
        of_popular = {f"popular_{name}": round(figure, 4) for name, figure in popular.as_metrics().items()}
        figures = {name: figure for name, figure in verdict.candidate.items() if "@" in name}
        return cls(figures | of_popular | {"targets": verdict.targets}, ITSELF)


@dataclass(frozen=True, slots=True)
class Published:
    """A new snapshot; not ``announced`` where the gate refused it, where the alias is pinned, or where it
    announces another by now than the snapshot was judged beside (``replaced_by``).

    ``drift`` counts the new clicks beside the snapshot that was refreshed with them, None after a full
    training; ``stages`` are the seconds that each took, with what was prepared after it.
    """

    version: str
    location: str
    kind: Kind
    n_clicks: int
    n_sessions: int
    n_items: int
    metrics: dict[str, float]
    metrics_of: str
    verdict: Verdict
    announced: bool
    pinned_to: str | None
    replaced_by: str | None
    deleted: tuple[str, ...]
    seconds: float
    drift: ClickCounts | None = None
    stages: Mapping[Stage, float] = field(default_factory=dict)


Outcome: TypeAlias = Published | TooFewClicks | NothingNew
OnProgress = Callable[[TrainerProgress], None]
