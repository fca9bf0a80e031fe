"""Faust's runner, which waits for a broker for ever, with an end to its patience once it is to stop.

And without its two seconds of sleep at every end: one for tasks that have not ended, as the heartbeat never
does, and one for what it then cancels.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable

import faust

from streams.endings import EXIT_STUCK

_log = logging.getLogger(__name__)


class Runner(faust.Worker):  # type: ignore[misc]
    """Runs one app until it is stopped.

    ``end`` ends the process with a code where stopping takes longer than ``stop_within_s``. The task
    ``heartbeat`` would go on for ever, and is ended with the others.
    """

    def __init__(
        self,
        app: faust.App,
        loop: asyncio.AbstractEventLoop,
        *,
        stop_within_s: float,
        end: Callable[[int], None],
        heartbeat: asyncio.Task[None],
    ) -> None:
        super().__init__(app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True)
        self.spinner = None
        self._stop_within_s = stop_within_s
        self._end = end
        self._heartbeat = heartbeat

    def _schedule_shutdown(self, signal: signal.Signals) -> None:
        if not self._signal_stop_time:
            backstop = threading.Timer(self._stop_within_s, self._give_up)
            backstop.daemon = True
            backstop.start()
        super()._schedule_shutdown(signal)

    def _give_up(self) -> None:
        _log.critical(
            "not stopped after %.0f s, does Kafka answer? Ended without the last commit: nothing is lost,"
            " some clicks will come again",
            self._stop_within_s,
        )
        self._end(EXIT_STUCK)

    def _gather_all(self) -> None:
        self._heartbeat.cancel()
        super()._gather_all()

    async def _sentinel_task(self) -> None:
        if cancelled := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(cancelled, timeout=1.0)
