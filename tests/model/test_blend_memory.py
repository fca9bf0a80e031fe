"""What the memory counts, against numbers worked out by hand."""

import numpy as np
import pytest

from model.blend_memory import DAMPING, LINKS_KEPT, ItemMemory
from model.sequences import UNKNOWN, Sequences

SESSIONS = Sequences.from_lists([[0, 1, 2], [0, 1], [UNKNOWN, 2, 0]])


def links(memory: ItemMemory, row: int) -> dict[int, tuple[float, float]]:
    part = slice(memory.starts[row], memory.starts[row + 1])
    weights = zip(memory.forward[part].tolist(), memory.together[part].tolist(), strict=True)
    return dict(zip(memory.targets[part].tolist(), weights, strict=True))


def test_links_by_hand() -> None:
    """Clicks 3, 2 and 2; 0→1 one step twice, 1→2 and 2→0 one step once, 0→2 two steps once."""
    memory = ItemMemory.remember(SESSIONS, 3)
    from_0, from_1, from_2 = (links(memory, row) for row in range(3))
    several = np.sqrt((3 + DAMPING) * (2 + DAMPING))
    pair = np.sqrt((2 + DAMPING) * (2 + DAMPING))
    assert from_0 == {
        1: pytest.approx((2 / 2.25, 2 / several)),
        2: pytest.approx((0.25 / 2.25, (1 / 2 + 1) / several)),
    }
    assert from_1 == {0: pytest.approx((0.0, 2 / several)), 2: pytest.approx((1.0, 1 / pair))}
    assert from_2 == {0: pytest.approx((1.0, 1.5 / several)), 1: pytest.approx((0.0, 1 / pair))}


def test_popularity_is_the_log_of_a_share() -> None:
    memory = ItemMemory.remember(SESSIONS, 4)
    np.testing.assert_allclose(memory.popularity, np.log(np.array([4, 3, 3, 1]) / 11), rtol=1e-6)
    np.testing.assert_allclose(memory.recent, np.log(np.array([2, 1, 1, 1]) / 5), rtol=1e-6)


def test_a_session_links_nothing_to_another() -> None:
    memory = ItemMemory.remember(Sequences.from_lists([[0, 1], [2, 3]]), 4)
    assert [list(links(memory, row)) for row in range(4)] == [[1], [0], [3], [2]]


def test_only_the_strongest_links_stay() -> None:
    n_items = LINKS_KEPT + 11
    often = [[0, row] for row in range(1, n_items) for _ in range(row)]
    memory = ItemMemory.remember(Sequences.from_lists(often), n_items)
    assert list(links(memory, 0)) == list(range(11, n_items))


def test_without_pairs_there_are_no_links() -> None:
    memory = ItemMemory.remember(Sequences.from_lists([[1], [UNKNOWN]]), 2)
    assert memory.starts.tolist() == [0, 0, 0]
    assert memory.n_items == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"starts": np.array([0, 2, 1, 6])}, "do not rise"),
        ({"forward": np.zeros(5, dtype=np.float32)}, "as many weights"),
        ({"recent": np.zeros(2, dtype=np.float32)}, "as many popularities"),
        ({"targets": np.array([0, 1, 2, 3, 1, 2], dtype=np.int32)}, "outside the catalogue"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change: dict[str, np.ndarray], reason: str) -> None:
    memory = ItemMemory.remember(SESSIONS, 3)
    parts = {name: getattr(memory, name) for name in ItemMemory.__dataclass_fields__}
    with pytest.raises(ValueError, match=reason):
        ItemMemory(**(parts | change))
