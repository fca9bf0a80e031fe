import pytest

from benchmarks.networks import VARIANTS
from benchmarks.splits import LOGS
from model.encoder import EncoderConfig
from model.training import TrainingConfig


@pytest.mark.parametrize("log", VARIANTS)
def test_every_variant_can_be_built(log: str) -> None:
    assert log in LOGS
    for variant in VARIANTS[log]:
        EncoderConfig(**variant.encoder)
        TrainingConfig(**variant.training)
