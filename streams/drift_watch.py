"""A worker's watch over drift: counts of the newest clicks, metrics, a line where a limit is crossed.

Counts fade, so that they tell of about the newest window of clicks; they cost under a microsecond a click.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import numpy as np
from prometheus_client import Counter

from model.vocabulary import Vocabulary
from streams.drift import (
    FEWEST_CLICKS,
    HEAD,
    OF_VOCABULARY,
    Counts,
    DriftAlarms,
    DriftLimits,
    Figure,
    counts_of_vocabulary,
    figures_of_counts,
    head_counts,
    population_stability,
)
from streams.events import Recommendation
from streams.fresh import Items
from streams.metrics import WorkerMetrics
from streams.quality import LiveQuality
from streams.recommender import Answers
from streams.snapshot import Snapshot

N_BINS: Final = 10
TELL_EVERY_S: Final = 5.0
_FOLD_AT: Final = 256

_log = logging.getLogger(__name__)


class DriftMonitor:
    """Watches the snapshot that serves, whichever it is.

    A swap begins everything anew, but where the new snapshot is the old one refreshed: usual scores and the
    usual hit rate are those of before, so that they can fall over more clicks than come between refreshes.
    """

    def __init__(
        self, limits: DriftLimits, window_clicks: int, metrics: WorkerMetrics, quality: LiveQuality
    ) -> None:
        self._limits = limits
        self._window = window_clicks
        self._metrics = metrics
        self._quality = quality
        self._watch: DriftWatch | None = None
        self._alarms = DriftAlarms(limits)
        self._told_s = 0.0
        self._counted = (0.0, 0.0)  # clicks compared with a list and hits, as the metrics had them last

    def note(self, snapshot: Snapshot, answers: Answers) -> None:
        """Count a batch that this snapshot has answered, or most of it."""
        if self._watch is None or self._watch.version != snapshot.version:
            self._watch = self._follow(snapshot, self._watch)
        self._watch.note(answers.folded, answers.recommendations)

    def tell(self, now_s: float) -> None:
        """Publish the figures now and then, and log each limit that is crossed, once."""
        if self._watch is None or now_s - self._told_s < TELL_EVERY_S:
            return
        self._told_s = now_s
        self._note_hits(self._watch)
        figures = self._watch.figures()
        self._quality.note_drift(self._watch.version, {one.value: value for one, value in figures.items()})
        for figure in self._alarms.update(figures):
            self._metrics.drift_alarms.labels(figure).inc()
            _log.warning("drift: %s: a full training is due", self._limits.told(figure, figures[figure]))
        for figure, value in figures.items():
            self._metrics.drift.labels(figure).set(value)
            self._metrics.drift_alarm.labels(figure).set(figure in self._alarms.raised)

    def _follow(self, snapshot: Snapshot, watch: DriftWatch | None) -> DriftWatch:
        """Watch another snapshot from here on; what was told of the one before holds, where it can."""
        anew: tuple[Figure, ...] = OF_VOCABULARY
        if watch is not None and snapshot.manifest.provenance.is_refresh_of(watch.version):
            self._note_hits(watch)
            watch.go_on_with(snapshot.version, snapshot.vocabulary)
        else:
            watch, anew = DriftWatch(snapshot.version, snapshot.vocabulary, self._window), tuple(Figure)
        self._counted = self._count(snapshot.version)
        self._alarms.forget(anew)
        for figure in anew:
            self._metrics.drift.labels(figure).set(0)
            self._metrics.drift_alarm.labels(figure).set(0)
        return watch

    def _note_hits(self, watch: DriftWatch) -> None:
        before, self._counted = self._counted, self._count(watch.version)
        watch.note_hits(*(max(0.0, now - then) for now, then in zip(self._counted, before, strict=True)))

    def _count(self, version: str) -> tuple[float, float]:
        """Clicks that were compared with a list of the snapshot so far, and hits among them."""
        return _total(self._metrics.compared, version), _total(self._metrics.hits, version)


def _total(counter: Counter, version: str) -> float:
    """What a counter says of a snapshot; 0 where nothing was counted, or others have taken its place."""
    samples = (sample for metric in counter.collect() for sample in metric.samples)
    return sum(
        sample.value
        for sample in samples
        if sample.name.endswith("_total") and sample.labels["version"] == version
    )


class DriftWatch:
    """Watches the clicks that one snapshot answers, refreshed now and then, and the scores of its answers.

    What is popular is compared with the snapshot's own counts. Which scores and hit rate are usual is learnt
    from the second window of clicks: in the first a new worker may have new sessions only.
    """

    def __init__(self, version: str, vocabulary: Vocabulary, window_clicks: int = 20_000) -> None:
        self.version = version
        self._vocabulary = vocabulary
        self._window = window_clicks
        self._rows: list[int] = []
        self._scores: list[float] = []
        self._n_clicks = 0
        self._n_counted = 0  # beside this vocabulary
        self._expected: Counts | None = None
        self._counts = np.zeros(HEAD + 2)
        self._usual: list[float] = []
        self._edges: Counts | None = None
        self._usual_counts = np.zeros(N_BINS)
        self._score_counts = np.zeros(N_BINS)
        self._n_scores = 0
        self._usual_hits = np.zeros(2)  # clicks that were compared with a list, and hits
        self._hits = np.zeros(2)

    def go_on_with(self, version: str, vocabulary: Vocabulary) -> None:
        """Watch the same snapshot refreshed: clicks are counted anew, what is usual stays."""
        self._fold()
        self.version, self._vocabulary = version, vocabulary
        self._expected, self._counts, self._n_counted = None, np.zeros(HEAD + 2), 0

    def note(self, folded: Iterable[Items], recommendations: Iterable[Recommendation]) -> None:
        """Count clicks, each the last of the items, and answers; those of other snapshots are left out."""
        find = self._vocabulary.row
        for items in folded:
            row = find(items[-1].item_id)
            self._rows.append(-1 if row is None else row)
        for answer in recommendations:
            if answer.source == "model" and answer.items and answer.snapshot == self.version:
                self._scores.append(answer.items[0].score)
        if len(self._rows) >= _FOLD_AT:
            self._fold()

    def note_hits(self, n_clicks: float, n_hits: float) -> None:
        """Count clicks that were compared with the list before them, and those that were on it."""
        found = np.array([n_clicks, n_hits], dtype=np.float64)
        if self._n_clicks <= self._window:
            return
        if self._usual_hits[0] < self._window:
            self._usual_hits += found
        else:
            self._hits = self._hits * (1 - 1 / self._window) ** n_clicks + found

    def figures(self) -> dict[Figure, float]:
        """What can be said by now."""
        self._fold()
        found: dict[Figure, float] = {}
        enough = min(FEWEST_CLICKS, self._window)
        if self._n_counted >= enough:
            if self._expected is None:
                self._expected = counts_of_vocabulary(self._vocabulary)
            n_effective = min(self._n_counted, 2.0 * self._window)
            found |= figures_of_counts(self._expected, self._counts, n_effective)
        if self._edges is not None and self._n_scores >= enough:
            found[Figure.SCORES] = population_stability(self._usual_counts, self._score_counts)
        if min(self._hits[0], self._usual_hits[0]) >= enough and self._usual_hits[1]:
            rates = self._hits[1] / self._hits[0], self._usual_hits[1] / self._usual_hits[0]
            found[Figure.QUALITY] = max(0.0, float(1 - rates[0] / rates[1]))
        return found

    def _fold(self) -> None:
        """Take in what was noted; older counts fade."""
        if self._rows:
            rows = np.array(self._rows, dtype=np.int64)
            self._counts *= (1 - 1 / self._window) ** len(rows)
            self._counts += head_counts(rows)
            self._n_clicks += len(rows)
            self._n_counted += len(rows)
            self._rows.clear()
        if self._scores and self._n_clicks > self._window:
            self._fold_scores(np.array(self._scores))
        self._scores.clear()

    def _fold_scores(self, scores: Counts) -> None:
        if self._edges is None:
            self._usual += scores.tolist()
            if len(self._usual) >= self._window:
                usual = np.array(self._usual)
                self._edges = np.quantile(usual, np.arange(1, N_BINS) / N_BINS)
                self._usual_counts = _binned(usual, self._edges)
                self._usual.clear()
            return
        self._score_counts *= (1 - 1 / self._window) ** len(scores)
        self._score_counts += _binned(scores, self._edges)
        self._n_scores += len(scores)


def _binned(scores: Counts, edges: Counts) -> Counts:
    return np.bincount(np.searchsorted(edges, scores), minlength=N_BINS).astype(np.float64)
