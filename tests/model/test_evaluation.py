"""Evaluation on toy data whose right answer is provable by thought."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from model.arrays import Float32Array, Int64Array
from model.encoder import EncoderConfig, SessionEncoder
from model.evaluation import (
    Answers,
    EncoderRanker,
    PopularRanker,
    by_session_length,
    evaluate_next_items,
    measure,
    sample_queries,
    states_after_clicks,
)
from model.sequences import Sequences
from tests.model.exact_search import exact_search
from tests.model.markov import markov_sessions

ENCODER = SessionEncoder(EncoderConfig(n_units=8, embedding_dim=8), 12, seed=4).eval()
COUNTS = np.arange(12, 0, -1)


class RepeatsItself:
    """Recommends the session's last item first, the one before it second, and so on."""

    def answers(self, sequences: Sequences, n_candidates: int) -> Iterator[Answers]:
        for i in range(len(sequences)):
            for click in range(sequences.starts[i], sequences.starts[i + 1] - 1):
                rows = np.full((1, n_candidates), -1, dtype=np.int64)
                recent = sequences.rows[sequences.starts[i] : click + 1][::-1]
                unique = list(dict.fromkeys(recent.tolist()))[:n_candidates]
                rows[0, : len(unique)] = unique
                scores = np.where(rows >= 0, -np.arange(n_candidates, dtype=np.float32), -np.inf)
                yield Answers(np.array([click]), scores.astype(np.float32), rows)


def test_popular_items_by_hand() -> None:
    # Targets are 1, 0 and 5; popularity ranks them 2, 1 and 6.
    measured = evaluate_next_items(PopularRanker(COUNTS), Sequences.from_lists([[3, 1, 0], [2, 5], [4]]), k=3)
    assert measured.targets == 3
    assert measured.recall == pytest.approx(2 / 3)
    assert measured.mrr == pytest.approx((1 / 2 + 1) / 3)


def test_equal_popularity_is_a_tie_against_us() -> None:
    sequences = Sequences.from_lists([[3, 0]])
    equal = np.full(30, 7)
    assert evaluate_next_items(PopularRanker(equal), sequences, k=20).recall == 0.0
    assert evaluate_next_items(PopularRanker(equal[:20]), sequences, k=20).mrr == pytest.approx(1 / 20)


def test_what_may_repeat_by_hand() -> None:
    sequences = Sequences.from_lists([[1, 1, 2, 1]])
    # Answers: [1], [1], [2, 1]; targets: 1, 2, 1.
    rules = {rule: found.accuracy() for rule, found in measure(RepeatsItself(), sequences, k=2).items()}
    assert rules["all"].recall == pytest.approx(2 / 3)
    assert rules["all"].mrr == pytest.approx((1 + 1 / 2) / 3)
    assert rules["not-last"].recall == pytest.approx(1 / 3)
    assert rules["not-last"].mrr == pytest.approx(1 / 3)  # without the 2, 1 stands first
    assert rules["none"].recall == 0.0


def test_only_remembered_items_can_be_left_out() -> None:
    sequences = Sequences.from_lists([[0, *range(1, 21), 0], [0, *range(1, 20), 0]])
    # In the first session 21 clicks lie before the last target, and the worker remembers 20.
    measured = evaluate_next_items(RepeatsItself(), sequences, k=30, repeat_items="none")
    assert measured.recall == pytest.approx(1 / 41)


def test_served_path_equals_one_session_after_the_other() -> None:
    sequences = markov_sessions(40, 12, 0.5, length=5)
    sequences = sequences.take(np.random.default_rng(0).permutation(40))
    expected: dict[int, Float32Array] = {}
    for i in range(len(sequences)):
        state = ENCODER.initial_states(1)
        for click in range(int(sequences.starts[i]), int(sequences.starts[i + 1]) - 1):
            state = ENCODER.advance(state, sequences.rows[click : click + 1])
            state = state.astype(np.float16).astype(np.float32)  # as a session record stores it
            expected[click] = state[0]
    found: dict[int, Float32Array] = {}
    for clicks, states, known in states_after_clicks(ENCODER, sequences):
        assert known.all()
        found |= dict(zip(clicks.tolist(), states, strict=True))
    assert sorted(found) == sorted(expected)
    for click, state in expected.items():
        np.testing.assert_allclose(found[click], state, atol=2e-3)


def test_unknown_items_do_not_move_the_state() -> None:
    plain, dotted = Sequences.from_lists([[3, 4, 5]]), Sequences.from_lists([[-1, 3, -1, -1, 4, 5]])
    after = [states[0] for _, states, _ in states_after_clicks(ENCODER, plain)]
    found = states_after_clicks(ENCODER, dotted)
    dotted_after = [(states[0], bool(known[0])) for _, states, known in found]
    assert [known for _, known in dotted_after] == [False, True, True, True, True]
    assert not dotted_after[0][0].any()
    for place, step in ((1, 0), (2, 0), (3, 0), (4, 1)):
        np.testing.assert_array_equal(dotted_after[place][0], after[step])


def test_popular_items_until_one_is_known() -> None:
    ranker = EncoderRanker(ENCODER, exact_search(ENCODER), COUNTS)
    answers = {int(a.clicks[0]): a.rows[0] for a in ranker.answers(Sequences.from_lists([[-1, 3, 4]]), 5)}
    assert answers[0].tolist() == [0, 1, 2, 3, 4]
    assert answers[1].tolist() != [0, 1, 2, 3, 4]


