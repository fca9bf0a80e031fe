"""The gate before every write: generations, revocations, and a process that was paused."""

import asyncio
from dataclasses import dataclass, field

import pytest

from streams.endings import EXIT_PAUSED
from streams.ownership import Ownership, PartitionsMovedError


@dataclass
class World:
    """A clock, a generation of the group, and the ends that the process met."""

    now_s: float = 0.0
    generation: int = 1
    heard_s: float = 0.0
    ends: list[int] = field(default_factory=list)

    def ownership(self) -> Ownership:
        return Ownership(
            10.0,
            lambda: self.generation,
            lambda: self.now_s - self.heard_s,
            now_s=lambda: self.now_s,
            end=self.ends.append,
        )


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


def sends_at_once(gate: Ownership) -> bool:
    """Whether a write may be sent now, and not only later."""

    async def ask() -> bool:
        sending = asyncio.ensure_future(gate.may_send())
        await asyncio.sleep(0.2)
        done = sending.done()
        sending.cancel()
        return done

    return asyncio.run(ask())


@pytest.mark.parametrize(("silence_s", "sends"), [(0.0, True), (8.9, True), (9.1, False), (60.0, False)])
def test_nothing_is_sent_while_the_coordinator_may_have_given_the_partitions_away(
    silence_s: float, sends: bool
) -> None:
    world = World(heard_s=-silence_s)
    assert sends_at_once(world.ownership()) is sends
    assert world.ends == []


def test_what_waited_is_sent_once_the_coordinator_answers() -> None:
    world = World(heard_s=-60.0)

    async def run() -> None:
        sending = asyncio.ensure_future(world.ownership().may_send())
        await asyncio.sleep(0.1)
        assert not sending.done()
        world.heard_s = 0.0
        await asyncio.wait_for(sending, 5)

    asyncio.run(run())
    assert world.ends == []


def test_a_worker_that_lost_its_place_while_it_was_to_send_ends_itself() -> None:
    world = World(heard_s=-60.0, generation=-1)
    asyncio.run(world.ownership().may_send())
    assert world.ends == [EXIT_PAUSED]
