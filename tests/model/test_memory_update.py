"""A memory that goes on is near to one that counted everything."""

import numpy as np
import pytest

from model import blend_memory
from model.blend_memory import ItemMemory
from model.memory_update import go_on
from model.sequences import Sequences

N_ITEMS = 40


def walk(seed: int, n_sessions: int) -> Sequences:
    """Sessions that step on by 1 to 3 rows from a popular beginning."""
    random = np.random.default_rng(seed)
    sessions = []
    for _ in range(n_sessions):
        steps = random.integers(1, 4, random.integers(1, 6))
        sessions.append((int(random.integers(0, 20) ** 2 // 20) + np.r_[0, np.cumsum(steps)]) % N_ITEMS)
    return Sequences.from_lists([session.tolist() for session in sessions])


def counts_of(sequences: Sequences, n_items: int = N_ITEMS) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.bincount(sequences.rows, minlength=n_items).astype(np.int64)


def dense(memory: ItemMemory, weights: np.ndarray) -> np.ndarray:
    matrix = np.zeros((memory.n_items, memory.n_items))
    matrix[np.repeat(np.arange(memory.n_items), np.diff(memory.starts)), memory.targets] = weights
    return matrix


def test_going_on_is_near_to_counting_everything() -> None:
    first, second = walk(1, 400), walk(2, 200)
    before = ItemMemory.remember(first, N_ITEMS)
    went_on = go_on(before, np.arange(N_ITEMS), counts_of(first), second)
    whole = ItemMemory.remember(Sequences.concatenate(first, second), N_ITEMS)
    assert abs(dense(went_on, went_on.together) - dense(whole, whole.together)).max() < 0.01
    off = abs(dense(went_on, went_on.forward) - dense(whole, whole.forward))
    far = abs(dense(before, before.forward) - dense(whole, whole.forward))
    assert off.mean() < 0.4 * far.mean()
    np.testing.assert_allclose(went_on.popularity, whole.popularity, atol=1e-6)
    assert abs(np.exp(went_on.recent) - np.exp(whole.recent)).max() < 0.02


def test_rows_move_and_new_items_get_links() -> None:
    first = Sequences.from_lists([[0, 1, 2]] * 5)
    before = ItemMemory.remember(first, 3)
    rows_before = np.array([2, -1, 1, 0])  # the new item is row 1
    went_on = go_on(before, rows_before, counts_of(first, 3), Sequences.from_lists([[3, 1, 0]] * 4))
    forward = dense(went_on, went_on.forward)
    assert forward[3, 2] > 0  # what were rows 0 and 1
    assert forward[3, 1] > 0
    assert forward[1, 0] > 0
    assert went_on.n_items == 4


def test_going_on_with_nothing_changes_no_link() -> None:
    first = walk(1, 300)
    before = ItemMemory.remember(first, N_ITEMS)
    went_on = go_on(before, np.arange(N_ITEMS), counts_of(first), Sequences.from_lists([]))
    np.testing.assert_allclose(dense(went_on, went_on.forward), dense(before, before.forward), atol=1e-6)
    np.testing.assert_allclose(dense(went_on, went_on.together), dense(before, before.together), atol=1e-6)


def test_parts_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = walk(3, 300), walk(4, 200)

    def made() -> list[ItemMemory]:
        before = ItemMemory.remember(first, N_ITEMS)
        return [before, go_on(before, np.arange(N_ITEMS), counts_of(first), second)]

    at_once = made()
    monkeypatch.setattr(blend_memory, "CLICKS_IN_PART", 100)
    parts = blend_memory.parts_of(first, N_ITEMS)
    assert len(parts) > 5
    assert [row for rows in parts for row in rows] == list(range(N_ITEMS))
    for one, other in zip(at_once, made(), strict=True):
        for name in ("starts", "targets", "forward", "together", "popularity", "recent"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-6)
