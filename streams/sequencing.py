"""Clicks cut into sessions for a model, by the rule that the worker cuts them by."""

import numpy as np
from numpy.typing import NDArray

from model.encoder_context import ContextCoder
from model.sequences import Sequences
from model.vocabulary import Vocabulary
from streams.clickfile import ClickColumns
from streams.session import gap_exceeded


def cut_sessions(
    clicks: ClickColumns, vocabulary: Vocabulary, gap_ms: int | None, coder: ContextCoder | None = None
) -> Sequences:
    """Sessions in the order in which they end, each one's clicks in the order given.

    A session is what one session id clicked without a pause longer than ``gap_ms``; None does not cut.
    Items outside the vocabulary stay, as unknown. The sessions have codes of context where there is a coder.
    """
    return cut_with_ends(clicks, vocabulary, gap_ms, coder)[0]


def cut_with_ends(
    clicks: ClickColumns, vocabulary: Vocabulary, gap_ms: int | None, coder: ContextCoder | None = None
) -> tuple[Sequences, NDArray[np.int64]]:
    """``cut_sessions``, and the time of each session's last click in milliseconds."""
    sequences, time_ms = cut_with_times(clicks, vocabulary, gap_ms, coder)
    return sequences, time_ms[sequences.starts[1:] - 1]


def cut_with_times(
    clicks: ClickColumns, vocabulary: Vocabulary, gap_ms: int | None, coder: ContextCoder | None = None
) -> tuple[Sequences, NDArray[np.int64]]:
    """``cut_sessions``, and the time of each of their clicks in milliseconds."""
    places = cut_places(clicks, gap_ms)
    return in_rows_of(vocabulary, clicks, places, coder), clicks.time_ms[places.rows]


def cut_places(clicks: ClickColumns, gap_ms: int | None) -> Sequences:
    """The sessions before any vocabulary knows them: in place of rows the places of their clicks."""
    n_clicks = len(clicks)
    if n_clicks == 0:
        return Sequences(np.empty(0, dtype=np.int64), np.zeros(1, dtype=np.int64))
    numbers = _number(clicks.session_ids)
    by_session = np.argsort(numbers, kind="stable")
    begins = _begins(numbers[by_session], clicks.time_ms[by_session], gap_ms)
    starts = np.append(np.flatnonzero(begins), n_clicks)
    ends_at = by_session[starts[1:] - 1]  # the place of each session's last click
    return Sequences(by_session, starts).take(np.argsort(ends_at, kind="stable"))


def in_rows_of(
    vocabulary: Vocabulary, clicks: ClickColumns, places: Sequences, coder: ContextCoder | None = None
) -> Sequences:
    """Sessions of places (``cut_places``, or some of them) in the rows of a vocabulary."""
    codes = None
    if coder is not None:
        is_first = np.zeros(places.n_clicks, dtype=np.bool_)
        is_first[places.starts[:-1]] = True
        codes = coder.codes(clicks.each_kind()[places.rows], clicks.time_ms[places.rows], is_first)
    return Sequences(vocabulary.rows(clicks.item_ids[places.rows]), places.starts, codes)


def _number(ids: NDArray[np.object_]) -> NDArray[np.int64]:
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(id_, len(numbers)) for id_ in ids), dtype=np.int64, count=len(ids))


def _begins(numbers: NDArray[np.int64], time_ms: NDArray[np.int64], gap_ms: int | None) -> NDArray[np.bool_]:
    """Whether each click, in order by session, begins a session."""
    begins = np.ones(len(numbers), dtype=bool)
    begins[1:] = numbers[1:] != numbers[:-1]
    if gap_ms is None:
        return begins
    # The latest time so far within each id: a running maximum over ranks lifted above all ids before.
    times, ranks = np.unique(time_ms, return_inverse=True)
    lift = numbers * len(times)
    latest_ms = times[np.maximum.accumulate(ranks + lift) - lift]
    begins[1:] |= np.asarray(gap_exceeded(latest_ms[:-1], time_ms[1:], gap_ms)) & ~begins[1:]
    return begins
