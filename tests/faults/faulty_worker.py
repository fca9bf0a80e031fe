"""``nextclick`` with faults built in: struck at a named step, and unable to stand certain items.

The steps are struck through ``Progress.at_step``; what lies inside a step, by wrapping the one method that
does it. Everything else is the product as it is.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from deploy.cli.main import main
from streams import recommender
from streams.intake import BatchConsumer
from streams.outbox import Outbox, Outgoing
from streams.recommender import Answers, Arrival, SessionRef
from streams.session import Session
from streams.steps import Progress, Step, ignore
from tests.faults.strikes import STRUCK, Deed, Point, Strike

DEADLY_ITEM: Final = "item-deadly"
RAISING_ITEM: Final = "item-raising"
FOR_EVER_S: Final = 3600.0


class StruckError(Exception):
    """The unexpected exception that a test asked for."""


class Striker:
    """Counts how often the point was reached, and strikes when it is time."""

    def __init__(self, strike: Strike) -> None:
        self._strike = strike
        self._n = 0

    def due(self, at: Step | Point) -> bool:
        """Count a visit to the point; tell whether it is the one."""
        if at != self._strike.at:
            return False
        self._n += 1
        return self._n == self._strike.nth

    def at_step(self, step: Step) -> None:
        """To be called after each step."""
        if self.due(step):
            self._strike_now()
            if self._strike.deed is Deed.HANG:
                time.sleep(FOR_EVER_S)

    async def at_point(self) -> None:
        """To be awaited inside a step that is due."""
        self._strike_now()
        if self._strike.deed is Deed.HANG:
            await asyncio.sleep(FOR_EVER_S)

    def _strike_now(self) -> None:
        """Say so, and do the deed if it is a matter of a moment."""
        print(STRUCK.format(ms=int(time.time() * 1000), strike=self._strike), flush=True)
        match self._strike.deed:
            case Deed.RAISE:
                raise StruckError(f"struck at {self._strike.at}")
            case Deed.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Deed.FREEZE:
                os.kill(os.getpid(), signal.SIGSTOP)


def strike_deliveries(striker: Striker) -> None:
    """Let the outbox be struck before a delivery of answers, or in the middle of answers or of states."""
    deliver = Outbox.deliver

    async def struck(outbox: Outbox, records: Iterable[Outgoing]) -> dict[int, int]:
        outgoing = list(records)
        states = bool(outgoing) and outgoing[0].topic.endswith("-changelog")
        if outgoing and not states and striker.due(Point.SEND):
            await striker.at_point()
        # A half must not be empty: a batch of one record has no middle.
        if len(outgoing) > 1 and striker.due(Point.HALF_STATES if states else Point.HALF_ANSWERS):
            await deliver(outbox, outgoing[: len(outgoing) // 2])
            await striker.at_point()
        return await deliver(outbox, outgoing)

    Outbox.deliver = struck  # type: ignore[method-assign, assignment]


def strike_fetches(striker: Striker) -> None:
    """Let the consumer be struck before a fetch that clicks may come from."""
    getmany = BatchConsumer.getmany

    async def struck(consumer: BatchConsumer, timeout: float) -> AsyncIterator[tuple[Any, Any]]:
        if consumer.flow_active and striker.due(Point.FETCH):
            await striker.at_point()
        async for one in getmany(consumer, timeout):
            yield one

    BatchConsumer.getmany = struck  # type: ignore[method-assign, assignment]


class FaultyRecommender(recommender.Recommender):
    """Aborts as a native library would where it should answer one item, raises where another."""

    def answer(
        self,
        arrivals: Sequence[Arrival],
        sessions: Mapping[SessionRef, Session],
        *,
        created_ms: int,
        done: Callable[[Step], None] = ignore,
    ) -> Answers:
        items = {arrival.click.item_id for arrival in arrivals}
        if DEADLY_ITEM in items:
            os.abort()
        if RAISING_ITEM in items:
            raise StruckError(f"this recommender cannot stand {RAISING_ITEM}")
        return super().answer(arrivals, sessions, created_ms=created_ms, done=done)


def build_in_faults() -> None:
    """Prepare this process; to be called before the worker is made."""
    recommender.Recommender = FaultyRecommender  # type: ignore[misc]
    strike = Strike.from_environment()
    if strike is None:
        return
    striker = Striker(strike)
    if isinstance(strike.at, Step):
        Progress.at_step = striker.at_step
    elif strike.at is Point.FETCH:
        strike_fetches(striker)
    else:
        strike_deliveries(striker)


if __name__ == "__main__":
    build_in_faults()
    main()
