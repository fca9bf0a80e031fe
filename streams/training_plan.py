"""What a trainer is to do at every cycle, and how a cycle may end without a snapshot."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from model.encoder import EncoderConfig
from model.training import RefreshConfig, TrainingConfig
from streams.announcements import PRODUCTION
from streams.clickfile import Columns
from streams.errors import NextclickError
from streams.gate import Bounds
from streams.importing import Format
from streams.kafka import KafkaConnection
from streams.topics import TopicNames

DAY_MS: Final = 86_400_000


class TrainerError(NextclickError):
    """A cycle cannot publish; the text says why."""


class TrainerStopped(Exception):
    """The cycle was asked to stop and did, between two steps; nothing was published."""


@dataclass(frozen=True, slots=True)
class TrainerPlan:
    """What a trainer does at every cycle."""

    connection: KafkaConnection
    topics: TopicNames
    location: str
    alias: str = PRODUCTION
    window_ms: int = 7 * DAY_MS
    gap_ms: int = 30 * 60_000
    min_clicks: int = 1_000
    min_sessions: int = 200
    keep_snapshots: int = 5
    archive: str | None = None
    history: tuple[Path, ...] = ()
    history_format: Format = Format.AUTO
    history_columns: Columns | None = None
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    refresh: RefreshConfig = field(default_factory=RefreshConfig)
    rehearsed_clicks: int = 100_000
    bounds: Bounds = field(default_factory=Bounds)
    force: bool = False
    unfinished: Path | None = None

    def as_text(self) -> str:
        """All that a full training follows beside its clicks."""
        files = [(str(path), path.stat().st_size if path.exists() else 0) for path in self.history]
        of_training = (
            self.topics.clicks,
            self.archive,
            self.alias,
            self.window_ms,
            self.gap_ms,
            files,
            self.history_format,
            self.history_columns,
            self.encoder,
            self.training,
        )
        return repr(of_training)
