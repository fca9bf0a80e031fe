"""Candidates and features of two clicks, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from model.blend_candidates import FEATURES, LINKED_ITEMS, RECENCY, Candidates, gather
from model.blend_memory import ItemMemory
from model.sequences import UNKNOWN

MEMORY = ItemMemory(
    starts=np.array([0, 2, 3, 3, 4, 4, 4]),
    targets=np.array([1, 5, 3, 1], dtype=np.int32),
    forward=np.array([0.75, 0.25, 1.0, 0.5], dtype=np.float32),
    together=np.array([0.2, 0.1, 0.4, 0.3], dtype=np.float32),
    popularity=-np.arange(1, 7, dtype=np.float32),
    recent=-np.arange(7, 13, dtype=np.float32),
)
SCORES = np.array([[2.0, 1.0, 0.0], [3.0, 3.0, 1.0]], dtype=np.float32)
NEAREST = np.array([[1, 2, 4], [0, 1, 2]])
RECENT = np.full((2, 20), UNKNOWN)
RECENT[0, :4] = [0, 1, UNKNOWN, 0]  # newest first: 0 was clicked, then something unknown, 1, and 0 again
RECENT[1, :1] = [3]


def table(candidates: Candidates, click: int) -> dict[int, dict[str, float]]:
    ends = np.cumsum(candidates.counts)
    part = slice(ends[click] - candidates.counts[click], ends[click])
    columns = zip(candidates.rows[part].tolist(), candidates.features[:, part].T.tolist(), strict=True)
    return {row: dict(zip(FEATURES, values, strict=True)) for row, values in columns}


def of(row: int, click: int = 0) -> dict[str, float]:
    return table(gather(MEMORY, SCORES, NEAREST, RECENT), click)[row]


def test_candidates_are_the_nearest_the_linked_and_the_own_each_once() -> None:
    candidates = gather(MEMORY, SCORES, NEAREST, RECENT)
    assert candidates.counts.tolist() == [6, 4]
    assert candidates.rows.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]


def test_what_the_encoder_says() -> None:
    log_sum = math.log(math.exp(2) + math.e + 1)
    assert [of(row)["lstm"] for row in (1, 2, 4)] == pytest.approx([2 - log_sum, 1 - log_sum, -log_sum])
    assert of(5)["lstm"] == of(0)["lstm"] == pytest.approx(-log_sum - 1)  # no neighbours: below the last one
    assert [of(row)["confidence"] for row in (0, 1, 5)] == pytest.approx([2 - log_sum] * 3)
    second = 3 - math.log(2 * math.exp(3) + math.e)
    assert of(3, click=1)["confidence"] == pytest.approx(second)


def test_what_the_links_say() -> None:
    """0 lies one click back and three, 1 one click before the last."""
    once, thrice = math.exp(-1 / RECENCY), math.exp(-3 / RECENCY)
    forward = {1: 0.75 * (1 + thrice), 5: 0.25 * (1 + thrice), 3: once, 2: 0.0}
    for row, weight in forward.items():
        assert of(row)["forward"] == pytest.approx(math.log(weight + 1e-4), rel=1e-5)
    assert of(1)["forward-last"] == pytest.approx(math.log(0.75 + 1e-4), rel=1e-5)
    assert of(3)["forward-last"] == pytest.approx(math.log(1e-4), rel=1e-5)
    assert of(1)["together"] == pytest.approx(math.log(0.2 * (1 + thrice) + 1e-4), rel=1e-5)
    assert of(1, click=1)["forward"] == pytest.approx(math.log(0.5 + 1e-4), rel=1e-5)


def test_links_of_items_long_past_are_not_followed() -> None:
    recent = np.full((1, 20), UNKNOWN)
    recent[0, LINKED_ITEMS] = 1
    found = table(gather(MEMORY, SCORES[:1], NEAREST[:1], recent), 0)
    assert 3 not in found
    assert found[1]["older"] == 1


def test_popularity_is_the_item_s() -> None:
    assert (of(4)["popularity"], of(4)["recent-popularity"]) == (-5, -11)


def test_where_an_item_stands_in_the_session() -> None:
    places = ("last", "second-last", "third-last", "older", "times")
    assert [of(0)[name] for name in places] == pytest.approx([1, 0, 0, 0, math.log(3)])
    assert [of(1)[name] for name in places] == pytest.approx([0, 1, 0, 0, math.log(2)])
    assert [of(4)[name] for name in places] == [0, 0, 0, 0, 0]
    assert of(3, click=1)["last"] == 1


def test_what_kind_of_session_it_is() -> None:
    for row in (0, 3, 4):
        assert of(row)["length"] == pytest.approx(math.log(3))
        assert of(row)["variety"] == pytest.approx(2 / 3)
    assert of(0, click=1)["length"] == 0
    assert of(0, click=1)["variety"] == 1


def test_a_catalogue_smaller_than_the_answer() -> None:
    scores = np.array([[1.0, 0.5, -np.inf]], dtype=np.float32)
    found = table(gather(MEMORY, scores, np.array([[2, 4, UNKNOWN]]), RECENT[1:]), 0)
    assert list(found) == [1, 2, 3, 4]
    assert all(math.isfinite(value) for values in found.values() for value in values.values())
    assert found[3]["lstm"] == pytest.approx(0.5 - math.log(math.e + math.exp(0.5)) - 1)
