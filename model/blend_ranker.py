"""The served ranking as a method that can be measured: encoder, index, memory and blend, as in a worker."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model.arrays import Float32Array, Int64Array
from model.blend import BlendedRanking
from model.encoder_protocol import Encoder
from model.ranking import EncoderRanker, Search
from model.sequences import UNKNOWN, Sequences

REMEMBERED_ITEMS = 20
"""How many of a session's last items a worker remembers."""


class BlendRanker(EncoderRanker):
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
        super().__init__(encoder, search, counts, state_dtype)
        self.ranking = ranking

    def best(
        self, sequences: Sequences, clicks: Int64Array, queries: Float32Array, n: int
    ) -> tuple[Float32Array, Int64Array]:
        """See `model.ranking.EncoderRanker`; the sessions' last items bring candidates, too."""
        return self.ranking.find(self.search, queries, recent_rows(sequences, clicks), n)


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
