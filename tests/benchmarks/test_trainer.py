"""What bench-trainer and bench-refresh are made of: an archive filled in parts, a day gone through."""

from pathlib import Path

import numpy as np

from benchmarks.archive import fill_archive, made_up
from benchmarks.refresh import Day
from benchmarks.trainer import by_stage
from model.training import RefreshConfig, TrainingConfig
from streams.archive_reading import read_archive
from streams.shoppers import Habits, drifting, generate_columns

ENDS_MS = 1_790_000_000_000


def test_an_archive_is_filled_part_by_part(tmp_path: Path) -> None:
    whole = made_up(3_000, 50, ENDS_MS)
    for begin, end in ((0, 1_000), (1_000, 2_500)):
        fill_archive(str(tmp_path), 3_000, 50, "t", ENDS_MS, begin, end)
        found = read_archive(str(tmp_path), "t")
        by_time, expected = (np.sort(times) for times in (found.time_ms, whole.time_ms[:end]))
        np.testing.assert_array_equal(by_time, expected)
        assert sorted(found.session_ids) == sorted(whole.session_ids[:end])


def test_stages_stand_beside_each_other() -> None:
    lines = [{"what": "a", "stages": {"read": 1.0}}, {"what": "b", "stages": {"read": 2.0, "train": 3.0}}]
    assert by_stage(lines) == [
        {"stage": "read", "a": 1.0, "b": 2.0},
        {"stage": "train", "a": None, "b": 3.0},
    ]


def test_a_drifting_day_is_foretold_by_every_way(tmp_path: Path) -> None:
    habits = drifting(Habits(n_new_items=10, launch_every_ms=60_000), 600_000)
    clicks = generate_columns(3, 4_500, n_items=100, clicks_per_s=10.0, habits=habits)
    training = TrainingConfig(n_epochs=1, learning_rate=1.6e-2)
    lines = Day(clicks, 0.5, 3, tmp_path, training).run({"refresh": RefreshConfig(n_passes=2)})
    by_way = {line["way"]: line for line in lines}
    assert len({line["targets"] for line in lines}) == 1
    assert by_way["full"]["of_full"] == 1.0
    assert by_way["never"]["recall"] < by_way["refresh"]["recall"]
    assert all(len(line["recalls"]) == 2 for line in lines)
