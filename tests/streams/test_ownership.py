"""The gate before every write: generations, revocations, and a process that was paused."""

from dataclasses import dataclass, field

import pytest

from streams.endings import EXIT_PAUSED
from streams.ownership import Ownership, PartitionsMovedError


@dataclass
class World:
    """A clock, a generation of the group, and the ends that the process met."""

    now_s: float = 0.0
    generation: int = 1
    ends: list[int] = field(default_factory=list)

    def ownership(self) -> Ownership:
        return Ownership(10.0, lambda: self.generation, now_s=lambda: self.now_s, end=self.ends.append)


def test_nothing_is_written_before_an_assignment() -> None:
    gate = World().ownership()
    with pytest.raises(PartitionsMovedError):
        gate.check(1)
    gate.open()
    gate.check(1)


def test_nothing_is_written_between_revocation_and_assignment() -> None:
    world = World()
    gate = world.ownership()
    gate.open()
    gate.close()
    with pytest.raises(PartitionsMovedError):
        gate.check(1)  # the number is still the old one, and looks right
    world.generation = 2
    gate.open()
    gate.check(2)
    with pytest.raises(PartitionsMovedError):
        gate.check(1)


@pytest.mark.parametrize("what", ["beat", "check"])
def test_a_process_that_was_paused_ends_itself(what: str) -> None:
    world = World()
    gate = world.ownership()
    gate.open()
    for world.now_s in (0.0, 1.0, 9.0, 18.5):
        gate.beat()
    gate.check(1)
    assert world.ends == []
    world.now_s = 28.6
    gate.beat() if what == "beat" else gate.check(1)
    assert world.ends == [EXIT_PAUSED]
