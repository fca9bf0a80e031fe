"""When drift makes a trainer train from the start before that is due."""

from dataclasses import replace

from deploy.trainer_loop import wanted_training
from streams.drift import DriftAlarms, DriftLimits, Figure
from streams.manifest import Verdict
from streams.training_report import Kind, NothingNew, Published

REFRESHED = Published(
    version="v2",
    location="/snapshots/v2",
    kind=Kind.REFRESH,
    n_clicks=5_000,
    n_sessions=900,
    n_items=100,
    metrics={},
    metrics_of="",
    verdict=Verdict(accepted=True),
    announced=True,
    pinned_to=None,
    deleted=(),
    seconds=5.0,
)


def refreshed(**drift: float) -> Published:
    return replace(REFRESHED, drift={Figure(name): value for name, value in drift.items()})


def test_a_crossed_limit_asks_for_a_full_training_once() -> None:
    alarms = DriftAlarms(DriftLimits())
    outcomes = [
        refreshed(popularity=0.1, unknown=0.02),
        refreshed(popularity=0.42, unknown=0.02),
        refreshed(popularity=0.45, unknown=0.02),  # the full training is on its way
        refreshed(),
        refreshed(popularity=0.44, unknown=0.02),
        refreshed(popularity=0.1, unknown=0.02),
        refreshed(popularity=0.4, unknown=0.2),
    ]
    told = [wanted_training(outcome, alarms) for outcome in outcomes]
    shifted = "what is clicked is no longer what the snapshot was trained on"
    assert told[1] == f"{shifted} (popularity is 0.420, the limit 0.3)"
    assert [why is None for why in told] == [True, False, True, True, True, True, False]
    assert told[-1] is not None
    assert told[-1].count(";") == 1


def test_without_a_snapshot_nothing_is_asked_for() -> None:
    alarms = DriftAlarms(DriftLimits())
    assert wanted_training(None, alarms) is None
    assert wanted_training(NothingNew(10, 400, 60), alarms) is None
