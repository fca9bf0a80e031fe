"""Who may write: whether the partitions of a batch are still this worker's.

The generation of the group says so, which the client takes back when the group does not know it any more.
Between a revocation and the next assignment, after the process was stopped for longer than the group waits,
and while the group's coordinator is out of reach, the number looks right and is not: another worker may have
taken over, and an older state written behind its newer one would be believed.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from streams.endings import EXIT_PAUSED

SILENCE_MARGIN_S: Final = 1.0  # for a request on its way: nothing is sent so long before the time-out
ASK_AGAIN_S: Final = 0.05

_log = logging.getLogger(__name__)


def awake_or_not_s() -> float:
    """Seconds that pass also while the host sleeps, where the system counts them."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


class PartitionsMovedError(Exception):
    """The batch's partitions were given to another member: nothing more may be written for it."""


class Ownership:
    """The gate before every write.

    ``beat`` is called every second from the event loop. Where two beats lie further apart than the group's
    session time-out, the process was paused and its partitions may be another's, without any sign of it
    here: it ends itself, since what it holds cannot be told from what it has lost.

    ``silence_s`` gives how long ago the group's coordinator was asked last of what it has answered since.
    """

    def __init__(
        self,
        session_timeout_s: float,
        generation: Callable[[], int],
        silence_s: Callable[[], float],
        *,
        end: Callable[[int], None],
        now_s: Callable[[], float] = awake_or_not_s,
    ) -> None:
        self._session_timeout_s = session_timeout_s
        self._generation = generation
        self._silence_s = silence_s
        self._now_s = now_s
        self._end = end
        self._open = False
        self._beat_s: float | None = None

    def open(self) -> None:
        """Let batches of the current generation through: the partitions were assigned and recovered."""
        self._open = True

    def close(self) -> None:
        """Let nothing through until the next assignment."""
        self._open = False

    @property
    def is_open(self) -> bool:
        """Whether there are partitions to write for."""
        return self._open

    def beat(self) -> None:
        """Show that the process runs."""
        self.check_pause()
        self._beat_s = self._now_s()

    def check(self, generation: int) -> None:
        """Raise :class:`PartitionsMovedError` unless a batch of this generation may write now."""
        self.check_pause()
        if not self._open or generation != self._generation():
            raise PartitionsMovedError

    async def may_send(self) -> None:
        """Wait until the coordinator is known to count on this worker; called before each write to Kafka.

        A coordinator that does not answer may have given the partitions away, while the brokers that hold
        them still take what is written. Where it says so in the end, the process ends itself: what is on its
        way to the socket cannot be taken back.
        """
        self.check_pause()
        told = False
        while self._silence_s() > self._session_timeout_s - SILENCE_MARGIN_S:
            if self._generation() < 0:
                _log.critical(
                    "the group gave this worker's partitions away while an answer was to be sent:"
                    " it ends itself, to be started again"
                )
                self._end(EXIT_PAUSED)
                return
            if not told:
                told = True
                _log.warning(
                    "the group's coordinator has not answered for %.0f s: nothing is sent until it does,"
                    " clicks wait and none is lost",
                    self._silence_s(),
                )
            await asyncio.sleep(ASK_AGAIN_S)
            self.check_pause()

    def check_pause(self) -> None:
        """End the process where it was paused for so long that its partitions may be another's."""
        if self._beat_s is not None and (paused_s := self._now_s() - self._beat_s) > self._session_timeout_s:
            _log.critical(
                "the process stood still for %.0f s, its partitions may be another worker's:"
                " it ends itself, to be started again",
                paused_s,
            )
            self._end(EXIT_PAUSED)
