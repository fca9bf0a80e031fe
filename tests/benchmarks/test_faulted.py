"""The table of faults: of each row the newest run in full, or in short form where there is none."""

from typing import Any

from benchmarks.faulted import faults


def a_run(day: int, rows: dict[int, int], *, shortened: bool) -> dict[str, Any]:
    """Rows by number, with their clicks."""
    told = {"fault": "a fault", "must_show": "nothing missing", "held": True, "skipped": False}
    return {
        "conditions": {"shortened": shortened, "rows": list(rows)},
        "rows": [{"row": row, "figures": {"clicks": n}} | told for row, n in rows.items()],
        "seconds": 600.0,
        "machine": {"cores": 2},
        "started": f"2026-11-{day}T00:00:00Z",
        "versions": {"nextclick": f"commit{day}"},
    }


def lines_of(*runs: dict[str, Any]) -> list[str]:
    """The table's rows, without head, and what stands beneath."""
    return list(faults({"faults": list(runs)}))[2:]


def test_each_row_by_its_newest_run_in_full_or_else_in_short_form() -> None:
    lines = lines_of(
        a_run(20, {1: 100, 2: 100}, shortened=True),
        a_run(21, {2: 5_000}, shortened=False),
        a_run(22, {2: 6_000}, shortened=False),
        a_run(23, {1: 200, 2: 200}, shortened=True),
    )
    assert lines[0] == (
        "| 1 | a fault | nothing missing | yes | 200 clicks | short | 2026-11-23, commit commit23 |"
    )
    assert lines[1] == (
        "| 2 | a fault | nothing missing | yes | 6,000 clicks | in full | 2026-11-22, commit commit22 |"
    )
    assert lines[-1].startswith("2 of 2 rows held, on 2 cores. 1 of them in short form")


def test_a_row_that_did_not_hold_is_not_hidden_by_an_older_run_in_full() -> None:
    failed = a_run(23, {1: 200}, shortened=True)
    failed["rows"][0]["held"] = False
    lines = lines_of(a_run(22, {1: 6_000}, shortened=False), failed)
    assert "**no**" in lines[0]
    assert lines[-1].startswith("0 of 1 rows held")


def test_where_all_were_run_in_full_nothing_is_said_of_short_forms() -> None:
    lines = lines_of(a_run(20, {1: 100, 2: 100}, shortened=False))
    assert lines[-1] == "2 of 2 rows held, on 2 cores."


def test_no_runs() -> None:
    assert lines_of() == []
