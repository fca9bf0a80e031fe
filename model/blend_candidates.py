"""The candidates of a click and their features: what the blend orders.

A candidate is one of the encoder's nearest items, an item that a link of the session's last items leads to,
or an item of the session itself. All clicks of a batch are gathered together, in arrays of the batch's
candidates, because a worker has some hundred microseconds for a click and none for a Python loop.

A feature must be computable from a session record: the last `REMEMBERED_ITEMS` items, newest first, of
which unknown ones keep their place.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from model.arrays import Float32Array, Int64Array
from model.blend_memory import ItemMemory
from model.sequences import UNKNOWN

FEATURES: Final = (
    "lstm",  # log-probability among the nearest items; one less than the least of them where it is none
    "confidence",  # the log-probability of the nearest
    "forward",  # log of the forward weights from the last items, recent ones counting more
    "forward-last",  # log of the forward weight from the last item
    "together",  # like forward, in either order
    "popularity",
    "recent-popularity",
    "last",  # 1 for the item clicked last, else 0
    "second-last",
    "third-last",
    "older",  # 1 for an item clicked before those
    "times",  # log(1 + clicks on the item in the session)
    "length",  # log of the session's clicks
    "variety",  # different items over clicks of the session
)
NEAREST: Final = 64
"""So many of the encoder's nearest items are candidates, at least."""
LINKED_ITEMS: Final = 5
"""The links of so many last items are followed."""
RECENCY: Final = 1.5
"""A link from the item clicked n clicks before the last counts exp(-n / RECENCY)."""

_SMALLEST = np.float32(1e-4)
DECAY = np.exp(-np.arange(LINKED_ITEMS) / RECENCY).astype(np.float32)


class Candidates(NamedTuple):
    """Candidates of some clicks, those of a click together, in the order of the clicks, none twice."""

    counts: Int64Array  # of each click; (n_clicks,)
    rows: Int64Array  # (n,)
    features: Float32Array  # (len(FEATURES), n)


class Entries(NamedTuple):
    """Mentions of items: the click each belongs to, and the item's row."""

    clicks: Int64Array
    rows: Int64Array


def gather(memory: ItemMemory, scores: Float32Array, nearest: Int64Array, recent: Int64Array) -> Candidates:
    """Collect the candidates of a batch of clicks.

    Args:
        memory: links and popularity.
        scores: the encoder's for its nearest items, best first; (n, k)
        nearest: their rows, `UNKNOWN` past the end of the catalogue; (n, k), k at least `NEAREST` or the
            size of the catalogue.
        recent: rows of the session's last items, newest first, `UNKNOWN` where there is none; (n, m)
    """
    n_clicks = len(nearest)
    of_encoder = _entries(nearest)
    at, source, depth = _links(memory, recent)
    own_click, own_depth = np.nonzero(recent != UNKNOWN)
    of_session = Entries(own_click, recent[own_click, own_depth])
    linked = Entries(source, memory.targets[at].astype(np.int64))
    clicks, rows, places = merge((of_encoder, linked, of_session), memory.n_items)
    counts = np.bincount(clicks, minlength=n_clicks)
    n = len(rows)
    to_encoder, to_linked, to_own = np.split(places, np.cumsum([len(of_encoder.rows), len(linked.rows)]))
    features = np.zeros((len(FEATURES), n), dtype=np.float32)
    log_sum, floor = normalizer(scores)
    features[0] = np.repeat(floor - 1.0, counts)
    features[0, to_encoder] = (scores - log_sum[:, None])[nearest != UNKNOWN]
    features[1] = np.repeat(scores[:, 0] - log_sum, counts)
    decay = DECAY[depth]
    forward = memory.forward[at]
    features[2] = log_sums(to_linked, forward * decay, n)
    features[3] = log_sums(to_linked, forward * (depth == 0), n)
    features[4] = log_sums(to_linked, memory.together[at] * decay, n)
    features[5] = memory.popularity[rows]
    features[6] = memory.recent[rows]
    _describe_session(features, to_own, own_click, own_depth, clicks, counts)
    return Candidates(counts, rows, features)


def _entries(rows: Int64Array) -> Entries:
    clicks, places = np.nonzero(rows != UNKNOWN)
    return Entries(clicks, rows[clicks, places])


def _links(memory: ItemMemory, recent: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Places of the links of the last items, the click each is followed for, and how many clicks ago."""
    last = recent[:, :LINKED_ITEMS]
    clicks, depth = np.nonzero(last != UNKNOWN)
    sources = last[clicks, depth]
    starts = memory.starts[sources]
    counts = memory.starts[sources + 1] - starts
    ends = np.cumsum(counts)
    n_links = int(ends[-1]) if len(ends) else 0
    at = np.arange(n_links) + np.repeat(starts - (ends - counts), counts)
    return at, np.repeat(clicks, counts), np.repeat(depth, counts)


def merge(mentions: tuple[Entries, ...], n_items: int) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Every item that is mentioned for a click once: clicks and rows; and where each mention went.

    Sorting numbers that hold key and place is several times faster than an indirect sort of the keys.
    """
    keys = np.concatenate([clicks * n_items + rows for clicks, rows in mentions])
    n_bits = max(int(len(keys) - 1).bit_length(), 1)
    packed = np.sort((keys << n_bits) | np.arange(len(keys)))
    keys = packed >> n_bits
    first = np.ones(len(keys), dtype=np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    places = np.empty(len(keys), dtype=np.int64)
    places[packed & ((1 << n_bits) - 1)] = np.cumsum(first) - 1
    found = keys[first]
    clicks = found // n_items
    return clicks, found - clicks * n_items, places


def normalizer(scores: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Log of the sum of exponentials over the `NEAREST`, and the least of their log-probabilities; (n,)."""
    scores = scores[:, :NEAREST]
    best = scores[:, 0]
    log_sum = best + np.log(np.exp(scores - best[:, None]).sum(axis=1))
    least = np.where(np.isfinite(scores), scores, np.float32(np.inf)).min(axis=1)
    return log_sum, least - log_sum


def log_sums(places: Int64Array, weights: Float32Array, n: int) -> npt.NDArray[np.float64]:
    """Logs of the sums of the weights that fall to each of n places; (n,)."""
    sums = np.bincount(places, weights=weights, minlength=n).astype(np.float64)
    logs: npt.NDArray[np.float64] = np.log(sums + _SMALLEST)
    return logs


def _describe_session(
    features: Float32Array,
    places: Int64Array,
    own_click: Int64Array,
    own_depth: Int64Array,
    clicks: Int64Array,
    counts: Int64Array,
) -> None:
    """Fill in where the session's own items stand, and what kind of session it is."""
    n_clicks, n = len(counts), features.shape[1]
    newest = np.full(n, UNKNOWN)
    newest[places[::-1]] = own_depth[::-1]  # of an item clicked several times the newest is written last
    for depth in range(3):
        features[7 + depth] = newest == depth
    features[10] = newest > 2
    features[11] = np.log1p(np.bincount(places, minlength=n))
    lengths = np.maximum(np.bincount(own_click, minlength=n_clicks), 1)
    different = np.bincount(clicks[newest != UNKNOWN], minlength=n_clicks)
    features[12] = np.repeat(np.log(lengths), counts)
    features[13] = np.repeat(different / lengths, counts)
