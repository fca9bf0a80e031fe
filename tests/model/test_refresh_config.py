"""How many clicks a refresh goes through."""

import pytest

from model.encoder import EncoderConfig
from model.sequences import Sequences
from model.training import Progress, RefreshConfig, TrainingConfig, continue_training, train


@pytest.mark.parametrize(
    ("n_newest", "n_older", "passes", "share"),
    [
        (100, 200, 4, 1.0),  # 1,200 of 2,000
        (200, 300, 4, 1.0),  # exactly as many as allowed
        (200, 400, 3, 1.0),  # passes are given up first
        (400, 1_200, 2, 0.5),  # then older clicks
        (1_000, 1_000, 2, 0.0),
        (1_200, 1_200, 1, 2 / 3),  # then the second pass
        (5_000, 10_000, 1, 0.0),  # the newest are learnt in any case
        (100, 0, 4, 0.0),
        (0, 0, 4, 0.0),
    ],
)
def test_many_clicks_are_gone_through_less_often(
    n_newest: int, n_older: int, passes: int, share: float
) -> None:
    assert RefreshConfig(most_clicks=2_000).within(n_newest, n_older) == (passes, share)


@pytest.mark.parametrize(
    ("most_clicks", "expected"), [(10_000, 4 * 300), (600, 2 * 300), (400, 2 * 200), (150, 150)]
)
def test_a_refresh_goes_through_so_many_clicks(most_clicks: int, expected: int) -> None:
    older, newest = (Sequences.from_lists([[n % 7, (n + 1) % 7] for n in range(size)]) for size in (500, 100))
    config = TrainingConfig(n_epochs=1)
    encoder = train(older, 7, EncoderConfig(n_units=8, embedding_dim=8), config)
    told: list[Progress] = []
    refresh = RefreshConfig(most_clicks=most_clicks)
    continue_training(encoder, newest, config, older=older, refresh=refresh, on_progress=told.append)
    assert told[-1].clicks_done == expected
