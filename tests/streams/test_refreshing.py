"""A refresh on real models: it learns what is new, keeps what it knew, and passes the gate."""

from pathlib import Path

import numpy as np
import pytest

from index.build import build_index
from model.blend import BlendedRanking
from model.blend_memory import ItemMemory
from model.encoder import EncoderConfig
from model.evaluation import evaluate_next_items
from model.ranking import EncoderRanker, sample_queries
from model.training import RefreshConfig, TrainingConfig, train
from model.vocabulary import Vocabulary
from streams.candidate import Candidate, Log
from streams.clickfile import ClickColumns
from streams.gate import Bounds, Ground, judge
from streams.learning import learn_order
from streams.manifest import OffsetRange, Provenance, TrainingWindow
from streams.refreshing import refreshed, since
from streams.sequencing import in_rows_of
from streams.shoppers import generate_columns
from streams.snapshot import Snapshot, save_snapshot

ENCODER = EncoderConfig(n_units=24, embedding_dim=24)
TRAINING = TrainingConfig(n_epochs=2)
N_CLICKS, N_FIRST = 9_000, 6_000
NEW = np.array(["brand-new-1", "brand-new-2"])


def log_of(clicks: ClickColumns) -> Log:
    return Log.cut(clicks, clicks.time_ms, 30 * 60_000)


@pytest.fixture(scope="module")
def clicks() -> ClickColumns:
    """A shop in which two items get new names after two thirds of the clicks."""
    shop = generate_columns(5, N_CLICKS, n_items=200, clicks_per_s=100.0, start_ms=1_700_000_000_000)
    item_ids = shop.item_ids.copy()
    popular = [row for row, _ in zip(Vocabulary.from_clicks(item_ids).item_ids, NEW, strict=False)]
    for old, new in zip(popular, NEW, strict=True):
        renamed = item_ids == old
        renamed[:N_FIRST] = False
        item_ids[renamed] = new
    return ClickColumns(shop.session_ids, item_ids, shop.time_ms)


@pytest.fixture(scope="module")
def serving(clicks: ClickColumns, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    first = log_of(
        ClickColumns(clicks.session_ids[:N_FIRST], clicks.item_ids[:N_FIRST], clicks.time_ms[:N_FIRST])
    )
    vocabulary = Vocabulary.from_clicks(first.clicks.item_ids)
    sessions = in_rows_of(vocabulary, first.clicks, first.places)
    encoder = train(sessions, len(vocabulary), ENCODER, TRAINING)
    blend = learn_order(sessions, len(vocabulary), ENCODER, TRAINING).blend
    assert blend is not None
    ranking = BlendedRanking(ItemMemory.remember(sessions, len(vocabulary)), blend)
    ended = int(first.ended_ms[-1])
    window = TrainingWindow(
        n_clicks=N_FIRST, first_ms=int(first.arrival_ms[0]), until_ms=ended, learnt_until_ms=ended
    )
    index = build_index(encoder.item_vectors(), sample_queries(encoder, sessions))
    place = str(tmp_path_factory.mktemp("serving"))
    return save_snapshot(place, encoder, vocabulary, index, Provenance(window=window), ranking=ranking)


@pytest.fixture(scope="module")
def log(clicks: ClickColumns, serving: Snapshot) -> Log:
    """What a refresh would read."""
    from_ms = since(serving.manifest.provenance.window, 30 * 60_000, 2_000)
    assert from_ms is not None
    assert from_ms < serving.manifest.provenance.window.until_ms  # type: ignore[operator]
    first = max(int(np.searchsorted(clicks.time_ms, from_ms)), N_FIRST - 3_000)
    return log_of(ClickColumns(clicks.session_ids[first:], clicks.item_ids[first:], clicks.time_ms[first:]))


@pytest.fixture(scope="module")
def ground(log: Log, serving: Snapshot) -> Ground:
    return log.ground(serving.manifest.provenance.window)


@pytest.fixture(scope="module")
def candidate(log: Log, serving: Snapshot, ground: Ground) -> Candidate:
    assert not ground.seen
    return refreshed(serving, log, ground, TRAINING, RefreshConfig(), lambda progress: None, lambda: None)


def test_new_items_are_known_and_old_ones_stay(candidate: Candidate, serving: Snapshot) -> None:
    assert set(NEW) < set(candidate.vocabulary.item_ids)
    assert set(serving.vocabulary.item_ids) < set(candidate.vocabulary.item_ids)
    counts = candidate.vocabulary.counts
    assert (np.diff(counts) <= 0).all()
    assert counts.sum() > serving.vocabulary.counts.sum() + 2_900


def test_it_foretells_the_newest_sessions_better_than_what_serves(
    log: Log, serving: Snapshot, ground: Ground, candidate: Candidate, tmp_path: Path
) -> None:
    def judged(saved: Snapshot) -> Provenance:
        trial = log.trial(saved, serving, ground, candidate.blind)
        return Provenance(gate=judge(saved, trial, candidate.sessions, Bounds()))

    parts = (candidate.encoder, candidate.vocabulary, candidate.index)
    saved = save_snapshot(str(tmp_path), *parts, Provenance(), ranking=candidate.ranking, judge=judged)
    verdict = saved.manifest.provenance.gate
    assert verdict is not None
    assert verdict.accepted, verdict.reasons
    difference, low, _ = verdict.difference["recall@20"]
    assert difference > 0.02
    assert low > 0  # which is no chance: the serving one does not know two popular items


def test_what_serves_is_not_changed(serving: Snapshot, candidate: Candidate, clicks: ClickColumns) -> None:
    """The network that goes on is a copy; measured on the first sessions it has not forgotten them either."""
    first = log_of(ClickColumns(clicks.session_ids[:3_000], clicks.item_ids[:3_000], clicks.time_ms[:3_000]))

    def recall(one: Snapshot | Candidate) -> float:
        sessions = in_rows_of(one.vocabulary, first.clicks, first.places)
        ranker = EncoderRanker(one.encoder, one.index.search, one.vocabulary.counts)
        return evaluate_next_items(ranker, sessions).recall

    assert len(serving.vocabulary) == serving.encoder.n_items
    assert recall(candidate) > 0.9 * recall(serving)


def test_a_snapshot_from_before_such_times_cannot_be_refreshed() -> None:
    assert since(TrainingWindow(n_clicks=5), 0, 10) is None


def test_a_history_does_not_shorten_what_is_rehearsed() -> None:
    """Its clicks have no arrivals: ten minutes of the topic hold a hundred clicks, whatever it holds."""
    minute_ms = 60_000
    window = TrainingWindow(
        offsets=[OffsetRange(0, 0, 100)],
        n_clicks=7_000_000,
        first_ms=100 * minute_ms,
        until_ms=110 * minute_ms,
        learnt_until_ms=110 * minute_ms,
    )
    assert since(window, 0, 50) == 105 * minute_ms
    assert since(window, 1_000 * minute_ms, 50) == 0
