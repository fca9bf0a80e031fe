"""Why a trainer trains from the start before that is due: clicks are no longer as they were.

Two see it. The trainer compares the clicks of each refresh with the snapshot that it refreshes, summed over
refreshes until they are enough to say something. Workers compare scores and hit rates besides, and tell
their figures on the topic ``quality``.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from streams.announcements import read_current
from streams.drift import ClickCounts, DriftAlarms, DriftLimits, Figure
from streams.kafka import KafkaConnection
from streams.live_figures import LiveFigures
from streams.quality import QualityRecord
from streams.topics import TopicError, TopicNames, require_topics
from streams.training_report import Kind, Outcome, Published

ASK_EVERY_S: Final = 60.0
TOLD_WITHIN_MS: Final = 10 * 60_000
"""What workers told longer ago is not asked for: a shop where nobody clicks tells nothing."""

_log = logging.getLogger(__name__)


class TrainingWanted:
    """Asks what was read and what workers tell; says why once, until the figure has calmed down."""

    def __init__(self, limits: DriftLimits, ask_workers: Callable[[], Mapping[Figure, float]]) -> None:
        self._of_rounds = DriftAlarms(limits)
        self._of_workers = DriftAlarms(limits)
        self._ask_workers = ask_workers
        self._asked_s = -math.inf
        self._failing = False
        self._counts: ClickCounts | None = None  # of refreshes with too few clicks to tell anything by

    def by_round(self, outcome: Outcome | None) -> str | None:
        """Why one is wanted after a round: the clicks of a refresh are no longer as they were."""
        if not isinstance(outcome, Published):
            return None
        if outcome.kind is Kind.FULL and outcome.announced:
            self._counts = None
        if outcome.drift is None:
            return None
        counts = outcome.drift if self._counts is None else self._counts + outcome.drift
        figures = counts.figures()
        if outcome.announced:  # else the next refresh reads the same clicks again
            self._counts = None if figures else counts
        return _why(self._of_rounds, figures)

    def by_workers(self, now_s: float) -> str | None:
        """Why one is wanted by what workers tell, asked now and then; without Kafka's word nothing is."""
        if now_s < self._asked_s + ASK_EVERY_S:
            return None
        self._asked_s = now_s
        try:
            figures = self._ask_workers()
            self._failing = False
        except Exception as error:
            if not self._failing:
                _log.warning("what workers tell of drift cannot be read, rounds go on as planned: %s", error)
            self._failing = True
            return None
        return _why(self._of_workers, figures)


def _why(alarms: DriftAlarms, figures: Mapping[Figure, float]) -> str | None:
    crossed = alarms.update(figures)
    return "; ".join(alarms.limits.told(figure, figures[figure]) for figure in crossed) or None


def told_by_workers(
    connection: KafkaConnection, topics: TopicNames, alias: str, now_ms: int
) -> dict[Figure, float]:
    """What the workers of an alias tell of the snapshot that is announced; nothing without the topic."""
    try:
        n_partitions = require_topics(connection, topics.quality)[topics.quality].n_partitions
    except TopicError:
        return {}
    announced = read_current(connection, topics.snapshots).get(alias)
    if announced is None:
        return {}
    with LiveFigures(connection, topics, n_partitions, now_ms=now_ms) as figures:
        windows = figures.windows_since(now_ms - TOLD_WITHIN_MS)
    return mean_of_workers(window for window in windows if window.snapshot == announced.version)


def mean_of_workers(windows: Iterable[QualityRecord]) -> dict[Figure, float]:
    """The newest figures of each worker, in the mean by the clicks that each compared.

    Each sees the clicks of its own partitions: of many workers one or another is over a limit by chance.
    """
    newest: dict[str, QualityRecord] = {}
    clicks = Counter[str]()
    for window in windows:
        clicks[window.worker] += window.clicks
        if window.worker not in newest or window.to_ms >= newest[window.worker].to_ms:
            newest[window.worker] = window
    found: dict[Figure, float] = {}
    for figure in Figure:
        told = [(each.drift[figure], clicks[name]) for name, each in newest.items() if figure in each.drift]
        if weight := sum(n_clicks for _, n_clicks in told):
            found[figure] = sum(value * n_clicks for value, n_clicks in told) / weight
    return found
