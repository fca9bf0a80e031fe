"""The thread that fetches clicks: when it asks the brokers, and how what has come is shared out."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from aiokafka.protocol.fetch import FetchRequest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

FETCH_WAIT_MS: Final = 100
"""How long a fetch may wait at the broker. There is one at a time, and without the partitions whose clicks
were still in hand when it was sent: these wait for its end: with Faust's 1,500 ms amid a backlog."""
HOLD_AT_MOST_S: Final = 1.0
"""So that no fetch depends on somebody's word."""


class FetchingThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's thread that talks to the brokers: fetches come back soon, partitions take turns.

    A fetch comes back with the first click, and the next one would begin at once: with a few clicks of each
    batch there would be two or three. While it is told to hold, none begins: what arrives meanwhile is
    fetched in one go.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._holds = False
        self._held: asyncio.Future[None] | None = None

    def hold(self) -> None:
        """Let no new fetch begin; may be called from any thread."""
        self._holds = True

    def let_go(self) -> None:
        """Let fetches begin again; may be called from any thread."""
        self._holds = False
        held, self._held = self._held, None
        if held is not None:
            with suppress(RuntimeError):  # the thread has ended
                self.thread_loop.call_soon_threadsafe(_wake, held)

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # Faust has no setting for it
        self.consumer.heartbeats.listen(consumer._client)
        self._hold_fetches_of(consumer._client)
        return consumer

    def _hold_fetches_of(self, client: Any) -> None:
        send = client.send

        async def held_send(node_id: int, request: Any, **options: Any) -> Any:
            if self._holds and isinstance(request, FetchRequest):
                if (held := self._held) is None:  # else another broker's fetch waits already
                    self._held = held = asyncio.get_running_loop().create_future()
                if self._holds:  # else it was let go between the two lines
                    await asyncio.wait([held], timeout=HOLD_AT_MOST_S)
            return await send(node_id, request, **options)

        client.send = held_send

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:
        """Take what was fetched, as Faust does, without its queue of calls: that took three tasks a call."""
        consumer = self._ensure_consumer()
        taking = self._fetch_records(
            consumer, active_partitions, timeout=timeout, max_records=consumer._max_poll_records
        )
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(taking, self.thread_loop))

    def has_fetched(self, tp: TP) -> bool:
        """Whether records of a partition are here and wait for their turn; may be asked from any thread."""
        return self._consumer is not None and tp in self._consumer._fetcher._records

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: set[TP],
        timeout: float,
        max_records: int,
    ) -> Mapping[TP, list[Any]]:
        """Take as many records of every partition, where there are more than are asked for.

        aiokafka empties one partition after the other: amid a backlog a slow worker would not see the last
        one for minutes.
        """
        fetch = super()._fetch_records
        fetcher = consumer._fetcher
        taken: dict[TP, list[Any]] = {}
        n_left, share = max_records, max(1, max_records // max(1, len(fetcher._records)))
        while n_left > 0:
            try:
                n_asked = min(share, n_left)
                part = await fetch(consumer, active_partitions, timeout=timeout, max_records=n_asked)
            except Exception:
                if not taken:
                    raise
                break  # it comes again with the next fetch; what is taken must not be lost
            for tp, records in part.items():
                taken.setdefault(tp, []).extend(records)
                n_left -= len(records)
                if tp in fetcher._records:
                    fetcher._records[tp] = fetcher._records.pop(tp)  # behind the others
            # No waiting with records in hand: for more, or for the end of a rebalance.
            if not part or not fetcher._records or fetcher._subscriptions.reassignment_in_progress:
                break
            timeout = 0
        return taken


def _wake(held: "asyncio.Future[None]") -> None:
    if not held.done():
        held.set_result(None)
