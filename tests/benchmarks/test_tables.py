from typing import Any

import pytest

from benchmarks.figures import agreement
from benchmarks.kept import ROOT, newest, read_results
from benchmarks.report import markdown
from benchmarks.tables import PLACES, TableError, with_tables


def a_run(started: str, ratio: float, *, quiet: bool = True, counts: bool = True) -> dict[str, Any]:
    ratios = {"worker/forward": ratio, "worker/naive": 4 * ratio, "naive/forward": 0.25}
    return {
        "started": started,
        "load": {"quiet_at_start": quiet},
        "counts": counts,
        "ratios": ratios,
        "ratios_by_round": {"worker/forward": [ratio, ratio]},
    }


@pytest.mark.parametrize("name", PLACES)
def test_the_tables_are_those_of_the_results(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text == with_tables(text, PLACES[name], read_results()), "run: make bench-tables"


def test_the_newest_run_on_a_quiet_machine_is_shown() -> None:
    runs = [a_run("1", 1.0), a_run("2", 1.1), a_run("3", 0.2, quiet=False), a_run("4", 3.0, counts=False)]
    assert newest({"stream": runs}, "stream") == runs[1]


def test_a_run_on_a_busy_machine_is_shown_where_there_is_no_other() -> None:
    runs = [a_run("1", 1.0, quiet=False), a_run("2", 1.1, quiet=False)]
    assert newest({"stream": runs}, "stream") == runs[1]
    assert newest({}, "stream") is None


def test_agreement_is_of_the_runs_that_count() -> None:
    runs = [a_run("1", 1.0), a_run("2", 1.1), a_run("3", 9.0, quiet=False)]
    *lines, last = agreement({"stream": runs})
    assert [line["counts"] for line in lines] == ["yes", "yes", "no"]
    assert last["worker/forward"] == 1.1
    assert last["naive/forward"] == 1.0


def test_numbers_stand_to_the_right_and_absent_ones_are_empty() -> None:
    found = markdown([{"what": "a", "n": 1234.5}, {"what": "b", "n": None}])
    assert found == ["| what | n |", "| --- | ---: |", "| a | 1,234 |", "| b |  |"]


def test_a_file_without_a_place_is_refused() -> None:
    with pytest.raises(TableError, match="no place for the table 'accuracy'"):
        with_tables("# A file\n", PLACES["README.md"], {})
