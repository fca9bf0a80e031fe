"""Foretell every next item of held-out sessions, and count how well.

A ranker answers clicks; this module compares the answers with what was clicked next. Sums are kept by
session, because a session's clicks depend on each other: intervals and tests resample sessions. Memory grows
with the sessions and the items, not with the clicks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from model.arrays import BoolArray, Float32Array, Int64Array
from model.metrics import METRICS, Accuracy, Float64Array, gains, ranks_against_us
from model.ranking import (
    Answers,
    EncoderRanker,
    PopularRanker,
    Ranker,
    Search,
    sample_queries,
    states_after_clicks,
)
from model.sequences import UNKNOWN, Sequences

__all__ = [
    "Answers",
    "EncoderRanker",
    "Measurement",
    "PopularRanker",
    "Ranker",
    "Search",
    "by_session_length",
    "evaluate_next_items",
    "measure",
    "sample_queries",
    "states_after_clicks",
]

REMEMBERED_ITEMS = 20
"""How many of a session's last items a worker remembers, and so can leave out."""
REPEAT_RULES = {"all": 0, "not-last": 1, "none": REMEMBERED_ITEMS}
"""What a session's answers may repeat, and how many of its last items that leaves out."""
LENGTHS = (2, 3, 4, 5, 10, 20)
"""Where the groups of sessions begin that figures by length are given for; the last has no end."""

