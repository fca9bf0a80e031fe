"""Rankers: what recommends items after each click, and so can be measured.

The encoder's goes through the served path: `advance`, rounding of the state, `queries`, the index, top k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from model.arrays import Float32Array, Int64Array
from model.encoder_protocol import Encoder
from model.sequences import UNKNOWN, Sequences

SESSIONS_AT_ONCE = 4_096
ANSWERS_AT_ONCE = 512

Search: TypeAlias = Callable[[Float32Array, int], tuple[Float32Array, Int64Array]]
"""An index's search: queries (n, dim) and k → scores (n, k) and rows (n, k), best first."""


class Answers(NamedTuple):
    """What a ranker recommends after some clicks."""

    clicks: Int64Array  # (n,) places in `Sequences.rows`
    scores: Float32Array  # (n, m) best first
    rows: Int64Array  # (n, m)


class Ranker(Protocol):
    """Something that recommends items after each click of a session."""

    def answers(self, sequences: Sequences, n_candidates: int) -> Iterator[Answers]:
        """Answer every click but each session's last, in any order, with `n_candidates` items each.

        An answer may depend on the session's clicks up to the one answered and on nothing later.
        """


class EncoderRanker:
    """The encoder and an index: what a worker serves."""

    def __init__(
        self,
        encoder: Encoder,
        search: Search,
        counts: Int64Array,
        state_dtype: npt.DTypeLike = np.float16,
    ) -> None:
        """Take the parts.

        Args:
            encoder: in serving mode.
            search: of an index of the encoder's item vectors.
            counts: clicks per row, falling; a session without a known item gets the most popular.
            state_dtype: what states are rounded to after every click, as they are in a session record.
        """
        self.encoder = encoder
        self.search = search
        self._popular = PopularRanker(counts)
        self._state_dtype = state_dtype

    def answers(self, sequences: Sequences, n_candidates: int) -> Iterator[Answers]:
        """Answer in rounds: the n-th click of many sessions at once."""
        for clicks, states, known in states_after_clicks(self.encoder, sequences, self._state_dtype):
            for begin in range(0, len(clicks), ANSWERS_AT_ONCE):
                part = slice(begin, begin + ANSWERS_AT_ONCE)
                queries = self.encoder.queries(states[part])
                scores, rows = self.best(sequences, clicks[part], queries, n_candidates)
                unknown = ~known[part]
                if unknown.any():
                    scores[unknown], rows[unknown] = self._popular.best(n_candidates)
                yield Answers(clicks[part], scores, rows)

    def best(
        self, sequences: Sequences, clicks: Int64Array, queries: Float32Array, n: int
    ) -> tuple[Float32Array, Int64Array]:
        """Scores and rows after clicks whose queries are these, best first; (n_clicks, n) each."""
        return self.search(queries, n)


class PopularRanker:
    """The most clicked items, whatever the session."""

    def __init__(self, counts: Int64Array) -> None:
        self._counts = counts

    def best(self, n: int) -> tuple[Float32Array, Int64Array]:
        """Scores and rows of the n most popular; (n,) each, padded with -inf and -1."""
        scores = np.full(n, -np.inf, dtype=np.float32)
        rows = np.full(n, UNKNOWN, dtype=np.int64)
        n_found = min(n, len(self._counts))
        scores[:n_found] = self._counts[:n_found]
        rows[:n_found] = np.arange(n_found)
        return scores, rows

    def answers(self, sequences: Sequences, n_candidates: int) -> Iterator[Answers]:
        """The same for every click."""
        best_scores, best_rows = self.best(n_candidates)
        clicks = clicks_with_next(sequences)
        for begin in range(0, len(clicks), SESSIONS_AT_ONCE):
            part = clicks[begin : begin + SESSIONS_AT_ONCE]
            shape = (len(part), n_candidates)
            yield Answers(part, np.broadcast_to(best_scores, shape), np.broadcast_to(best_rows, shape))


def clicks_with_next(sequences: Sequences) -> Int64Array:
    """Places of all clicks but each session's last: those that an answer can be measured for."""
    is_last = np.zeros(sequences.n_clicks, dtype=np.bool_)
    is_last[sequences.starts[1:][sequences.lengths > 0] - 1] = True
    return np.flatnonzero(~is_last)


def states_after_clicks(
    encoder: Encoder, sequences: Sequences, state_dtype: npt.DTypeLike = np.float16
) -> Iterator[tuple[Int64Array, Float32Array, npt.NDArray[np.bool_]]]:
    """Run sessions through the encoder, each from the initial state, many side by side.

    Yields, for every click but each session's last: places of the clicks (n,), states after them
    (n, state_dim), and whether the session has had a known item by then (n,). Unknown items do not
    move the state.
    """
    for first in range(0, len(sequences), SESSIONS_AT_ONCE):
        last = min(first + SESSIONS_AT_ONCE, len(sequences))
        starts, lengths = sequences.starts[first:last], sequences.lengths[first:last]
        order = np.argsort(-lengths, kind="stable")  # long ones first: those still running are a prefix
        starts, falling = starts[order], -lengths[order]
        states = encoder.initial_states(last - first)
        seen = np.zeros(last - first, dtype=np.bool_)
        for step in range(int(-falling[0]) - 1):
            n = int(np.searchsorted(falling, -(step + 1), side="left"))  # those with a click after this one
            clicks = starts[:n] + step
            rows = sequences.rows[clicks]
            moved = np.flatnonzero(rows != UNKNOWN)
            if len(moved):
                codes = None if sequences.codes is None else sequences.codes[clicks[moved]]
                states[moved] = encoder.advance(states[moved], rows[moved], codes).astype(state_dtype)
                seen[moved] = True
            yield clicks, states[:n].copy(), seen[:n].copy()


def sample_queries(encoder: Encoder, sequences: Sequences, n: int = 500) -> Float32Array:
    """Queries as they come in service, at least n where there are so many; for tuning an index."""
    newest = sequences.drop_unknown(min_length=2)
    newest = newest.select(max(len(newest) - n, 0), len(newest))
    queries = [encoder.queries(states) for _, states, _ in states_after_clicks(encoder, newest)]
    empty = np.empty((0, encoder.query_dim), dtype=np.float32)
    return np.concatenate([empty, *queries])
