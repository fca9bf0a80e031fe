"""What `bench-lifecycle` makes of its runs."""

from typing import Any

from benchmarks.lifecycle import canary_share_of_ids, line_of, marks_of


def a_run(refused: bool = True, rolled_back_s: float | None = 20.0, errors: float = 0.5) -> dict[str, Any]:
    canary = {
        "seconds_to_rollback": rolled_back_s,
        "sessions": 40,
        "hit_rate": {"clicks": 300, "rate": 0.1},
        "strays": 0,
    }
    return {
        "clicks": 18_000,
        "missing": 0,
        "sabotage": {"refused": refused, "rolled_back": rolled_back_s is not None},
        "canary": None if rolled_back_s is None else canary,
        "gain_of_known": {"refreshed": 0.52, "never_refreshed": 0.5},
        "others_errors": errors,
    }


def test_the_worst_run_counts_and_one_that_never_served_has_no_rollback() -> None:
    runs = [a_run(), a_run(rolled_back_s=61.0, errors=-4.0), a_run(rolled_back_s=None)]
    found = {what: (measured, held) for what, _, measured, held in marks_of(runs, 0.1)}
    assert found["kinds of bad snapshots that the gate refused"] == (3, True)
    assert found["a forced canary until rolled back, s"] == (61.0, False)
    assert not found["hit rate of production's sessions meanwhile less before, standard errors"][1]
    assert line_of("index", runs[2])["rolled back after s"] is None


def test_an_accepted_bad_snapshot_is_a_missed_mark() -> None:
    found = {what: held for what, _, _, held in marks_of([a_run(), a_run(refused=False)], 0.2)}
    assert not found["kinds of bad snapshots that the gate refused"]
    assert not found["session ids on the side of a canary of a tenth, share of a million"]


def test_about_a_tenth_of_the_ids_is_on_the_canarys_side() -> None:
    assert 0.09 < canary_share_of_ids(20_000) < 0.11
