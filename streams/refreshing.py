"""A quick refresh: the serving snapshot goes on with the clicks that have come since, in seconds.

Its network goes through the new sessions with older ones among them, items that it did not know are added and
begin where the items are that they are clicked with, the new clicks are counted into its links, the index is
built anew, and the order of the answers stays what it was. Items that are clicked no more stay, too: a full
training forgets them.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from index.build import build_index
from model.blend import BlendedRanking
from model.blend_memory import ItemMemory
from model.memory_update import go_on
from model.ranking import sample_queries
from model.sequences import Sequences
from model.training import OnProgress, RefreshConfig, TrainingConfig, continue_training
from model.vocabulary import Vocabulary
from model.warm_start import with_new_items
from streams.candidate import Candidate, Log
from streams.gate import Ground
from streams.manifest import TrainingWindow
from streams.sequencing import in_rows_of
from streams.snapshot import Snapshot


def since(window: TrainingWindow, gap_ms: int, n_rehearsed: int) -> int | None:
    """From which arrival on a refresh has to read: what is new, and about so many clicks before that.

    None where the snapshot does not say until when it was trained.
    """
    if window.learnt_until_ms is None or window.until_ms is None or window.first_ms is None:
        return None
    span_ms = max(window.until_ms - window.first_ms, 1)
    # Of the topic: a history may hold many times more, at no time.
    n_read = sum(part.end - part.start for part in window.offsets) or window.n_clicks
    rehearsed_ms = round(span_ms * min(n_rehearsed / max(n_read, 1), 1.0))
    return max(0, window.learnt_until_ms - gap_ms - rehearsed_ms)


def refreshed(
    serving: Snapshot,
    log: Log,
    ground: Ground,
    training: TrainingConfig,
    refresh: RefreshConfig,
    on_progress: OnProgress,
    on_building: Callable[[], None],
) -> Candidate:
    """Make the candidate; the serving snapshot, which says until when it was trained, stays as it is."""
    window = serving.manifest.provenance.window
    learnt_until_ms, until_ms = window.learnt_until_ms, window.until_ms
    assert learnt_until_ms is not None
    assert until_ms is not None
    vocabulary = _grown(serving.vocabulary, log.clicks.item_ids[log.arrival_ms > until_ms])
    rows_before = vocabulary.rows_in(serving.vocabulary)
    sessions = in_rows_of(vocabulary, log.clicks, log.places, serving.encoder.context_coder())
    n_old = min(log.n_ended(learnt_until_ms), ground.n_learnt)
    older, newest = sessions.select(0, n_old), sessions.select(n_old, ground.n_learnt)
    encoder = with_new_items(serving.encoder, rows_before, newest, training.seed)
    continue_training(encoder, newest, training, older=older, refresh=refresh, on_progress=on_progress)
    on_building()
    index = build_index(encoder.item_vectors(), sample_queries(encoder, sessions))
    ranking = blind = None
    if serving.ranking is not None:
        n_counted = min(log.n_ended(until_ms), ground.n_learnt)
        blind = go_on(
            serving.ranking.memory,
            rows_before,
            serving.vocabulary.counts,
            sessions.select(n_counted, ground.n_learnt),
        )
        whole = _counted(blind, vocabulary, sessions.select(ground.n_learnt, len(sessions)))
        ranking = BlendedRanking(whole, serving.ranking.blend)
    return Candidate(encoder, vocabulary, index, ranking, sessions, blind)


def _grown(vocabulary: Vocabulary, item_ids: NDArray[np.object_]) -> Vocabulary:
    """The vocabulary after some more clicks, by falling count."""
    newer = Vocabulary.from_clicks(item_ids)
    rows = newer.rows_in(vocabulary)
    counts = vocabulary.counts.copy()
    counts[rows[rows >= 0]] += newer.counts[rows >= 0]
    new = np.flatnonzero(rows < 0)
    names = [*vocabulary.item_ids, *(newer.item_id(row) for row in new.tolist())]
    counts = np.concatenate([counts, newer.counts[new]])
    order = np.argsort(-counts, kind="stable")
    return Vocabulary([names[at] for at in order.tolist()], counts[order])


def _counted(memory: ItemMemory, vocabulary: Vocabulary, sessions: Sequences) -> ItemMemory:
    """The links with the sessions that the gate compares by."""
    seen = np.bincount(sessions.rows[sessions.rows >= 0], minlength=len(vocabulary))
    before = np.maximum(vocabulary.counts - seen, 0)
    return go_on(memory, np.arange(len(vocabulary)), before, sessions)
