"""The served ranking as a method that can be measured: encoder, index, memory and blend, as in a worker."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from model.arrays import Int64Array
from model.blend import BlendedRanking
from model.encoder_protocol import Encoder
from model.ranking import ANSWERS_AT_ONCE, Answers, PopularRanker, Search, states_after_clicks
from model.sequences import UNKNOWN, Sequences

REMEMBERED_ITEMS = 20
"""How many of a session's last items a worker remembers."""


class BlendRanker:
    """What a worker serves from a snapshot with a blend."""

    def __init__(
        self,
        encoder: Encoder,
        search: Search,
        counts: Int64Array,
        ranking: BlendedRanking,
        state_dtype: npt.DTypeLike = np.float16,
    ) -> None:
        """Take the parts; see `model.ranking.EncoderRanker`."""
        self.encoder = encoder
        self.ranking = ranking
        self._search = search
        self._popular = PopularRanker(counts)
        self._state_dtype = state_dtype

    def answers(self, sequences: Sequences, n_candidates: int) -> Iterator[Answers]:
        """See `model.ranking.Ranker`."""
        for clicks, states, known in states_after_clicks(self.encoder, sequences, self._state_dtype):
            for begin in range(0, len(clicks), ANSWERS_AT_ONCE):
                part = slice(begin, begin + ANSWERS_AT_ONCE)
                recent = recent_rows(sequences, clicks[part])
                queries = self.encoder.queries(states[part])
                scores, rows = self.ranking.find(self._search, queries, recent, n_candidates)
                unknown = ~known[part]
                if unknown.any():
                    scores[unknown], rows[unknown] = self._popular.best(n_candidates)
                yield Answers(clicks[part], scores, rows)


def recent_rows(sequences: Sequences, clicks: Int64Array) -> Int64Array:
    """Rows of each session's last items up to the click, newest first; (n, `REMEMBERED_ITEMS`).

    Args:
        sequences: the sessions.
        clicks: places in their rows; (n,)

    Returns:
        `UNKNOWN` for unknown items, which keep their place, and before the session's first.
    """
    starts = sequences.starts[np.searchsorted(sequences.starts, clicks, side="right") - 1]
    places = clicks[:, None] - np.arange(REMEMBERED_ITEMS)
    return np.where(places >= starts[:, None], sequences.rows[np.maximum(places, 0)], UNKNOWN)
