from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch.optim.adam import adam as torch_adam

from model.optimizer import Adagrad, Adam, Optimizer

MAKERS: dict[str, Callable[[], Optimizer]] = {"adagrad": lambda: Adagrad(momentum=0.5), "adam": Adam}


@pytest.fixture(params=sorted(MAKERS))
def optimizer(request: pytest.FixtureRequest) -> Optimizer:
    return MAKERS[request.param]()


def test_adagrad_with_momentum_by_hand() -> None:
    parameter, gradient = torch.tensor([1.0]), torch.tensor([2.0])
    adagrad = Adagrad(momentum=0.5, epsilon=0.0)
    adagrad.update(parameter, gradient, 0.1)  # a = 4, v = -0.1 * 2 / 2
    assert parameter.item() == pytest.approx(0.9)
    adagrad.update(parameter, gradient, 0.1)  # a = 8, v = 0.5 * -0.1 - 0.1 * 2 / √8
    assert parameter.item() == pytest.approx(0.9 - 0.05 - 0.2 / 8**0.5)


def test_adam_is_torchs_adam_where_all_rows_take_part() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(4, 3, generator=generator)
    theirs, m, v, steps = ours.clone(), torch.zeros(4, 3), torch.zeros(4, 3), torch.tensor(0.0)
    adam = Adam()
    adam_step = partial(torch_adam, amsgrad=False, maximize=False, weight_decay=0.0)
    for _ in range(20):
        gradient = torch.randn(4, 3, generator=generator)
        adam.update(ours, gradient, 0.01)
        # What ``torch.optim.Adam`` calls; the class itself imports the compiler, which takes seconds.
        adam_step([theirs], [gradient], [m], [v], [], [steps], beta1=0.9, beta2=0.999, lr=0.01, eps=1e-8)
    torch.testing.assert_close(ours, theirs)


def test_rows_given_are_changed_as_if_they_were_alone(optimizer: Optimizer) -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(6, 3, generator=generator)
    before, alone = table.clone(), table[[1, 4]].clone()
    rows = torch.tensor([1, 4])
    for _ in range(3):
        gradient = torch.randn(2, 3, generator=generator)
        optimizer.update(table, gradient, 0.1, rows)
        optimizer.update(alone, gradient, 0.1)
    torch.testing.assert_close(table[rows], alone)
    torch.testing.assert_close(table[[0, 2, 3, 5]], before[[0, 2, 3, 5]])


def test_a_row_seen_late_begins_as_the_others_did(optimizer: Optimizer) -> None:
    table = torch.zeros(2, 1)
    for _ in range(50):
        optimizer.update(table, torch.ones(1, 1), 0.01, torch.tensor([0]))
    optimizer.update(table, torch.ones(1, 1), 0.01, torch.tensor([1]))
    assert table[1].item() == pytest.approx(-0.01, rel=1e-3)


def test_averages_are_made_once(optimizer: Optimizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that allocated as much as the whole table would cost more with every item."""
    table, rows = torch.zeros(6, 3), torch.tensor([1, 4])
    optimizer.update(table, torch.ones(2, 3), 0.1, rows)
    monkeypatch.setattr(torch, "zeros_like", None)
    optimizer.update(table, torch.ones(2, 3), 0.1, rows)


def test_works_on_vectors_and_scalars(optimizer: Optimizer) -> None:
    for parameter in (torch.ones(3), torch.tensor(1.0)):
        optimizer.update(parameter, torch.ones_like(parameter), 0.1)
        assert (parameter < 1).all()
    bias = torch.zeros(5)
    optimizer.update(bias, torch.ones(2), 0.1, torch.tensor([0, 3]))
    assert (bias != 0).tolist() == [True, False, False, True, False]


def test_finds_the_bottom_of_a_bowl(optimizer: Optimizer) -> None:
    parameter = torch.tensor([3.0, -2.0])
    for _ in range(500):
        optimizer.update(parameter, 2 * (parameter - 1), 0.1)
    torch.testing.assert_close(parameter, torch.ones(2), atol=0.05, rtol=0)
