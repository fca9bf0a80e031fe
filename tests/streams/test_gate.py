"""The gate on real models: what is worse is refused, whatever is wrong with it; what is as good passes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.demo.lifecycle_figures import SabotageKind
from deploy.demo.sabotage import sabotaged
from index.build import build_index
from index.exact import ExactIndex
from model.blend import Blend, BlendedRanking
from model.blend_memory import ItemMemory
from model.encoder import EncoderConfig, SessionEncoder
from model.ranking import sample_queries
from model.sequences import Sequences
from model.training import TrainingConfig, train
from model.vocabulary import Vocabulary
from streams.adoption import save_judged
from streams.candidate import Candidate, Log
from streams.clickfile import ClickColumns
from streams.gate import UNSEEN, Bounds, Ground, choose_ground, judge
from streams.learning import learn_order
from streams.manifest import Provenance, TrainingWindow, Verdict
from streams.sequencing import in_rows_of
from streams.shoppers import generate_columns
from streams.snapshot import Snapshot, SnapshotError, list_snapshots, load_snapshot, save_snapshot
from tests.tiny import tiny_parts

ENCODER = EncoderConfig(n_units=24, embedding_dim=24)
TRAINING = TrainingConfig(n_epochs=2)
N_CLICKS, N_FIRST = 9_000, 6_000


def shop(n_items: int = 1_100) -> ClickColumns:
    """Enough items for an approximate index, clicked mostly among the first hundreds."""
    return generate_columns(5, N_CLICKS, n_items=n_items, clicks_per_s=100.0, start_ms=1_700_000_000_000)


@pytest.fixture(scope="module")
def log() -> Log:
    clicks = shop()
    return Log.cut(clicks, clicks.time_ms, 30 * 60_000)


@pytest.fixture(scope="module")
def before() -> Log:
    clicks = shop()
    first = ClickColumns(clicks.session_ids[:N_FIRST], clicks.item_ids[:N_FIRST], clicks.time_ms[:N_FIRST])
    return Log.cut(first, first.time_ms, 30 * 60_000)


def made_of(log: Log, n_learnt: int, order: Blend | None = None, *, noise: bool = False) -> Candidate:
    """What a full training makes of a log; of noise, items are drawn anew for every click.

    An order that was learnt before saves time.
    """
    vocabulary = Vocabulary.from_clicks(log.clicks.item_ids)
    sessions = in_rows_of(vocabulary, log.clicks, log.places)
    learnt = sessions.select(0, n_learnt)
    if noise:
        random = np.random.default_rng(1)
        learnt = Sequences(random.integers(0, len(vocabulary), learnt.n_clicks), learnt.starts)
    order = order or learn_order(learnt, len(vocabulary), ENCODER, TRAINING).blend
    encoder = train(learnt, len(vocabulary), ENCODER, replace(TRAINING, n_epochs=1) if noise else TRAINING)
    assert order is not None
    blind = ItemMemory.remember(learnt, len(vocabulary))
    whole = blind if noise else ItemMemory.remember(sessions, len(vocabulary))
    ranking = BlendedRanking(whole, order)
    index = build_index(encoder.item_vectors(), sample_queries(encoder, sessions))
    return Candidate(encoder, vocabulary, index, ranking, sessions, blind)


def window_of(log: Log, n_learnt: int) -> TrainingWindow:
    return TrainingWindow(
        first_ms=int(log.arrival_ms[0]),
        until_ms=int(log.arrival_ms[-1]),
        learnt_until_ms=int(log.ended_ms[n_learnt - 1]),
        n_clicks=len(log.clicks),
    )


@pytest.fixture(scope="module")
def serving(before: Log, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    n_sessions = len(before.places)
    made = made_of(before, n_sessions)
    provenance = Provenance(window=window_of(before, n_sessions))
    place = str(tmp_path_factory.mktemp("serving"))
    return save_snapshot(place, made.encoder, made.vocabulary, made.index, provenance, ranking=made.ranking)


@pytest.fixture(scope="module")
def ground(log: Log, serving: Snapshot) -> Ground:
    return log.ground(serving.manifest.provenance.window)


@pytest.fixture(scope="module")
def candidate(log: Log, ground: Ground, serving: Snapshot) -> Candidate:
    return made_of(log, ground.n_learnt, order_of(serving))


def order_of(snapshot: Snapshot) -> Blend:
    assert snapshot.ranking is not None
    return snapshot.ranking.blend


def verdict_of(
    made: Candidate,
    log: Log,
    ground: Ground,
    serving: Snapshot,
    place: Path,
    bounds: Bounds | None = None,
) -> Verdict:
    """Through the real thing: saved, read back, judged."""

    def judged(saved: Snapshot) -> Provenance:
        trial = log.trial(saved, serving, ground, made.blind)
        return Provenance(gate=judge(saved, trial, made.sessions, bounds or Bounds()))

    snapshot = save_snapshot(
        str(place),
        made.encoder,
        made.vocabulary,
        made.index,
        Provenance(),
        ranking=made.ranking,
        judge=judged,
    )
    (manifest,) = list_snapshots(str(place))
    assert manifest == snapshot.manifest
    assert manifest.provenance.gate is not None
    assert manifest.refused == (not manifest.provenance.gate.accepted)
    return manifest.provenance.gate


def test_what_has_learnt_from_more_passes(
    log: Log, ground: Ground, candidate: Candidate, serving: Snapshot, tmp_path: Path
) -> None:
    assert not ground.seen
    verdict = verdict_of(candidate, log, ground, serving, tmp_path)
    assert verdict.accepted, verdict.reasons
    assert verdict.serving == serving.version
    assert 400 <= verdict.targets <= 2_000
    assert verdict.candidate["recall@20"] > 0.1
    assert verdict.by_length
    assert sum(group.targets for group in verdict.by_length) == verdict.targets
    assert verdict.index_recall is not None
    assert verdict.index_recall >= 0.99
    assert verdict.megabytes is not None
    assert verdict.megabytes > 0.1


def test_shuffled_weights_are_refused(
    log: Log, ground: Ground, candidate: Candidate, serving: Snapshot, tmp_path: Path
) -> None:
    encoder = SessionEncoder(ENCODER, candidate.encoder.n_items)
    weights = {name: value.clone() for name, value in candidate.encoder.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for name, value in weights.items():
        mixed = value.flatten()[torch.randperm(value.numel(), generator=generator)]
        weights[name] = mixed.reshape(value.shape)
    encoder.load_state_dict(weights)
    encoder.eval()
    index = build_index(encoder.item_vectors(), sample_queries(encoder, candidate.sessions))
    verdict = verdict_of(replace(candidate, encoder=encoder, index=index), log, ground, serving, tmp_path)
    assert not verdict.accepted
    assert any("its network alone is" in reason for reason in verdict.reasons), verdict
    assert verdict.difference["network recall@20"][2] < 0


def test_trained_on_noise_is_refused(log: Log, ground: Ground, serving: Snapshot, tmp_path: Path) -> None:
    verdict = verdict_of(
        made_of(log, ground.n_learnt, order_of(serving), noise=True), log, ground, serving, tmp_path
    )
    assert not verdict.accepted
    assert any("Recall@20 is" in reason for reason in verdict.reasons)


def test_an_index_of_another_version_is_refused_before_anybody_sees_the_bundle(
    log: Log, ground: Ground, candidate: Candidate, serving: Snapshot, tmp_path: Path
) -> None:
    other = train(
        candidate.sessions, candidate.encoder.n_items, ENCODER, replace(TRAINING, n_epochs=1, seed=9)
    )
    wrong = replace(candidate, index=build_index(other.item_vectors()))
    with pytest.raises(SnapshotError, match="they are of different models"):
        verdict_of(wrong, log, ground, serving, tmp_path)
    assert list_snapshots(str(tmp_path)) == []


def test_each_bound_that_is_broken_is_a_reason(
    log: Log, ground: Ground, candidate: Candidate, serving: Snapshot, tmp_path: Path
) -> None:
    bounds = Bounds(min_index_recall=1.01, max_megabytes=0.01, max_latency_ms=0.0)
    verdict = verdict_of(candidate, log, ground, serving, tmp_path, bounds)
    assert not verdict.accepted
    index, size, latency = verdict.reasons
    assert "of the exact best 20" in index
    assert "MB, at most 0 are allowed" in size
    assert "ms of CPU" in latency


def test_recommending_the_same_few_to_everybody_is_refused(
    log: Log, ground: Ground, candidate: Candidate, serving: Snapshot, tmp_path: Path
) -> None:
    encoder = SessionEncoder(ENCODER, candidate.encoder.n_items)
    encoder.load_state_dict(candidate.encoder.state_dict())
    encoder.eval()
    assert encoder.bias is not None
    with torch.no_grad():
        encoder.bias[:25] += 100.0
    same_few = replace(candidate, encoder=encoder, index=ExactIndex(encoder.item_vectors()), ranking=None)
    verdict = verdict_of(same_few, log, ground, serving, tmp_path)
    assert any("different items" in reason for reason in verdict.reasons)


def test_nothing_to_compare_with_is_no_reason(tmp_path: Path) -> None:
    sessions = Sequences.from_lists([[0, 1, 2], [3, 4]])
    encoder, vocabulary, index = tiny_parts()
    snapshot = save_snapshot(
        str(tmp_path),
        encoder,
        vocabulary,
        index,
        Provenance(),
        judge=lambda saved: Provenance(gate=judge(saved, None, sessions, Bounds())),
    )
    assert snapshot.manifest.provenance.gate is not None
    assert snapshot.manifest.provenance.gate.accepted
    assert not snapshot.manifest.refused


def grounds(serving: TrainingWindow | None, n: int = 1_000, n_targets: int = 2) -> Ground:
    """Of n sessions that begin at 10, 20, … and end 5 ms later."""
    began = np.arange(1, n + 1) * 10
    return choose_ground(began, began + 5, np.full(n, n_targets), serving)


def test_where_nothing_serves_all_is_learnt() -> None:
    found = grounds(None)
    assert (found.n_learnt, len(found.chosen), found.seen) == (1_000, 0, False)


def test_half_of_what_is_new_is_kept_for_the_comparison() -> None:
    found = grounds(TrainingWindow(until_ms=4_999, learnt_until_ms=4_000))
    assert found.n_new == 2 * 501  # from the one that begins at 5,000 on
    assert (found.n_learnt, found.seen) == (750, False)
    assert found.chosen.tolist() == list(range(750, 1_000))


def test_no_more_are_kept_than_the_comparison_needs() -> None:
    found = grounds(TrainingWindow(until_ms=5, learnt_until_ms=5), n_targets=10)
    assert found.n_learnt == 800
    assert len(found.chosen) == 200


def test_sessions_that_were_open_when_the_serving_one_was_made_do_not_decide() -> None:
    began = np.concatenate([[10, 20], np.arange(90, 190)])
    ended = np.concatenate([[30, 110], np.arange(190, 290)])  # the second was open at 80
    found = choose_ground(began, ended, np.full(102, 6), TrainingWindow(until_ms=80, learnt_until_ms=80))
    assert found.n_new == 600
    assert found.chosen.tolist() == list(range(52, 102))
    assert found.n_learnt == 52


def with_crawlers(
    n_others: int, of_crawlers: list[int], serving: TrainingWindow, targets_of_others: int = 3
) -> Ground:
    """Sessions of shoppers, and those of crawlers that ended last."""
    n_targets = np.array([targets_of_others] * n_others + of_crawlers)
    began = np.arange(1, len(n_targets) + 1) * 10
    return choose_ground(began, began + 5, n_targets, serving)


def test_one_long_session_does_not_empty_the_comparison() -> None:
    found = with_crawlers(200, [4_999], TrainingWindow(until_ms=5, learnt_until_ms=5))
    assert (found.n_new, found.seen) == (600, False)
    assert found.chosen.tolist() == list(
        range(100, 200)
    )  # half of the shoppers' clicks, none of the crawler's
    assert found.n_learnt == 100


def test_long_sessions_alone_are_too_little_to_decide_by() -> None:
    serving = TrainingWindow(until_ms=1_005, learnt_until_ms=1_005)
    found = with_crawlers(110, [4_999, 2_000, 3_000], serving)  # ten of the shoppers' are new
    assert (found.n_new, found.seen, found.n_learnt) == (30, True, 113)
    few = with_crawlers(110, [40] * 20, serving)  # as many clicks as it takes, of too few sessions
    assert (few.n_new, few.seen) == (830, True)


def test_what_both_have_learnt_from_is_not_one_long_session_either() -> None:
    found = with_crawlers(1_000, [4_999], TrainingWindow(until_ms=99_000, learnt_until_ms=99_000))
    assert found.seen
    assert found.chosen.tolist() == list(range(1_000 - 2_000 // 3, 1_000))


def test_where_long_sessions_are_usual_they_decide() -> None:
    serving = TrainingWindow(until_ms=5, learnt_until_ms=5)
    found = with_crawlers(200, [4_999], serving, targets_of_others=150)
    assert not found.seen
    assert found.chosen.tolist() == list(range(170, 200))  # thirty sessions, more than the clicks would need


def test_with_little_new_both_answer_what_both_have_learnt_from() -> None:
    found = grounds(TrainingWindow(until_ms=9_000, learnt_until_ms=8_005))
    assert found.seen
    assert found.n_learnt == 1_000
    assert found.chosen.max() == 799  # the session that ended at 8,005
    older = grounds(TrainingWindow())  # of before there were such times
    assert older.seen
    assert len(older.chosen) == 1_000


def test_a_sound_snapshot_made_elsewhere_is_taken_in(log: Log, serving: Snapshot, tmp_path: Path) -> None:
    adopted = save_judged(str(tmp_path), serving, serving, log, Bounds())
    verdict = adopted.manifest.provenance.gate
    assert verdict is not None
    assert verdict.accepted, verdict.reasons
    assert verdict.candidate == verdict.served
    assert verdict.compared_on == UNSEEN
    assert adopted.manifest.provenance.window == serving.manifest.provenance.window
    assert adopted.manifest.provenance.metrics["recall@20"] == verdict.candidate["recall@20"]


@pytest.mark.parametrize("kind", [SabotageKind.SHUFFLED, SabotageKind.NOISE])
def test_what_the_demo_sabotages_is_whole_and_is_refused(
    kind: SabotageKind, log: Log, serving: Snapshot, tmp_path: Path
) -> None:
    bad = sabotaged(load_snapshot(serving.location), tmp_path / "elsewhere", kind)
    adopted = save_judged(str(tmp_path), load_snapshot(bad), serving, log, Bounds())
    verdict = adopted.manifest.provenance.gate
    assert verdict is not None
    assert verdict.refused
    assert any("Recall@20 is" in reason for reason in verdict.reasons), verdict
    assert verdict.candidate["recall@20"] < 0.6 * verdict.served["recall@20"]
    assert adopted.manifest.refused


def test_nothing_that_serves_is_no_reason_against_what_comes(
    log: Log, serving: Snapshot, tmp_path: Path
) -> None:
    adopted = save_judged(str(tmp_path), serving, None, log, Bounds())
    assert not adopted.manifest.refused
    assert adopted.manifest.provenance.metrics == {}
