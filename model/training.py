"""Training: session-parallel windows, truncated back-propagation, full or sampled softmax.

The state is carried over inside a session, set to zero where one begins, and detached between windows.
Small catalogues are scored in full; for others a step only touches the rows of its own clicks and of the
sampled negatives, so that its cost does not grow with the catalogue.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from model.allocator import keep_freed_memory, return_freed_memory
from model.batching import IDLE, Lanes, lay_out
from model.encoder import EncoderConfig, SessionEncoder
from model.resuming import Checkpoint, Standing
from model.sequences import Sequences
from model.training_config import RefreshConfig, TrainingConfig, TrainingError
from model.update import Updater

__all__ = [
    "Checkpoint",
    "OnProgress",
    "Progress",
    "RefreshConfig",
    "TrainingConfig",
    "TrainingError",
    "continue_training",
    "train",
]

PROGRESS_EVERY_S = 0.2
MANY_UPDATES = 10_000
MOST_WIDER = 4


class Progress(NamedTuple):
    """How far training is; `loss` is a moving average and `clicks_per_s` the speed since the start."""

    epoch: int
    n_epochs: int
    clicks_done: int
    clicks_total: int
    loss: float
    clicks_per_s: float


OnProgress = Callable[[Progress], None]
OnEpoch = Callable[[int, SessionEncoder], None]
"""Told the passes made so far and the encoder as it is, which may be asked and not changed."""


def train(
    sequences: Sequences,
    n_items: int,
    encoder_config: EncoderConfig | None = None,
    training_config: TrainingConfig | None = None,
    *,
    encoder: SessionEncoder | None = None,
    on_progress: OnProgress | None = None,
    on_epoch: OnEpoch | None = None,
    checkpoint: Checkpoint | None = None,
) -> SessionEncoder:
    """Train an encoder on sessions, oldest first.

    Args:
        sequences: unknown clicks are passed over.
        n_items: size of the catalogue.
        encoder_config: shape of a new encoder; not looked at where `encoder` is given.
        training_config: how to train.
        encoder: where to start from, trained in place; its rows must be those of the sequences
            (`SessionEncoder.with_rows` brings an older one to a new catalogue).
        on_progress: called several times a second and at the end.
        on_epoch: called after each pass; training goes on as if it had not been.
        checkpoint: where the run is kept, and gone on with if it was interrupted, by a kill or by what
            `on_progress` raises. Only for a new encoder.

    Returns:
        The encoder, ready to serve. Torch uses as many threads as the caller has set.

    Raises:
        TrainingError: no session has two known clicks, or the loss is no longer finite.
    """
    config = training_config or TrainingConfig()
    if encoder is None:
        encoder = SessionEncoder(encoder_config or EncoderConfig(), n_items, config.seed)
    if encoder.n_items != n_items:
        raise TrainingError(f"the encoder knows {encoder.n_items} items, the catalogue has {n_items}")
    return _tidied(_Run(encoder, sequences, config, on_progress, on_epoch, checkpoint).train())


def continue_training(
    encoder: SessionEncoder,
    newest: Sequences,
    training_config: TrainingConfig | None = None,
    *,
    older: Sequences | None = None,
    refresh: RefreshConfig | None = None,
    on_progress: OnProgress | None = None,
) -> SessionEncoder:
    """Go through the newest sessions with some of the older ones among them.

    Args:
        encoder: changed in place.
        newest: the sessions it has not seen.
        training_config: as it was trained with.
        older: sessions it has seen, of which some are played among the new ones, evenly spread, because a
            model trained on new clicks alone forgets.
        refresh: how far to go.
        on_progress: as for `train`.
    """
    config, refresh = training_config or TrainingConfig(), refresh or RefreshConfig()
    rehearsed = _spread(older, round(len(newest) * refresh.rehearsed)) if older is not None else None
    n_rehearsed = 0 if rehearsed is None else rehearsed.n_targets
    n_passes, share = refresh.within(newest.n_targets, n_rehearsed)
    going_on = replace(
        config,
        n_epochs=n_passes,
        learning_rate=config.learning_rate * refresh.rate,
        final_share=refresh.final_share,
    )
    sessions = newest
    if rehearsed is not None and share > 0:
        sessions = _interleave(newest, _spread(rehearsed, round(len(rehearsed) * share)))
    if sessions.drop_unknown(min_length=2).n_targets == 0:
        return encoder.eval()
    return _tidied(_Run(encoder, sessions, going_on, on_progress).train())


def _tidied(encoder: SessionEncoder) -> SessionEncoder:
    """The encoder, when all that it was trained with is gone and its memory given back."""
    return_freed_memory()
    return encoder


class _Run:
    """One run over the sessions: its schedule, its lanes and its progress."""

    def __init__(
        self,
        encoder: SessionEncoder,
        sequences: Sequences,
        config: TrainingConfig,
        on_progress: OnProgress | None,
        on_epoch: OnEpoch | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        known = sequences.drop_unknown(min_length=2)
        if known.n_targets == 0:
            raise TrainingError("no session has two clicks on known items")
        if encoder.context is not None and known.codes is None:
            raise TrainingError("the encoder uses the context of clicks, and these have none")
        n_lanes, n_steps = lanes_for(known, config)
        self._lanes = lay_out(known, n_lanes)
        self._rate = config.learning_rate * math.sqrt(max(n_lanes / config.n_lanes, 1.0))
        self._n_steps = n_steps
        self._encoder = encoder
        self._config = config
        self._on_progress = on_progress or (lambda progress: None)
        self._on_epoch = on_epoch
        counts = np.bincount(known.rows, minlength=encoder.n_items)
        self._updater = Updater(encoder, counts, config)
        self._checkpoint = checkpoint
        self._stands = None if checkpoint is None else checkpoint.begin(encoder, known, config)

    def train(self) -> SessionEncoder:
        """Make all updates."""
        keep_freed_memory()
        torch.set_flush_denormal(True)  # without it an epoch can take 20 times longer
        config, encoder = self._config, self._encoder.train()
        n_windows = -(-len(self._lanes.inputs) // self._n_steps)
        n_updates = config.n_epochs * n_windows
        progress = _Reporter(self._lanes, config.n_epochs, self._on_progress, self._stands)
        n_made, state = self._restored()
        for update in range(n_made, n_updates):
            epoch, at = divmod(update, n_windows)
            if at == 0:
                state = torch.zeros(self._lanes.inputs.shape[1], encoder.state_dim)
            window = self._lanes.window(at, self._n_steps)
            rate = self._rate * schedule(update / n_updates, config)
            loss, state = self._updater.update(window, state, rate)
            n_made += 1
            try:
                progress.add(epoch + 1, int((window.targets != IDLE).sum()), loss)
            except BaseException:  # who is told may interrupt
                self._keep(n_made, state, progress)
                raise
            if n_made == n_updates or (self._checkpoint is not None and self._checkpoint.due):
                self._keep(n_made, state, progress)
            if self._on_epoch is not None and at == n_windows - 1:
                self._on_epoch(epoch + 1, encoder.eval())
                encoder.train()
        progress.report()
        return encoder.eval()

    def _restored(self) -> tuple[int, torch.Tensor]:
        """How many updates are made, and the state after the last of them."""
        if (stands := self._stands) is None:
            return 0, torch.empty(0)
        self._stands = None  # as large as the encoder and what the optimiser remembers
        self._updater.restore(stands.tensors)
        return stands.n_updates, stands.tensors["state"]

    def _keep(self, n_made: int, state: torch.Tensor, progress: _Reporter) -> None:
        if self._checkpoint is not None:
            done, loss = progress.latest.clicks_done, progress.latest.loss
            tensors = self._updater.tensors() | {"state": state}
            self._checkpoint.write(Standing(n_made, done, loss, tensors))


class _Reporter:
    """Passes progress on, a few times a second."""

    def __init__(
        self, lanes: Lanes, n_epochs: int, on_progress: OnProgress, stands: Standing | None = None
    ) -> None:
        self._on_progress = on_progress
        self._started = self._reported = time.perf_counter()
        total = n_epochs * lanes.n_pairs
        done, loss = (0, math.nan) if stands is None else (stands.clicks_done, stands.loss)
        epoch = min(1 + done * n_epochs // max(total, 1), n_epochs)
        self.latest = Progress(epoch, n_epochs, done, total, loss, 0.0)
        self._done_before = done

    def add(self, epoch: int, n_clicks: int, loss: float) -> None:
        """Count an update's clicks and report if it is time."""
        now = time.perf_counter()
        before = self.latest
        done = before.clicks_done + n_clicks
        smooth = loss if math.isnan(before.loss) else 0.98 * before.loss + 0.02 * loss
        speed = (done - self._done_before) / max(now - self._started, 1e-9)
        self.latest = before._replace(epoch=epoch, clicks_done=done, loss=smooth, clicks_per_s=speed)
        if now - self._reported >= PROGRESS_EVERY_S:
            self._reported = now
            self.report()

    def report(self) -> None:
        """Pass on where training stands."""
        self._on_progress(self.latest)


