from streams.schedule import Schedule
from streams.training_report import Kind

HOUR, MINUTE = 3_600.0, 60.0


def test_where_nothing_serves_a_full_training_comes_first_then_refreshes() -> None:
    schedule = Schedule(6 * HOUR, 5 * MINUTE)
    first = schedule.next(100.0)
    assert first.kind is Kind.FULL
    assert first.at_s <= 100.0
    schedule.done(Kind.FULL, 100.0, made=True)
    assert schedule.next(160.0) == (Kind.REFRESH, 400.0, "")
    schedule.done(Kind.REFRESH, 400.0, made=False)  # too little was new
    assert schedule.next(410.0) == (Kind.REFRESH, 700.0, "")


def test_a_full_training_goes_before_a_refresh_where_both_are_due() -> None:
    schedule = Schedule(HOUR, 5 * MINUTE)
    schedule.done(Kind.FULL, 0.0, made=True)
    schedule.done(Kind.REFRESH, HOUR - 2 * MINUTE, made=True)
    assert schedule.next(HOUR - MINUTE) == (Kind.FULL, HOUR, "")
    assert schedule.next(2 * HOUR) == (Kind.FULL, HOUR, "")


def test_a_trainer_that_starts_beside_a_fresh_snapshot_does_not_train_it_again() -> None:
    schedule = Schedule(6 * HOUR, 5 * MINUTE)
    schedule.something_serves(1_000.0, HOUR)
    assert schedule.next(1_000.0) == (Kind.REFRESH, 1_000.0, "")
    assert schedule.full_at_s == 1_000.0 + 5 * HOUR
    schedule = Schedule(6 * HOUR, 5 * MINUTE)
    schedule.something_serves(1_000.0, 7 * HOUR)
    assert schedule.next(1_000.0).kind is Kind.FULL


def test_a_full_training_that_made_nothing_is_tried_again_soon() -> None:
    schedule = Schedule(6 * HOUR, 5 * MINUTE)
    schedule.done(Kind.FULL, 0.0, made=False)
    assert schedule.next(1.0) == (Kind.FULL, 5 * MINUTE, "")
    schedule = Schedule(2.0, 5 * MINUTE)
    schedule.done(Kind.FULL, 0.0, made=False)
    assert schedule.next(1.0) == (Kind.FULL, 2.0, "")


def test_without_refreshes_there_are_none() -> None:
    schedule = Schedule(HOUR, None)
    schedule.something_serves(0.0, 0.0)
    assert schedule.next(1.0) == (Kind.FULL, HOUR, "")
    schedule.done(Kind.FULL, HOUR, made=True)
    assert schedule.next(HOUR) == (Kind.FULL, 2 * HOUR, "")


def test_a_full_training_may_be_asked_for() -> None:
    schedule = Schedule(6 * HOUR, 5 * MINUTE)
    schedule.done(Kind.FULL, 0.0, made=True)
    assert schedule.next(10.0, "clicks have drifted") == (Kind.FULL, 10.0, "clicks have drifted")