Ranks: TypeAlias = Callable[[Float32Array, Int64Array, Int64Array], Int64Array]
"""How targets are ranked: scores (n, m), rows (n, m), targets (n,) → ranks (n,), from 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """What a ranker achieved on some sessions; arrays of one length belong to the same sessions.

    Attributes:
        k: length of the answers that count.
        targets: how many were counted in each session; (n_sessions,)
        sums: each session's `gains`, summed; (n_sessions, 3)
        at_rank: how many targets had rank 1, 2, … k; (k,)
        listed: how often each item stood among the best k; (n_items,), or empty where it was not asked for.
    """

    k: int
    targets: Int64Array
    sums: Float64Array
    at_rank: Int64Array
    listed: Int64Array

    @classmethod
    def nothing(cls, n_sessions: int, k: int, n_items: int = 0) -> Measurement:
        """Before the first answer."""
        return cls(
            k,
            np.zeros(n_sessions, dtype=np.int64),
            np.zeros((n_sessions, len(METRICS))),
            np.zeros(k, dtype=np.int64),
            np.zeros(n_items, dtype=np.int64),
        )

    def add(self, sessions: Int64Array, ranks: Int64Array) -> None:
        """Count targets: the session of each and its rank; (n,)."""
        np.add.at(self.targets, sessions, 1)
        np.add.at(self.sums, sessions, gains(ranks, self.k))
        self.at_rank[:] += np.bincount(ranks[ranks <= self.k], minlength=self.k + 1)[1:]

    def accuracy(self, chosen: BoolArray | None = None) -> Accuracy:
        """Over all sessions, or over the chosen ones."""
        targets, sums = self.targets, self.sums
        if chosen is not None:
            targets, sums = targets[chosen], sums[chosen]
        return Accuracy.of_sums(sums.sum(axis=0), int(targets.sum()), self.k)

    def accuracy_at(self, k: int) -> Accuracy:
        """Over all sessions with shorter answers."""
        counted = self.at_rank[:k]
        ranks = np.arange(1, len(counted) + 1)
        return Accuracy.of_sums(counted @ gains(ranks, k), int(self.targets.sum()), k)


def evaluate_next_items(
    ranker: Ranker, sequences: Sequences, k: int = 20, repeat_items: str = "all"
) -> Accuracy:
    """Accuracy over every click that has one before it in its session; see `measure`."""
    return measure(ranker, sequences, k, (repeat_items,))[repeat_items].accuracy()


def measure(
    ranker: Ranker,
    sequences: Sequences,
    k: int = 20,
    rules: tuple[str, ...] = tuple(REPEAT_RULES),
    ranks_of: Ranks = ranks_against_us,
    *,
    n_items: int = 0,
    as_served: bool = False,
    counted: BoolArray | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Measurement]:
    """Measure a ranker under several rules of what may repeat, in one pass.

    Clicks on unknown items stay targets, which nobody can hit; drop them before if they are not to count.

    Args:
        ranker: what is measured.
        sequences: the sessions to foretell.
        k: length of the answers that count.
        rules: of `REPEAT_RULES`; a target that the rule leaves out is a miss.
        ranks_of: how ties count, `ranks_against_us` or `ranks_for_us` of `model.metrics`.
        n_items: size of the catalogue; 0 where nobody asks what was listed.
        as_served: asks for exactly what a worker asks for, whose index looks the less far the less it is
            asked for; what ties with the last of the list is then not seen. It takes one rule at a time.
        counted: which clicks count as targets, all where it is None; (n_clicks,)
        on_progress: told how many clicks are answered, after every part of the answers.
    """
    if as_served and len(rules) != 1:
        raise ValueError("what is asked for depends on the rule: measure one at a time")
    # One candidate more than can be needed: a tie across the edge of the list must be seen.
    n_candidates = k + (0 if as_served else 1) + max(REPEAT_RULES[rule] for rule in rules)
    session_of = np.repeat(np.arange(len(sequences)), sequences.lengths)
    found = {rule: Measurement.nothing(len(sequences), k, n_items) for rule in rules}
    n_done = 0
    for clicks, scores, rows in ranker.answers(sequences, n_candidates):
        n_done += len(clicks)
        if counted is not None:
            counts = counted[clicks + 1]
            clicks, scores, rows = clicks[counts], scores[counts], rows[counts]
        targets, sessions = sequences.rows[clicks + 1], session_of[clicks]
        for rule, measurement in found.items():
            recent = _recent_rows(sequences.rows, clicks, sequences.starts[sessions], REPEAT_RULES[rule])
            left_out = (rows[:, :, None] == recent[:, None, :]).any(axis=2)
            allowed = np.where(left_out, np.float32(-np.inf), scores)
            measurement.add(sessions, ranks_of(allowed, rows, targets))
            if n_items:
                np.add.at(measurement.listed, _best(allowed, rows, k), 1)
        if on_progress is not None:
            on_progress(n_done)
    if n_done != sequences.n_targets:
        raise ValueError(f"{n_done} answers to {sequences.n_targets} clicks: those left out would not count")
    return found


def _recent_rows(rows: Int64Array, clicks: Int64Array, starts: Int64Array, n: int) -> Int64Array:
    """Rows of each session's last n clicks up to the given one, `UNKNOWN` before its first; (clicks, n)."""
    places = clicks[:, None] - np.arange(n)
    return np.where(places >= starts[:, None], rows[np.maximum(places, 0)], UNKNOWN)


def _best(scores: Float32Array, rows: Int64Array, k: int) -> Int64Array:
    """The rows of all answers' best k, one after the other; scores are best first, -inf where left out."""
    there = np.isfinite(scores) & (rows != UNKNOWN)
    best: Int64Array = rows[there & (np.cumsum(there, axis=1) <= k)]
    return best


def by_session_length(measurement: Measurement, lengths: Int64Array) -> Iterator[tuple[str, int, Accuracy]]:
    """Name of each group of lengths that occurs, its number of sessions, and the accuracy in it."""
    for begin, after in zip(LENGTHS, (*LENGTHS[1:], None), strict=True):
        chosen = (lengths >= begin) if after is None else (lengths >= begin) & (lengths < after)
        if not chosen.any():
            continue
        name = f"{begin}+" if after is None else str(begin) if after == begin + 1 else f"{begin}-{after - 1}"
        yield name, int(chosen.sum()), measurement.accuracy(chosen)
