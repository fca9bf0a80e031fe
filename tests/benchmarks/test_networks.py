from pathlib import Path

import pytest

from benchmarks.networks import LOGS, trivago, yoochoose
from model.encoder import EncoderConfig
from model.training import TrainingConfig


@pytest.mark.parametrize("log", LOGS)
def test_every_variant_can_be_built(log: str) -> None:
    for variant in LOGS[log][1]:
        EncoderConfig(**variant.encoder)
        TrainingConfig(**variant.training)


def test_no_session_is_in_both_parts_of_a_log(data_folder: Path) -> None:
    for read in (trivago, yoochoose):
        older, newer = read(data_folder)
        assert len(older) > len(newer) > 0
        assert not set(older.session_ids) & set(newer.session_ids)
    assert set(trivago(data_folder)[0].each_kind()) > {"clickout item", "interaction item image"}
