"""A full training: from clicks to a candidate, from the start.

The order of the answers is learnt first, over a network made without the newest sessions; then all is made
once more with these. What the gate compares by is kept from both networks.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from index.build import build_index
from model.blend_memory import ItemMemory
from model.encoder_context import ContextCoder
from model.evaluation import evaluate_next_items
from model.ranking import sample_queries
from model.training import Progress, TrainingError, train
from model.vocabulary import Vocabulary
from streams.candidate import Candidate, Log
from streams.gate import Ground
from streams.learning import Order, learn_order
from streams.sequencing import in_rows_of
from streams.training_plan import TrainerError, TrainerPlan
from streams.training_report import Measured, Stage
from streams.unfinished import Unfinished

REHEARSED: Final = (
    "a model trained without the newest 10 % of sessions, with half the passes, its order learnt from the"
    " older half of those and measured on the other"
)

OnTraining = Callable[[Stage, Progress], None]
OnStage = Callable[[Stage], None]


def trained(
    plan: TrainerPlan,
    log: Log,
    ground: Ground,
    unfinished: Unfinished,
    on_training: OnTraining,
    on_stage: OnStage,
) -> tuple[Candidate, Measured | None]:
    """Train from the start; gives figures of the first network where the gate will have none.

    Both callbacks may interrupt. Raises ``TrainerError`` where a network cannot be trained.
    """
    vocabulary = Vocabulary.from_clicks(log.clicks.item_ids)
    n_items = len(vocabulary)
    coder = ContextCoder.fit(log.clicks.each_kind()) if plan.encoder.context else None
    config = plan.encoder if coder is None else replace(plan.encoder, kinds=coder.kinds)
    sessions = in_rows_of(vocabulary, log.clicks, log.places, coder)
    learnt = sessions.select(0, ground.n_learnt)
    measured = None
    try:
        order = learn_order(
            learnt,
            n_items,
            config,
            plan.training,
            on_training=lambda progress: on_training(Stage.REHEARSING, progress),
            on_order=lambda: on_stage(Stage.ORDERING),
            checkpoint=unfinished.checkpoint("rehearsal"),
        )
        if ground.seen or len(ground.chosen) == 0:
            on_stage(Stage.MEASURING)
            measured = _measured(order, vocabulary)
        encoder = train(
            learnt,
            n_items,
            config,
            plan.training,
            on_progress=lambda progress: on_training(Stage.TRAINING, progress),
            checkpoint=unfinished.checkpoint("training"),
        )
    except TrainingError as error:
        raise TrainerError(f"training failed: {error}") from error
    on_stage(Stage.BUILDING)
    index = build_index(encoder.item_vectors(), sample_queries(encoder, sessions))
    blind = None
    if ground.n_learnt < len(sessions) and order.blend is not None:
        blind = ItemMemory.remember(learnt, n_items)
    return Candidate(encoder, vocabulary, index, order.ranking(sessions), sessions, blind), measured


def _measured(order: Order, vocabulary: Vocabulary) -> Measured:
    ranker, popular, newest = order.measurable(vocabulary)
    model, by_counts = evaluate_next_items(ranker, newest), evaluate_next_items(popular, newest)
    return Measured.of(model, by_counts, REHEARSED)
