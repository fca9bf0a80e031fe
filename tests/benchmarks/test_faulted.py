"""The table of faults: the newest run of all rows, and rows that were run in full by themselves."""

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


def test_rows_run_in_full_by_themselves_stand_beneath() -> None:
    runs = [
        a_run(20, {1: 100, 2: 100}, shortened=True),
        a_run(21, {2: 5_000}, shortened=False),
        a_run(22, {2: 6_000}, shortened=False),
        a_run(23, {1: 200}, shortened=True),
    ]
    lines = list(faults({"faults": runs}))
    assert lines[2] == "| 1 | a fault | nothing missing | yes | 100 clicks |"
    assert lines[-1] == (
        "| 2 | a fault | nothing missing | yes | 6,000 clicks | 2026-11-22, commit commit22 |"
    )
    assert not any("5,000" in line for line in lines)


def test_a_run_in_full_of_all_rows_needs_nothing_beneath() -> None:
    lines = list(faults({"faults": [a_run(20, {1: 100, 2: 100}, shortened=False)]}))
    assert lines[-1].startswith("2 of 2 rows held, in full,")
