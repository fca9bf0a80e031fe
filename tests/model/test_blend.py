"""The blend's network and order, and its file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from model.blend import CLICKS_AT_ONCE, Blend, BlendedRanking, BlendError
from model.blend_candidates import FEATURES, gather
from model.sequences import UNKNOWN
from tests.tiny import ITEMS, tiny_ranking

N_ITEMS = len(ITEMS)


def clicks(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, nearest rows and recent rows of n clicks."""
    random = np.random.default_rng(seed)
    nearest = np.array([random.permutation(N_ITEMS)[:4] for _ in range(n)])
    scores = -np.sort(-random.normal(size=(n, 4)).astype(np.float32), axis=1)
    recent = np.full((n, 20), UNKNOWN)
    for line in recent:
        length = random.integers(1, 8)
        line[:length] = random.integers(0, N_ITEMS, length)
    return scores, nearest, recent


def test_the_network_by_hand() -> None:
    n = len(FEATURES)
    first = np.zeros((2, n), dtype=np.float32)
    first[0, 0], first[1, 1] = 1, -1
    linear = np.zeros(n, dtype=np.float32)
    linear[2] = 10
    blend = Blend(
        linear=linear,
        first=first,
        first_bias=np.array([0, 1], dtype=np.float32),
        second=np.array([[1, 1], [-1, 0]], dtype=np.float32),
        second_bias=np.array([0, 3], dtype=np.float32),
        output=np.array([2, 5], dtype=np.float32),
    )
    features = np.zeros((n, 2), dtype=np.float32)
    features[:3] = np.array([[4, -1], [0, 3], [0.5, 0]])
    # hidden (4, 1) and (0, 0), then (5, 0) and (0, 3)
    assert blend.scores(features).tolist() == [10 + 5, 15]


def test_the_best_are_the_candidates_by_falling_score() -> None:
    ranking = tiny_ranking()
    scores, nearest, recent = clicks(CLICKS_AT_ONCE + 30)
    best_scores, best_rows = ranking.best(scores, nearest, recent, 6)
    for n in range(len(scores)):
        alone = gather(ranking.memory, scores[n : n + 1], nearest[n : n + 1], recent[n : n + 1])
        expected = ranking.blend.scores(alone.features)
        order = np.argsort(-expected)[:6]
        np.testing.assert_allclose(best_scores[n, : len(order)], expected[order], rtol=1e-4, atol=1e-4)
        assert best_rows[n, : len(order)].tolist() == alone.rows[order].tolist()
        assert set(best_rows[n, len(order) :]) <= {UNKNOWN}


def test_where_there_are_fewer_candidates_than_wanted() -> None:
    scores, rows = tiny_ranking().best(*clicks(3), n=15)
    assert scores.shape == rows.shape == (3, 15)
    assert (rows[:, -1] == UNKNOWN).all()
    assert np.isneginf(scores[rows == UNKNOWN]).all()
    assert np.isfinite(scores[rows != UNKNOWN]).all()


def test_no_clicks_no_answers() -> None:
    scores, rows = tiny_ranking().best(*clicks(0)[:1], np.empty((0, 4), dtype=np.int64), clicks(1)[2][:0], 5)
    assert scores.shape == rows.shape == (0, 5)


def test_the_index_is_asked_for_enough() -> None:
    asked: list[int] = []

    def search(queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append(k)
        rows = np.tile(np.arange(k), (len(queries), 1))
        return -rows.astype(np.float32), rows

    small, large = tiny_ranking(), tiny_ranking(n_items=200)
    queries, recent = np.zeros((1, 6), dtype=np.float32), clicks(1)[2]
    for ranking, n in ((small, 5), (large, 5), (large, 100), (large, 500)):
        ranking.find(search, queries, recent, n)
    assert asked == [N_ITEMS, 64, 100, 200]


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    ranking = tiny_ranking()
    ranking.save(tmp_path / "ranking.safetensors")
    loaded = BlendedRanking.load(tmp_path / "ranking.safetensors")
    for part, kind in ((loaded.memory, ranking.memory), (loaded.blend, ranking.blend)):
        for name in kind.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(part, name), getattr(kind, name))
            assert getattr(part, name).dtype == getattr(kind, name).dtype
    for ours, theirs in zip(loaded.best(*clicks(9), n=5), ranking.best(*clicks(9), n=5), strict=True):
        np.testing.assert_array_equal(ours, theirs)


Tensors = dict[str, np.ndarray]
Metadata = dict[str, str]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors, metadata: metadata.update(format_version="2"), "format version 2"),
        (lambda tensors, metadata: metadata.update(features="lstm"), "other features"),
        (lambda tensors, metadata: tensors["blend.output"].fill(np.nan), "blend.output holds NaN"),
        (lambda tensors, metadata: tensors.pop("memory.recent"), "does not fit together"),
        (lambda tensors, metadata: tensors["memory.targets"].fill(99), "outside the catalogue"),
        (lambda tensors, metadata: tensors.update({"blend.first": np.zeros((5, 3), "f4")}), "of shape"),
    ],
)
def test_a_file_that_cannot_serve_is_refused(
    change: Callable[[Tensors, Metadata], object], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "ranking.safetensors"
    tiny_ranking().save(path)
    with safe_open(path, framework="numpy") as stored:
        tensors = {name: stored.get_tensor(name).copy() for name in stored.keys()}  # noqa: SIM118
        metadata = dict(stored.metadata())
    change(tensors, metadata)
    save_file(tensors, path, metadata)
    with pytest.raises(BlendError, match=reason):
        BlendedRanking.load(path)


def test_garbage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ranking.safetensors"
    path.write_bytes(b"garbage")
    with pytest.raises(BlendError, match="not a readable ranking"):
        BlendedRanking.load(path)
