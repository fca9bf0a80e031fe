"""How far a cycle of the trainer is: told to whoever asked for it, and where a stop is looked at."""

import threading
from collections.abc import Mapping

from model.training import Progress
from streams.training_plan import TrainerStopped
from streams.training_report import OnProgress, Stage, StageTimes, TrainerProgress


class CycleProgress:
    """Tells of each step, and measures how long the stages take."""

    def __init__(self, stop: threading.Event, on_progress: OnProgress | None) -> None:
        self._stop = stop
        self._on_progress = on_progress
        self._times = StageTimes()

    def at(self, progress: TrainerProgress) -> None:
        """Tell; raises ``TrainerStopped`` where the cycle is to stop."""
        if self._stop.is_set():
            raise TrainerStopped
        self.past_stopping(progress)

    def past_stopping(self, progress: TrainerProgress) -> None:
        """Tell where a stop waits until all is done."""
        self._times.at(progress.stage)
        if self._on_progress is not None:
            self._on_progress(progress)

    def at_stage(self, stage: Stage) -> None:
        """Tell that a stage begins; raises ``TrainerStopped``."""
        self.at(TrainerProgress(stage))

    def training(self, stage: Stage, progress: Progress) -> None:
        """Tell how far a training is; raises ``TrainerStopped``."""
        self.at(
            TrainerProgress(
                stage,
                progress.clicks_done,
                progress.clicks_total,
                progress.epoch,
                progress.n_epochs,
                progress.loss,
                progress.clicks_per_s,
            )
        )

    def seconds(self) -> Mapping[Stage, float]:
        """How long each stage took."""
        return self._times.seconds()
