"""What a training cycle tells: how far it is, and how it ended."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from model.metrics import Accuracy


class Stage(StrEnum):
    """What a cycle is doing, in this order."""

    READING = "reading clicks"
    REHEARSING = "training without the newest sessions"
    ORDERING = "learning the order of answers"
    MEASURING = "measuring"
    TRAINING = "training"
    BUILDING = "building the index"
    PUBLISHING = "publishing"


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
class Measured:
    """Accuracy on the newest sessions, held out: the served ranking, and popularity."""

    model: Accuracy
    popular: Accuracy

    def as_metrics(self) -> dict[str, float]:
        """As they stand in the manifest."""
        popular = {f"popular_{name}": figure for name, figure in self.popular.as_metrics().items()}
        figures = self.model.as_metrics() | popular
        return {name: round(figure, 4) for name, figure in figures.items()} | {"targets": self.model.targets}


@dataclass(frozen=True, slots=True)
class Published:
    """A new snapshot; ``announced`` is False where the alias is pinned, to ``pinned_to``."""

    version: str
    location: str
    n_clicks: int
    n_sessions: int
    n_items: int
    measured: Measured
    index_recall: float
    announced: bool
    pinned_to: str | None
    deleted: tuple[str, ...]
    seconds: float


OnProgress = Callable[[TrainerProgress], None]
