"""The settings of a training run; the defaults are meant for any log, not tuned to one."""

from __future__ import annotations

from dataclasses import dataclass

LOSS_NAMES = ("cross-entropy", "bpr", "bpr-max", "top1", "top1-max")


class TrainingError(ValueError):
    """Training that cannot begin or go on; the text says why."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How the weights are found.

    Attributes:
        n_epochs: passes over the sessions.
        n_lanes: sessions side by side; fewer on small logs, see `lanes_for`.
        n_steps: steps of a window, which is how far gradients flow back and what one update is made of.
        optimizer: "adam" or "adagrad" (with `momentum`).
        learning_rate: at the peak; it rises over the first `warm_up` share of the updates and then falls
            along a cosine to `final_share` of itself.
        loss: one of `LOSS_NAMES`; see `model.losses`.
        label_smoothing: share of the label spread over all candidates (cross-entropy).
        bpr_regularization: λ of BPR-max.
        full_softmax_up_to: catalogues up to this size are scored in full.
        n_negatives: items drawn per update beside the batch's own, in larger catalogues; 0 for none.
        alpha: they are drawn by popularity^alpha.
        log_q: strength of the correction for how candidates were drawn (cross-entropy).
        seed: of the weights, the dropout and the samples.
    """

    n_epochs: int = 8
    n_lanes: int = 32
    n_steps: int = 4
    optimizer: str = "adam"
    learning_rate: float = 8e-3
    momentum: float = 0.3
    warm_up: float = 0.05
    final_share: float = 0.02
    loss: str = "cross-entropy"
    label_smoothing: float = 0.05
    bpr_regularization: float = 1.0
    full_softmax_up_to: int = 5_000
    n_negatives: int = 2_048
    alpha: float = 0.75
    log_q: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        if self.optimizer not in ("adam", "adagrad"):
            raise TrainingError(f"optimizer must be adam or adagrad, not {self.optimizer!r}")
        if self.loss not in LOSS_NAMES:
            raise TrainingError(f"loss must be one of {', '.join(LOSS_NAMES)}, not {self.loss!r}")
        if min(self.n_epochs, self.n_lanes, self.n_steps) < 1 or self.n_negatives < 0:
            raise TrainingError("n_epochs, n_lanes and n_steps must be at least 1, n_negatives at least 0")


@dataclass(frozen=True, slots=True)
class RefreshConfig:
    """How a trained encoder goes on with newer sessions.

    Attributes:
        rate: share of the learning rate.
        n_passes: through the newest sessions.
        rehearsed: older sessions played among them, for each of the newest.
        final_share: what the rate falls to, as a share of itself.
        most_clicks: in all passes together, so that a refresh with many new clicks does not take longer
            and longer; see `within`. One pass through the newest sessions is made in any case.
    """

    rate: float = 0.5
    n_passes: int = 4
    rehearsed: float = 2.0
    final_share: float = 0.02
    most_clicks: int = 250_000

    def within(self, n_newest: int, n_older: int) -> tuple[int, float]:
        """Passes and share of the older clicks that `most_clicks` leaves room for.

        Passes are given up first, down to two, then older clicks, down to none, and then the second pass.
        Both arguments are clicks to foretell, the second of the older sessions that would be rehearsed.
        """
        n_passes = min(self.n_passes, max(self.most_clicks // max(n_newest + n_older, 1), 2))
        if n_passes * n_newest > self.most_clicks:
            n_passes = 1
        room = max(self.most_clicks // n_passes - n_newest, 0)
        return n_passes, min(room / n_older, 1.0) if n_older else 0.0
