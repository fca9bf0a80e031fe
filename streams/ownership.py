"""Who may write: whether the partitions of a batch are still this worker's.

The generation of the group says so, which the client takes back when the group does not know it any more.
Between a revocation and the next assignment, and after the process was stopped for longer than the group
waits, the number looks right and is not: another worker may have taken over, and an older state written
behind its newer one would be believed.
"""

import logging
import time
from collections.abc import Callable

from streams.endings import EXIT_PAUSED

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
    """

    def __init__(
        self,
        session_timeout_s: float,
        generation: Callable[[], int],
        *,
        end: Callable[[int], None],
        now_s: Callable[[], float] = awake_or_not_s,
    ) -> None:
        self._session_timeout_s = session_timeout_s
        self._generation = generation
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

    def check_pause(self) -> None:
        """End the process where it was paused for so long that its partitions may be another's."""
        if self._beat_s is not None and (paused_s := self._now_s() - self._beat_s) > self._session_timeout_s:
            _log.critical(
                "the process stood still for %.0f s, its partitions may be another worker's:"
                " it ends itself, to be started again",
                paused_s,
            )
            self._end(EXIT_PAUSED)
