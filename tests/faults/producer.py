"""The verifiable producer: a fixed rate, and for every acknowledged record where it stands and what it was.

Plain aiokafka in a thread of its own, as a shop would use it. A record that the brokers do not take in time
is sent again until they do; whether an earlier attempt is on the topic as well is for the auditor to see.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from tests.faults.clicks import Sent
from tests.integration.harness import Position

REQUEST_TIMEOUT_MS = 20_000
FINISH_WITHIN_S = 180.0


class VerifiableProducer:
    """Sends ``records`` at ``rate`` a second until stopped, or until there are no more.

    ``acknowledged`` may be read at any time and is complete after ``stop``.
    """

    def __init__(
        self,
        servers: str,
        topic: str,
        records: Iterator[Sent],
        rate: float,
        compression: str | None = None,
    ) -> None:
        self.acknowledged: dict[Position, Sent] = {}
        self.n_sent_again = 0
        self._servers = servers
        self._topic = topic
        self._records = records
        self._rate = rate
        self._compression = compression
        self._stopping = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)

    def start(self) -> Self:
        """Begin to send."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Send no more, and wait until all that was sent is acknowledged; raises what went wrong."""
        self._stopping.set()
        self.join(FINISH_WITHIN_S)

    def join(self, timeout_s: float) -> None:
        """Wait for the end of ``records`` and of their acknowledgements; raises what went wrong."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the producer did not finish within {timeout_s:.0f} s")
        if self._failed is not None:
            raise self._failed

    def abandon(self) -> None:
        """Send no more, whatever becomes of what was sent."""
        self._stopping.set()

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as error:
            self._failed = error

    async def _send_all(self) -> None:
        async with AIOKafkaProducer(
            bootstrap_servers=self._servers,
            acks="all",
            linger_ms=2,
            max_batch_size=500_000,  # what waits for a full batch wakes with every one that is sent
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            max_request_size=20_000_000,
            compression_type=self._compression,
        ) as producer:
            sending: set[asyncio.Task[None]] = set()
            began = time.monotonic()
            for n, record in enumerate(self._records):
                while (wait_s := began + n / self._rate - time.monotonic()) > 0:
                    await asyncio.sleep(min(wait_s, 0.1))
                if self._stopping.is_set():
                    break
                task = asyncio.create_task(self._send(producer, record))
                sending.add(task)
                task.add_done_callback(sending.discard)
            await asyncio.gather(*sending)

    async def _send(self, producer: Any, record: Sent) -> None:
        while True:
            try:
                future = await producer.send(self._topic, value=record.value, key=record.key)
                place = await future
            except KafkaError as error:
                if not (error.retriable or isinstance(error, KafkaTimeoutError)):
                    raise
                self.n_sent_again += 1
                await asyncio.sleep(0.2)
            else:
                self.acknowledged[Position(place.partition, place.offset)] = record
                return


def send(servers: str, topic: str, records: Iterator[Sent], n: int, rate: float) -> dict[Position, Sent]:
    """Send so many records and give where each of them stands."""
    producer = VerifiableProducer(servers, topic, islice(records, n), rate).start()
    producer.join(n / rate + FINISH_WITHIN_S)
    return producer.acknowledged
