"""Candidates that the snapshot does not know yet, described by the same features as those it knows.

A fresh item has a vector, made of those of the items that it was clicked with, links from items, and a
popularity, all from the few clicks on it so far. So the blend can score it as it scores every other item, and
the scores can be merged. What the known candidates get is not touched.

Items are numbered from 0 here, apart from the rows of the catalogue.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from model.arrays import BoolArray, Float32Array, Int64Array
from model.blend_candidates import DECAY, FEATURES, Entries, log_sums, merge, normalizer
from model.sequences import UNKNOWN

NEAREST_FRESH: Final = 10
"""So many of the fresh items nearest to a query are candidates at most."""


class FreshLinks(NamedTuple):
    """Links from a session's last items to fresh items, one line each."""

    clicks: Int64Array
    items: Int64Array
    depths: Int64Array  # how many clicks ago the source was clicked, from 0
    forward: Float32Array
    together: Float32Array


class OwnFresh(NamedTuple):
    """Fresh items of the sessions themselves, by click and by rising depth."""

    clicks: Int64Array
    items: Int64Array
    depths: Int64Array


def nearest_fresh(
    queries: Float32Array, vectors: Float32Array, placed: BoolArray, scores: Float32Array
) -> tuple[Entries, Float32Array]:
    """Fresh items that come as near to the queries as the nearest known ones; and all scores, (n, items).

    Args:
        queries: (n, dim)
        vectors: of the fresh items; (items, dim)
        placed: which of them have a vector and may be recommended for it; (items,)
        scores: the encoder's for the known items nearest to each query, best first; (n, k)
    """
    own = queries @ vectors.T
    least = np.where(np.isfinite(scores), scores, np.float32(np.inf)).min(axis=1)
    near = (own >= least[:, None]) & placed
    crowded = np.flatnonzero(near.sum(axis=1) > NEAREST_FRESH)
    if len(crowded):
        allowed = np.where(near[crowded], own[crowded], -np.inf)
        bar = np.partition(allowed, -NEAREST_FRESH, axis=1)[:, -NEAREST_FRESH]
        near[crowded] &= own[crowded] >= bar[:, None]
    return Entries(*np.nonzero(near)), own


def describe_fresh(
    queries: Float32Array,
    scores: Float32Array,
    recent: Int64Array,
    vectors: Float32Array,
    placed: BoolArray,
    popularity: Float32Array,
    links: FreshLinks,
    own: OwnFresh,
) -> tuple[Entries, Float32Array]:
    """The fresh candidates of a batch of clicks, in order of the clicks, and their features for the blend.

    Args:
        queries, scores, vectors, placed: see `nearest_fresh`.
        recent: rows of the session's last known items; see `model.blend_candidates.gather`.
        popularity: log of each fresh item's share of the clicks since it came; (items,)
        links: to fresh items.
        own: fresh items of the sessions.
    """
    near, encoder_scores = nearest_fresh(queries, vectors, placed, scores)
    mentions = (near, Entries(links.clicks, links.items), Entries(own.clicks, own.items))
    clicks, items, places = merge(mentions, len(vectors))
    n = len(items)
    _, to_linked, to_own = np.split(places, np.cumsum([len(near.rows), len(links.items)]))
    log_sum, floor = normalizer(scores)
    features = np.zeros((len(FEATURES), n), dtype=np.float32)
    log_probability = encoder_scores[clicks, items] - log_sum[clicks]
    features[0] = np.where(log_probability >= floor[clicks], log_probability, floor[clicks] - 1.0)
    features[1] = scores[clicks, 0] - log_sum[clicks]
    decay = DECAY[links.depths]
    features[2] = log_sums(to_linked, links.forward * decay, n)
    features[3] = log_sums(to_linked, links.forward * (links.depths == 0), n)
    features[4] = log_sums(to_linked, links.together * decay, n)
    features[5] = features[6] = popularity[items]
    newest = np.full(n, UNKNOWN)
    newest[to_own[::-1]] = own.depths[::-1]
    for depth in range(3):
        features[7 + depth] = newest == depth
    features[10] = newest > 2
    features[11] = np.log1p(np.bincount(to_own, minlength=n))
    lengths, different = _describe(recent)
    features[12] = np.log(lengths)[clicks]
    features[13] = (different / lengths)[clicks]
    return Entries(clicks, items), features


def _describe(recent: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Known clicks of each session, 1 at least, and how many different items they are on."""
    known = recent != UNKNOWN
    in_order = np.sort(recent, axis=1)
    changes = (in_order[:, 1:] != in_order[:, :-1]) & (in_order[:, 1:] != UNKNOWN)
    different = changes.sum(axis=1) + (in_order[:, 0] != UNKNOWN)
    return np.maximum(known.sum(axis=1), 1), different
