"""The note of what is in flight: who is suspect after a death, and who is quarantined."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from streams.errors import NextclickError
from streams.events import Reason
from streams.inflight import InFlight


class At(NamedTuple):
    partition: int
    offset: int


@contextmanager
def process(path: Path) -> Iterator[InFlight]:
    """One life of a worker; whatever it noted last stays."""
    in_flight = InFlight(path)
    yield in_flight
    in_flight.close()


BATCH = [At(0, 5), At(1, 7), At(0, 6), At(1, 8), At(0, 7)]


def test_a_clean_end_leaves_no_suspects(tmp_path: Path) -> None:
    with process(tmp_path / "note") as first:
        first.begin(BATCH)
        first.end(BATCH)
    with process(tmp_path / "note") as second:
        assert second.bound(BATCH, 500) == 500


def test_after_a_death_the_batch_is_answered_one_by_one(tmp_path: Path) -> None:
    with process(tmp_path / "note") as first:
        first.begin(BATCH)
    with process(tmp_path / "note") as second:
        assert second.bound(BATCH, 500) == 1
        assert second.bound([At(0, 8), At(2, 5)], 500) == 500
        assert second.quarantined(At(0, 5)) is None
        for record in BATCH:
            second.begin([record])
            second.end([record])
        assert second.bound([At(0, 5)], 500) == 500  # all suspects are behind: a replay is none


def test_three_deaths_at_one_record_quarantine_it(tmp_path: Path) -> None:
    path = tmp_path / "note"
    with process(path) as life:
        life.begin(BATCH)
    for _ in range(3):
        with process(path) as life:
            assert life.quarantined(At(0, 6)) is None
            life.begin([At(0, 5)])
            life.end([At(0, 5)])
            life.begin([At(0, 6)])  # the end of this process
    with process(path) as life:
        rejection = life.quarantined(At(0, 6))
        assert rejection is not None
        assert rejection.reason is Reason.POISON
        assert life.quarantined(At(0, 5)) is None


def test_deaths_at_different_records_quarantine_none(tmp_path: Path) -> None:
    path = tmp_path / "note"
    for offset in (5, 6, 5, 6, 7, 7):
        with process(path) as life:
            assert life.quarantined(At(0, offset)) is None
            life.begin([At(0, offset)])
    with process(path) as life:
        assert life.quarantined(At(0, 7)) is None


def live_and_fail(path: Path, error: Exception) -> None:
    with process(path) as life, pytest.raises(type(error)), life.noted([At(0, 6)]):
        raise error


@pytest.mark.parametrize(
    "error", [NextclickError("another topic"), Exception("IO error: no space left"), OSError(28, "full")]
)
def test_what_is_no_clicks_fault_quarantines_none(tmp_path: Path, error: Exception) -> None:
    for _ in range(5):
        live_and_fail(tmp_path / "note", error)
    with process(tmp_path / "note") as life:
        assert life.quarantined(At(0, 6)) is None
        assert life.bound([At(0, 6), At(0, 7)], 500) == 500


def test_an_exception_that_nobody_knows_counts_as_a_death(tmp_path: Path) -> None:
    for _ in range(3):
        live_and_fail(tmp_path / "note", ZeroDivisionError())
    with process(tmp_path / "note") as life:
        assert life.quarantined(At(0, 6)) is not None


def test_what_ends_after_the_note_is_gone_is_no_clicks_fault(tmp_path: Path) -> None:
    for _ in range(5):
        with process(tmp_path / "note") as life, life.noted([At(0, 6)]):
            pass  # and then nobody takes what is to be written
    with process(tmp_path / "note") as life:
        assert life.quarantined(At(0, 6)) is None


def test_garbage_in_the_note_is_no_note(tmp_path: Path) -> None:
    path = tmp_path / "note"
    path.write_bytes(b'{"ranges": {"0": [1')
    with process(path) as life:
        assert life.bound(BATCH, 500) == 500
        life.begin(BATCH)
        life.end(BATCH)
    with process(path) as life:
        assert life.bound(BATCH, 500) == 500
