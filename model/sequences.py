"""Sessions as two flat arrays, so that millions of clicks need no Python object each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from model.arrays import BoolArray, Int64Array

UNKNOWN = -1
"""The row of an item that the vocabulary does not hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """Sessions one after the other, oldest first; session i is `rows[starts[i]:starts[i + 1]]`.

    Attributes:
        rows: item rows in the order of the clicks, `UNKNOWN` for an item outside the vocabulary; (n_clicks,)
        starts: where each session begins, and the number of clicks at the end; (n_sessions + 1,)
        codes: of the clicks' context (`model.encoder_context`) where an encoder is to use it; (n_clicks, 3)
    """

    rows: Int64Array
    starts: Int64Array
    codes: Int64Array | None = None

    def __post_init__(self) -> None:
        """Check that the starts divide the rows, and that every click has its codes."""
        starts = self.starts
        if len(starts) == 0 or starts[0] != 0 or starts[-1] != len(self.rows) or np.any(np.diff(starts) < 0):
            raise ValueError("starts must rise from 0 to the number of clicks")
        if self.codes is not None and len(self.codes) != len(self.rows):
            raise ValueError(f"codes of {len(self.codes)} clicks for {len(self.rows)}")

    @classmethod
    def from_lists(cls, sessions: list[list[int]]) -> Self:
        """Flatten lists of rows, one per session."""
        rows = np.array([row for session in sessions for row in session], dtype=np.int64)
        return cls.from_lengths(rows, np.array([len(session) for session in sessions], dtype=np.int64))

    @classmethod
    def from_lengths(cls, rows: Int64Array, lengths: Int64Array, codes: Int64Array | None = None) -> Self:
        """Sessions of the given lengths, one after the other."""
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
        return cls(rows, starts, codes)

    @classmethod
    def concatenate(cls, first: Self, second: Self) -> Self:
        """The sessions of both; they have codes where both do."""
        both = None if first.codes is None or second.codes is None else (first.codes, second.codes)
        return cls.from_lengths(
            np.concatenate([first.rows, second.rows]),
            np.concatenate([first.lengths, second.lengths]),
            None if both is None else np.concatenate(both),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def n_clicks(self) -> int:
        """Clicks of all sessions together."""
        return len(self.rows)

    @property
    def lengths(self) -> Int64Array:
        """Clicks per session; (n_sessions,)."""
        return np.diff(self.starts)

    @property
    def n_targets(self) -> int:
        """Clicks that have a click before them in their session."""
        return int(np.maximum(self.lengths - 1, 0).sum())

    def session(self, i: int) -> Int64Array:
        """Rows of session i, in click order."""
        return self.rows[self.starts[i] : self.starts[i + 1]]

    def select(self, first: int, last: int) -> Self:
        """Sessions first..last-1."""
        begin, end = self.starts[first], self.starts[last]
        return type(self)(
            self.rows[begin:end], self.starts[first : last + 1] - begin, self._codes_of(slice(begin, end))
        )

    def take(self, sessions: Int64Array) -> Self:
        """The named sessions, in the order given."""
        lengths = self.lengths[sessions]
        ends = np.cumsum(lengths)
        offsets = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        return self._pick(np.repeat(self.starts[sessions], lengths) + offsets, lengths)

    def drop_unknown(self, min_length: int = 1) -> Self:
        """Without the clicks on unknown items, and without the sessions then shorter than `min_length`."""
        known = self.rows != UNKNOWN
        before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(known, dtype=np.int64)])
        lengths = np.diff(before[self.starts])
        return self._pick(known, lengths).drop_short(min_length)

    def drop_short(self, min_length: int) -> Self:
        """Without the sessions of fewer than `min_length` clicks."""
        lengths = self.lengths
        keep = lengths >= max(min_length, 1)
        return self._pick(np.repeat(keep, lengths), lengths[keep])

    def keep_last(self, n: int) -> Self:
        """Of each session its last n clicks at most."""
        places = np.arange(self.n_clicks) - np.repeat(self.starts[1:], self.lengths)
        return self._pick(places >= -n, np.minimum(self.lengths, n))

    def split_newest(self, share: float) -> tuple[Self, Self]:
        """Older sessions and the newest `share` of them (at least one session, where there are two)."""
        n_newest = max(round(len(self) * share), 1 if len(self) > 1 else 0)
        cut = len(self) - n_newest
        return self.select(0, cut), self.select(cut, len(self))

    def _pick(self, clicks: Int64Array | BoolArray, lengths: Int64Array) -> Self:
        """Some clicks, as sessions of the given lengths."""
        return self.from_lengths(self.rows[clicks], lengths, self._codes_of(clicks))

    def _codes_of(self, clicks: Int64Array | BoolArray | slice) -> Int64Array | None:
        return None if self.codes is None else self.codes[clicks]
