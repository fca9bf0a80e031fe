"""A recorded stream in slices: each is foretold by what was learnt before it began.

A click belongs to the slice of its own time, whichever session it is of. What may be learnt from before a
slice are the sessions that had ended by then, so that nothing is learnt that had not yet happened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from model.arrays import BoolArray, Int64Array
from model.sequences import UNKNOWN, Sequences


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """A part of the stream.

    Attributes:
        begin_ms: time of its first target.
        sessions: numbers of the sessions that have a target in it; (n,)
        counted: which of these sessions' clicks, one session after the other, are its targets; (n_clicks,)
        n_targets: how many there are.
        n_ended: how many sessions of the stream had ended before it.
    """

    begin_ms: int
    sessions: Int64Array
    counted: BoolArray
    n_targets: int
    n_ended: int


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """Sessions in the order in which they ended, with the time of each click.

    Attributes:
        sequences: the sessions, none without a click.
        time_ms: (n_clicks,)
        ends_ms: when each session ended, which its last click that is left need not tell; (n_sessions,)
    """

    sequences: Sequences
    time_ms: Int64Array
    ends_ms: Int64Array

    def __post_init__(self) -> None:
        """Check that every click has its time, and that the sessions stand in the order of their ends."""
        if (len(self.time_ms), len(self.ends_ms)) != (self.sequences.n_clicks, len(self.sequences)):
            raise ValueError("every click needs its time and every session its end")
        if np.any(np.diff(self.ends_ms) < 0):
            raise ValueError("sessions must stand in the order in which they ended")

    @classmethod
    def of(cls, sequences: Sequences, time_ms: Int64Array) -> Self:
        """Of whole sessions, each of which ends with its last click."""
        return cls(sequences, time_ms, time_ms[sequences.starts[1:] - 1])

    def drop_unknown(self) -> Self:
        """Without the clicks on unknown items, and without the sessions that have no other."""
        known = self.sequences.rows != UNKNOWN
        left = np.logical_or.reduceat(known, self.sequences.starts[:-1]) if len(known) else known
        return type(self)(self.sequences.drop_unknown(), self.time_ms[known], self.ends_ms[left])

    def drop_short(self, min_length: int) -> Self:
        """Without the sessions of fewer clicks."""
        keep = self.sequences.lengths >= min_length
        clicks = np.repeat(keep, self.sequences.lengths)
        return type(self)(self.sequences.drop_short(min_length), self.time_ms[clicks], self.ends_ms[keep])

    def slices(self, n: int) -> Iterator[Slice]:
        """At most n slices of about as many targets each; clicks of one moment stay together."""
        lengths, starts = self.sequences.lengths, self.sequences.starts
        is_target = np.ones(len(self.time_ms), dtype=np.bool_)
        is_target[starts[:-1]] = False
        times = np.sort(self.time_ms[is_target])
        begins = np.unique(times[np.arange(n) * len(times) // n]) if len(times) else times
        slice_of = np.searchsorted(begins, self.time_ms, side="right") - 1
        session_of = np.repeat(np.arange(len(lengths)), lengths)
        for number, begin_ms in enumerate(begins.tolist()):
            own = is_target & (slice_of == number)
            sessions = np.unique(session_of[own])
            of_sessions = np.zeros(len(lengths), dtype=np.bool_)
            of_sessions[sessions] = True
            counted = own[np.repeat(of_sessions, lengths)]
            n_ended = int(np.searchsorted(self.ends_ms, begin_ms, side="left"))
            yield Slice(begin_ms, sessions, counted, int(own.sum()), n_ended)


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """The items known at some moment, by falling number of clicks, among all that will ever be.

    Attributes:
        items: which of all items the rows are; (n_rows,)
        counts: clicks per row, falling; (n_rows,)
        row_of: row of each of all items, `UNKNOWN` where it is not known yet, and once more for an item that
            never will be; (n_all + 1,)
    """

    items: Int64Array
    counts: Int64Array
    row_of: Int64Array

    @classmethod
    def of(cls, sequences: Sequences, n_all: int) -> Self:
        """Of the items that were clicked in the sessions, whose rows number all items."""
        counts = np.bincount(sequences.rows[sequences.rows != UNKNOWN], minlength=n_all)
        items = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
        row_of = np.full(n_all + 1, UNKNOWN, dtype=np.int64)
        row_of[items] = np.arange(len(items))
        return cls(items, counts[items], row_of)

    def encode(self, sequences: Sequences) -> Sequences:
        """The same sessions in rows of this catalogue."""
        return Sequences(self.row_of[sequences.rows], sequences.starts, sequences.codes)
