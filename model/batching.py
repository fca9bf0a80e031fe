"""Session-parallel mini-batches: every lane plays one session after the other, all lanes step together.

As in GRU4Rec (Hidasi et al. 2016): sessions come oldest first, and the next one takes the lane that
falls free first. The pairs of a click and its successor are laid out once, as a grid of steps and
lanes; an epoch then only slices it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.arrays import BoolArray, Int64Array
from model.sequences import Sequences

IDLE = -1
"""Stands in a lane that no session is left for, at the end of an epoch."""
LONGEST_PIECE = 256
"""Sessions of more clicks (robots, mostly) are cut, so that one of them cannot keep a whole epoch waiting."""


class Window(NamedTuple):
    """Some steps of all lanes; each array (steps, lanes)."""

    inputs: Int64Array  # clicked rows, IDLE in an idle lane
    targets: Int64Array  # the rows clicked next, IDLE in an idle lane
    begins: BoolArray  # True where a session begins, so that the lane's state starts afresh
    codes: Int64Array | None = None  # of the inputs' context, where the sessions have them; (…, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """All pairs of an epoch as a grid; see `Window` for the arrays."""

    inputs: Int64Array
    targets: Int64Array
    begins: BoolArray
    codes: Int64Array | None = None

    @property
    def n_pairs(self) -> int:
        """Pairs of a click and its successor."""
        return int((self.targets != IDLE).sum())

    def windows(self, n_steps: int) -> Iterator[Window]:
        """The epoch in windows of `n_steps` steps; the last may be shorter."""
        for at in range(-(-len(self.inputs) // n_steps)):
            yield self.window(at, n_steps)

    def window(self, at: int, n_steps: int) -> Window:
        """One of the windows, the first is 0."""
        part = slice(at * n_steps, (at + 1) * n_steps)
        codes = None if self.codes is None else self.codes[part]
        return Window(self.inputs[part], self.targets[part], self.begins[part], codes)


def lay_out(sequences: Sequences, n_lanes: int) -> Lanes:
    """Give every session a lane and a first step; sessions of one click have no pair and are left out."""
    known = sequences.drop_unknown(min_length=2)
    starts, n_pairs = _pieces(known)
    lane_of, step_of, n_steps = _assign(n_pairs, n_lanes)
    inputs = np.full((n_steps, n_lanes), IDLE, dtype=np.int64)
    targets = np.full((n_steps, n_lanes), IDLE, dtype=np.int64)
    begins = np.zeros((n_steps, n_lanes), dtype=np.bool_)
    ends = np.cumsum(n_pairs)
    within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - n_pairs, n_pairs)
    clicks = np.repeat(starts, n_pairs) + within
    places = (np.repeat(step_of, n_pairs) + within, np.repeat(lane_of, n_pairs))
    inputs[places] = known.rows[clicks]
    targets[places] = known.rows[clicks + 1]
    begins[step_of, lane_of] = True
    codes = None
    if known.codes is not None:
        codes = np.zeros((n_steps, n_lanes, known.codes.shape[1]), dtype=np.int64)
        codes[places] = known.codes[clicks]
    return Lanes(inputs, targets, begins, codes)


def _pieces(known: Sequences) -> tuple[Int64Array, Int64Array]:
    """Each piece's first click and number of pairs; two pieces share the click at their cut."""
    n_pairs = known.lengths - 1
    n_pieces = -(-n_pairs // LONGEST_PIECE)
    ends = np.cumsum(n_pieces)
    nth = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - n_pieces, n_pieces)
    begin = nth * LONGEST_PIECE
    length = np.minimum(np.repeat(n_pairs, n_pieces) - begin, LONGEST_PIECE)
    return np.repeat(known.starts[:-1], n_pieces) + begin, length


def _assign(n_pairs: Int64Array, n_lanes: int) -> tuple[Int64Array, Int64Array, int]:
    """Lane and first step of each piece, and the number of steps: one heap operation per session."""
    free = [(0, lane) for lane in range(n_lanes)]
    taken = []
    for length in n_pairs.tolist():
        step, lane = free[0]
        taken.append((lane, step))
        heapq.heapreplace(free, (step + length, lane))
    lane_of, step_of = np.array(taken, dtype=np.int64).reshape(-1, 2).T
    return lane_of, step_of, max(step for step, _ in free)