def test_sums_by_session_and_what_was_listed_by_hand() -> None:
    # Popularity lists 0, 1, 2 to everybody: targets 1 and 0 have rank 2 and 1, 5 and 3 are not among them.
    sequences = Sequences.from_lists([[3, 1, 0], [2, 5], [4, 3]])
    found = measure(PopularRanker(COUNTS), sequences, k=3, rules=("all",), n_items=12)["all"]
    assert found.targets.tolist() == [2, 1, 1]
    assert found.sums[:, 0].tolist() == [2, 0, 0]
    assert found.sums[0, 1:].tolist() == pytest.approx([1 + 1 / 2, 1 + 1 / np.log2(3)])
    assert found.at_rank.tolist() == [1, 1, 0]
    assert found.listed.tolist() == [4, 4, 4] + [0] * 9
    assert found.accuracy(np.array([True, False, False])).recall == 1.0


def test_items_left_out_make_room_in_the_list() -> None:
    found = measure(PopularRanker(COUNTS), Sequences.from_lists([[1, 5]]), k=2, rules=("none",), n_items=12)
    assert np.flatnonzero(found["none"].listed).tolist() == [0, 2]


def test_shorter_lists_need_no_other_pass() -> None:
    sequences = markov_sessions(40, 12, 0.9, length=5)
    found = measure(PopularRanker(COUNTS), sequences, k=9, rules=("all",))["all"]
    for k in (1, 4, 9):
        alone = evaluate_next_items(PopularRanker(COUNTS), sequences, k)
        assert found.accuracy_at(k).as_metrics() == pytest.approx(alone.as_metrics())


def test_only_the_counted_clicks_are_targets() -> None:
    sequences = Sequences.from_lists([[3, 1, 0], [2, 5]])
    counted = np.array([False, False, True, False, False])
    found = measure(PopularRanker(COUNTS), sequences, k=3, rules=("all",), counted=counted)["all"]
    assert found.targets.tolist() == [1, 0]
    assert found.accuracy().mrr == 1.0


def test_accuracy_by_the_length_of_the_session() -> None:
    sequences = Sequences.from_lists([[3, 0], [2, 5], [4, 3, 0], [0] * 30])
    found = measure(PopularRanker(COUNTS), sequences, k=3, rules=("all",))["all"]
    groups = {name: (n, own.recall) for name, n, own in by_session_length(found, sequences.lengths)}
    assert groups == {"2": (2, 0.5), "3": (1, 0.5), "20+": (1, 1.0)}


def test_clicks_without_an_answer_are_told() -> None:
    class Silent:
        def answers(self, sequences: Sequences, n_candidates: int) -> Iterator[Answers]:
            return iter(())

    with pytest.raises(ValueError, match="0 answers to 1 clicks"):
        evaluate_next_items(Silent(), Sequences.from_lists([[0, 1]]))


def test_unknown_targets_are_misses() -> None:
    sequences = Sequences.from_lists([[0, -1], [0, 1]])
    assert evaluate_next_items(PopularRanker(COUNTS), sequences, k=20).recall == 0.5


def test_nothing_to_foretell() -> None:
    for sequences in (Sequences.from_lists([]), Sequences.from_lists([[1], []])):
        for ranker in (PopularRanker(COUNTS), EncoderRanker(ENCODER, exact_search(ENCODER), COUNTS)):
            assert evaluate_next_items(ranker, sequences).targets == 0


def test_catalogue_smaller_than_k() -> None:
    ranker = EncoderRanker(ENCODER, exact_search(ENCODER), COUNTS)
    sequences = markov_sessions(5, 12, 0.5)
    assert evaluate_next_items(ranker, sequences, k=20).recall == 1.0
    assert evaluate_next_items(PopularRanker(COUNTS), sequences, k=20).recall == 1.0


def test_asks_for_enough_to_see_a_tie_and_what_is_left_out_or_for_what_a_worker_does() -> None:
    asked: list[int] = []

    def search(queries: Float32Array, k: int) -> tuple[Float32Array, Int64Array]:
        asked.append(k)
        return exact_search(ENCODER)(queries, k)

    ranker = EncoderRanker(ENCODER, search, COUNTS)
    sequences = Sequences.from_lists([[1, 2]])
    for rule in ("all", "not-last", "none"):
        evaluate_next_items(ranker, sequences, k=4, repeat_items=rule)
    assert asked == [5, 6, 25]
    asked.clear()
    for rule in ("all", "not-last", "none"):
        measure(ranker, sequences, k=4, rules=(rule,), as_served=True)
    assert asked == [4, 5, 24]
    with pytest.raises(ValueError, match="one at a time"):
        measure(ranker, sequences, k=4, as_served=True)


def test_queries_for_tuning_an_index() -> None:
    queries = sample_queries(ENCODER, markov_sessions(30, 12, 0.5), n=10)
    assert queries.shape[1] == ENCODER.query_dim
    assert len(queries) >= 10
    assert sample_queries(ENCODER, Sequences.from_lists([])).shape == (0, ENCODER.query_dim)