def lanes_for(sequences: Sequences, config: TrainingConfig) -> tuple[int, int]:
    """Lanes and steps: as configured, but on a small log so few that an epoch has about 100 updates.

    On a very large log they are up to `MOST_WIDER` times as many, as long as an epoch has `MANY_UPDATES`: an
    update of more clicks costs less for each. The rate grows with the square root, as the noise falls.
    """
    n_targets, n_steps = sequences.n_targets, config.n_steps
    wider = min(n_targets // (MANY_UPDATES * n_steps), MOST_WIDER * config.n_lanes)
    narrower = max(max(n_targets // 100, 16) // n_steps, 4)
    return min(max(config.n_lanes, wider), narrower), n_steps


def schedule(done: float, config: TrainingConfig) -> float:
    """Share of the learning rate when a share `done` of the updates is made: up a line, down a cosine."""
    if done < config.warm_up:
        return (done + 1e-3) / (config.warm_up + 1e-3)
    fallen = (done - config.warm_up) / max(1.0 - config.warm_up, 1e-9)
    return config.final_share + (1.0 - config.final_share) * 0.5 * (1.0 + math.cos(math.pi * fallen))


def _spread(sessions: Sequences, n: int) -> Sequences:
    """So many of the sessions, or all, evenly spread over them."""
    if n >= len(sessions):
        return sessions
    return sessions.take(np.linspace(0, len(sessions) - 1, n).round().astype(np.int64))


def _interleave(newest: Sequences, older: Sequences) -> Sequences:
    """The new sessions, and the older ones evenly spread among them."""
    position = np.concatenate(
        [np.linspace(0, len(newest), len(older), endpoint=False), np.arange(len(newest))]
    )
    return Sequences.concatenate(older, newest).take(np.argsort(position, kind="stable"))
