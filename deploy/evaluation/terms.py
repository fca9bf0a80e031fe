"""The terms of a measurement: what counts as a target, what as a hit, and with which seeds."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from model.encoder_config import EncoderConfig
from model.encoder_context import ContextCoder
from model.evaluation import Ranks
from model.metrics import ranks_against_us, ranks_for_us
from model.training_config import TrainingConfig
from streams.clickfile import ClickColumns
from streams.errors import NextclickError
from streams.recommender import RepeatItems


class EvaluationError(NextclickError):
    """Files that nothing can be measured on."""


class Ties(StrEnum):
    """For whom an item counts that scores as high as the target."""

    AGAINST = "against"
    FOR = "for"

    @property
    def ranks(self) -> Ranks:
        """How targets are ranked."""
        return ranks_for_us if self is Ties.FOR else ranks_against_us


class Unknown(StrEnum):
    """What becomes of test items that were never trained on."""

    DROP = "drop"
    MISS = "miss"


@dataclass(frozen=True, slots=True)
class Terms:
    """How methods are measured.

    Attributes:
        k: length of the lists.
        unknown: what becomes of test items that were never trained on.
        repeat_items: what may be recommended again in its session.
        ties: for whom equal scores count.
        gap_ms: the pause that ends a session, None for none.
        seeds: methods that draw by chance are made with each of them.
        exact: measure what the index finds beside what scoring every item would.
        encoder: the network that is trained.
        training: how it is trained; its seed is one of the seeds.
    """

    k: int = 20
    unknown: Unknown = Unknown.DROP
    repeat_items: RepeatItems = RepeatItems.ALL
    ties: Ties = Ties.AGAINST
    gap_ms: int | None = None
    seeds: tuple[int, ...] = (0,)
    exact: bool = False
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def coder(self, train_clicks: ClickColumns) -> ContextCoder | None:
        """What makes the context's codes, by the kinds of the train file; None where no context is used."""
        return ContextCoder.fit(train_clicks.each_kind()) if self.encoder.context else None

    def encoder_for(self, coder: ContextCoder | None) -> EncoderConfig:
        """The network with a code for each of the coder's kinds."""
        return self.encoder if coder is None else replace(self.encoder, kinds=coder.kinds)
