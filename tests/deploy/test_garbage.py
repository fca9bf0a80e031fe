"""The worker's garbage: young cycles are gone at a beat, older ones later, the start's stay."""

import gc
from collections.abc import Iterator

import pytest

from deploy.garbage import FULL_EVERY, MIDDLE_EVERY, GarbageCollection


class Knot:
    """A cycle that says how many of its kind are there."""

    n_alive = 0

    def __init__(self) -> None:
        self.itself = self
        Knot.n_alive += 1

    def __del__(self) -> None:
        Knot.n_alive -= 1


@pytest.fixture
def garbage() -> Iterator[GarbageCollection]:
    thresholds = gc.get_threshold()
    yield GarbageCollection()
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    gc.collect()
    assert Knot.n_alive == 0


def test_a_young_cycle_is_gone_at_the_next_beat(garbage: GarbageCollection) -> None:
    Knot()
    assert Knot.n_alive == 1
    garbage.beat()
    assert Knot.n_alive == 0


def test_a_cycle_that_outlived_a_beat_is_gone_some_beats_later(garbage: GarbageCollection) -> None:
    held = Knot()
    garbage.beat()
    del held
    for _ in range(2 * MIDDLE_EVERY):
        garbage.beat()
    assert Knot.n_alive == 0


def test_an_old_cycle_is_gone_after_a_full_collection(garbage: GarbageCollection) -> None:
    held = Knot()
    for _ in range(2 * MIDDLE_EVERY):
        garbage.beat()
    del held
    for _ in range(MIDDLE_EVERY):
        garbage.beat()
    assert Knot.n_alive == 1
    for _ in range(FULL_EVERY):
        garbage.beat()
    assert Knot.n_alive == 0


def test_what_was_there_at_the_start_is_never_walked() -> None:
    thresholds = gc.get_threshold()
    held = Knot()
    garbage = GarbageCollection()
    try:
        del held
        for _ in range(FULL_EVERY):
            garbage.beat()
        assert Knot.n_alive == 1
    finally:
        gc.unfreeze()
        gc.collect()
        gc.set_threshold(*thresholds)
    assert Knot.n_alive == 0
