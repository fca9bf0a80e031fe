"""Drift: how far the newest clicks are from those that a snapshot was made of.

Four figures, each 0 where nothing has changed. The popularity and the unknown items can be told from clicks
alone: a worker watches them as it answers, and a trainer asks the same of the clicks that it reads, to know
whether a refresh will do. Scores and quality are of a worker's answers.

Pure figures; `streams/drift_watch.py` has the worker's counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # every command reads the settings, and these the limits
    from model.vocabulary import Vocabulary

HEAD: Final = 256
"""So many of the most popular items are told apart; what is clicked too rarely says nothing of a shift."""
FEWEST_CLICKS: Final = 1_000
"""Of fewer nothing is said."""

CALM: Final = 0.8
"""Below this share of its limit a figure has calmed down."""

Counts = NDArray[np.float64]


class Figure(StrEnum):
    """What may drift."""

    POPULARITY = "popularity"  # Jensen-Shannon distance of what is clicked, 0 to 1
    UNKNOWN = "unknown"  # share of the clicks on items that the snapshot does not know
    SCORES = "scores"  # population stability index of the best items' scores
    QUALITY = "quality"  # share of the expected hit rate that is missing


OF_VOCABULARY: Final = (Figure.POPULARITY, Figure.UNKNOWN)
"""Those that are told by what one snapshot knows, and begin anew with the next."""

_WHAT: Final = {
    Figure.POPULARITY: "what is clicked is no longer what the snapshot was trained on",
    Figure.UNKNOWN: "many clicks are on items that the snapshot does not know",
    Figure.SCORES: "answers score otherwise than they did",
    Figure.QUALITY: "fewer clicks are on what was recommended than there were",
}


@dataclass(frozen=True, slots=True)
class DriftLimits:
    """From where on each figure is an alarm."""

    popularity: float = 0.3
    unknown: float = 0.1
    scores: float = 0.25
    quality: float = 0.2

    def crossed(self, figures: Mapping[Figure, float]) -> list[Figure]:
        """Those of the figures that are above their limits."""
        return [figure for figure, value in figures.items() if value > self.of(figure)]

    def of(self, figure: Figure) -> float:
        """The limit of one figure."""
        limit: float = getattr(self, figure.value)
        return limit

    def told(self, figure: Figure, value: float) -> str:
        """What a figure above its limit means, in words."""
        return f"{_WHAT[figure]} ({figure} is {value:.3f}, the limit {self.of(figure):g})"


class DriftAlarms:
    """Which figures are above their limits; one that is has to calm down before it is told again."""

    def __init__(self, limits: DriftLimits) -> None:
        self.limits = limits
        self.raised: set[Figure] = set()

    def update(self, figures: Mapping[Figure, float]) -> list[Figure]:
        """Give the figures that have crossed their limits since the last time."""
        crossed = [figure for figure in self.limits.crossed(figures) if figure not in self.raised]
        calm = {one for one in self.raised if figures.get(one, np.inf) <= CALM * self.limits.of(one)}
        self.raised = (self.raised - calm) | set(crossed)
        return crossed

    def forget(self, figures: Iterable[Figure]) -> None:
        """Begin anew with these: they are of another snapshot now."""
        self.raised -= set(figures)


@dataclass(frozen=True, slots=True, eq=False)
class ClickCounts:
    """Clicks beside what a snapshot counts, both as `head_counts` gives them."""

    expected: Counts
    found: Counts

    def __add__(self, later: ClickCounts) -> ClickCounts:
        """These clicks and later ones, beside what the later snapshot counts."""
        return ClickCounts(later.expected, self.found + later.found)

    def figures(self) -> dict[Figure, float]:
        """What clicks alone tell; nothing of fewer than a thousand."""
        n_clicks = float(self.found.sum())
        return figures_of_counts(self.expected, self.found, n_clicks) if n_clicks >= FEWEST_CLICKS else {}


def counts_of_clicks(vocabulary: Vocabulary, item_ids: Iterable[str]) -> ClickCounts:
    """Count clicks, in any order, beside the snapshot that has this vocabulary."""
    return ClickCounts(counts_of_vocabulary(vocabulary), head_counts(vocabulary.rows(item_ids)))


def counts_of_vocabulary(vocabulary: Vocabulary) -> Counts:
    """The clicks that a snapshot was made of."""
    return head_counts(np.arange(len(vocabulary)), vocabulary.counts)


def figures_of_counts(expected: Counts, found: Counts, n_effective: float) -> dict[Figure, float]:
    """Both figures of counts as `head_counts` gives them, those found worth so many clicks."""
    unknown = found[-1] / found.sum()
    return {
        Figure.POPULARITY: jensen_shannon(expected[:-1], found[:-1], n_effective * (1 - unknown)),
        Figure.UNKNOWN: float(unknown),
    }


def head_counts(rows: NDArray[np.int64], weights: NDArray[np.int64] | None = None) -> Counts:
    """Clicks on each of the most popular items, on all others, and on unknown ones; (HEAD + 2,)."""
    places = np.where(rows < 0, HEAD + 1, np.minimum(rows, HEAD))
    return np.bincount(places, weights=weights, minlength=HEAD + 2).astype(np.float64)


def jensen_shannon(expected: Counts, found: Counts, n_found: float | None = None) -> float:
    """Jensen-Shannon distance of two samples of counts, base 2: 0 for the same shares, 1 for disjoint ones.

    Two samples of the same source differ by chance, by (bins - 1) / (8 ln 2) · (1 / n + 1 / m) bits in the
    mean, for that divergence is a chi-square's; it is taken off. ``n_found`` says what the found counts are
    worth where they are weighted.
    """
    n_found = float(found.sum()) if n_found is None else n_found
    if not expected.sum() or not found.sum() or n_found <= 0:
        return 0.0
    p, q = expected / expected.sum(), found / found.sum()
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    n_bins = int((middle > 0).sum())
    chance = (n_bins - 1) / (8 * np.log(2)) * (1 / float(expected.sum()) + 1 / n_found)
    return float(np.sqrt(max(0.0, divergence - chance)))


def _relative_entropy(p: Counts, q: Counts) -> float:
    there = p > 0
    return float(np.sum(p[there] * np.log2(p[there] / q[there])))


def population_stability(expected: Counts, found: Counts) -> float:
    """Population stability index, Σ (q - p) ln(q / p): by custom under .1 is calm and over .25 a shift.

    Half a count is added to every bin, so that an empty one is not infinitely far.
    """
    p, q = expected + 0.5, found + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum((q - p) * np.log(q / p)))
