"""Drift: silent where shoppers stay as they are, loud where they do not."""

import numpy as np
import pytest

from model.vocabulary import Vocabulary
from streams.clickfile import ClickColumns
from streams.drift import (
    DriftAlarms,
    DriftLimits,
    Figure,
    counts_of_clicks,
    jensen_shannon,
    population_stability,
)
from streams.shoppers import Habits, drifting, generate_columns

N_TRAIN = 20_000


def shoppers(seed: int, habits: Habits | None = None) -> tuple[Vocabulary, ClickColumns]:
    """What a snapshot of the first clicks knows, and the clicks after them."""
    columns = generate_columns(seed, 30_000, n_items=400, clicks_per_s=50.0, habits=habits)
    later = slice(N_TRAIN, None)
    rest = ClickColumns(columns.session_ids[later], columns.item_ids[later], columns.time_ms[later])
    return Vocabulary.from_clicks(columns.item_ids[:N_TRAIN]), rest


@pytest.mark.parametrize("seed", range(4))
def test_shoppers_who_stay_as_they_are_raise_no_alarm(seed: int) -> None:
    vocabulary, later = shoppers(seed)
    figures = counts_of_clicks(vocabulary, later.item_ids.tolist()).figures()
    assert figures.keys() == {Figure.POPULARITY, Figure.UNKNOWN}
    assert DriftLimits().crossed(figures) == []
    assert figures[Figure.POPULARITY] < 0.15


@pytest.mark.parametrize("seed", range(4))
def test_shoppers_who_change_raise_one(seed: int) -> None:
    vocabulary, later = shoppers(seed, drifting(Habits(), 400_000))
    figures = counts_of_clicks(vocabulary, later.item_ids.tolist()).figures()
    assert DriftLimits().crossed(figures) == [Figure.POPULARITY]


def test_new_items_raise_one() -> None:
    vocabulary, later = shoppers(1, Habits(n_new_items=60, launch_every_ms=5_000, launch_from_ms=350_000))
    figures = counts_of_clicks(vocabulary, later.item_ids.tolist()).figures()
    unknown = np.mean([item_id not in vocabulary for item_id in later.item_ids])
    assert figures[Figure.UNKNOWN] == pytest.approx(float(unknown))
    assert Figure.UNKNOWN in DriftLimits().crossed(figures)


def test_of_few_clicks_nothing_is_said() -> None:
    vocabulary, later = shoppers(1)
    assert counts_of_clicks(vocabulary, later.item_ids[:999].tolist()).figures() == {}
    assert counts_of_clicks(vocabulary, later.item_ids[:1_000].tolist()).figures() != {}


def test_the_distance_is_0_for_equal_shares_and_1_for_disjoint_ones() -> None:
    many = np.array([4e6, 3e6, 0.0, 1e6])
    assert jensen_shannon(many, many) == pytest.approx(0.0, abs=1e-3)
    assert jensen_shannon(many, many[::-1] * 0.5) > 0.1
    assert jensen_shannon(np.array([1e6, 0.0]), np.array([0.0, 1e6])) == pytest.approx(1.0, abs=1e-3)
    assert jensen_shannon(many, np.zeros(4)) == 0.0


def test_samples_of_one_source_are_not_told_apart() -> None:
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(250))
    distances = [
        jensen_shannon(
            random.multinomial(100_000, shares).astype(float), random.multinomial(3_000, shares).astype(float)
        )
        for _ in range(20)
    ]
    assert max(distances) < 0.08


def test_the_stability_index_is_the_formula() -> None:
    p, q = np.array([99.5, 299.5]), np.array([199.5, 199.5])
    expected = (0.5 - 0.25) * np.log(0.5 / 0.25) + (0.5 - 0.75) * np.log(0.5 / 0.75)
    assert population_stability(p, q) == pytest.approx(expected)


def test_an_alarm_is_told_once_until_it_has_calmed_down() -> None:
    alarms = DriftAlarms(DriftLimits(unknown=0.1))
    told = [alarms.update({Figure.UNKNOWN: value}) for value in (0.05, 0.11, 0.2, 0.09, 0.11, 0.07, 0.11)]
    crossed = [Figure.UNKNOWN]
    assert told == [[], crossed, [], [], [], [], crossed]
