"""Clicks sent to Kafka on a schedule: recorded ones again, or made-up ones.

The schedule is open-loop: click i is due at its own moment whether or not Kafka kept up with those before
it, so a slow cluster shows as clicks sent late. Every delivery is awaited; none is lost in silence.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from streams.clickfile import ClickColumns
from streams.errors import NextclickError
from streams.events import MIN_TIMESTAMP_MS
from streams.kafka import KafkaConnection, KafkaError, open_producer
from streams.topics import require_topics

PROGRESS_EVERY_S: Final = 0.2
MIN_SLEEP_S: Final = 0.001  # clicks due within it go out together
DELIVERY_TIMEOUT_S: Final = 120.0
MAX_UNDELIVERED: Final = 50_000  # the producer itself sets no bound to what waits in memory

TimedClick = tuple[int, str, str] | tuple[int, str, str, str]
"""Time in ms, session id, item id, and the kind where there is one."""

Due = Callable[[int, int], float]  # number of the click from 0, its time in ms → seconds after the start


class SendingError(NextclickError):
    """Clicks cannot be sent as asked, or Kafka did not take them."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How many clicks were sent, in how long; ``behind_s`` is how late the latest one was."""

    n_clicks: int
    seconds: float
    behind_s: float = 0.0
    stopped: bool = False

    @property
    def clicks_per_s(self) -> float:
        """The rate over the whole time."""
        return self.n_clicks / self.seconds if self.seconds > 0 else 0.0


def at_rate(clicks_per_s: float) -> Due:
    """Clicks evenly spaced."""
    return lambda number, time_ms: number / clicks_per_s


def at_speed(factor: float, first_ms: int) -> Due:
    """Clicks at the distance in time they had, ``factor`` times as fast."""
    return lambda number, time_ms: (time_ms - first_ms) / (1000.0 * factor)


def recorded_clicks(
    columns: ClickColumns, *, start_ms: int | None = None, session_prefix: str = "", limit: int | None = None
) -> Iterator[TimedClick]:
    """The clicks of a file, moved in time so that the first one is at ``start_ms`` where that is given.

    Raises ``SendingError`` where the times lie before 2000, which no worker accepts.
    """
    times_ms = columns.time_ms
    if len(times_ms) == 0:
        raise SendingError("the file holds no clicks")
    first_ms = int(times_ms[0])
    shift_ms = 0 if start_ms is None else start_ms - first_ms
    if first_ms + shift_ms < MIN_TIMESTAMP_MS:
        begin = _show_day(first_ms + shift_ms)
        raise SendingError(
            f"the clicks begin on {begin}, and times before 2000 are rejected; move them: --start now"
        )

    def move() -> Iterator[TimedClick]:
        rows = (times_ms[:limit].tolist(), columns.session_ids[:limit], columns.item_ids[:limit])
        if columns.kinds is None:
            for time_ms, session_id, item_id in zip(*rows, strict=True):
                yield time_ms + shift_ms, session_prefix + session_id, item_id
        else:
            for time_ms, session_id, item_id, kind in zip(*rows, columns.kinds[:limit], strict=True):
                yield time_ms + shift_ms, session_prefix + session_id, item_id, kind

    return move()


def _show_day(time_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return "no year that exists"


def send_clicks(
    connection: KafkaConnection,
    topic: str,
    clicks: Iterable[TimedClick],
    due: Due | None,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[Sent], None] | None = None,
) -> Sent:
    """Send each click when it is due, keyed by its session, until they end or ``stop`` is set.

    ``due`` None sends them as fast as it goes.
    A click's ``timestamp_ms`` is its own time, or the moment of sending where that comes first: nobody clicks
    in the future. Raises ``SendingError`` where a delivery failed; before the first ``BrokerUnreachable`` and
    ``TopicError``.
    """
    stop = stop or threading.Event()
    require_topics(connection, topic)
    options = {"linger_ms": 2, "batch_size": 64 << 10, "reconnect_backoff_max_ms": 1_000}
    with open_producer(connection, acks="all", **options) as producer:
        sender = Sender(producer, topic)
        try:
            return sender.run(clicks, due, stop, on_progress)
        except KafkaError as error:
            raise SendingError(
                f"Kafka took {sender.n_delivered} of the {sender.n_sent} clicks sent: {error}"
            ) from error


class Sender:
    """One run: sends, paces and counts what was delivered."""

    def __init__(self, producer: Any, topic: str) -> None:
        self.n_sent = 0
        self.n_delivered = 0
        self._producer = producer
        self._topic = topic
        self._deliveries: deque[Any] = deque()

    def run(
        self,
        clicks: Iterable[TimedClick],
        due: Due | None,
        stop: threading.Event,
        on_progress: Callable[[Sent], None] | None,
    ) -> Sent:
        """Send all of them; see ``send_clicks``."""
        started = now = time.monotonic()
        reported = started
        behind_s = 0.0
        for number, click in enumerate(clicks):
            due_s = 0.0 if due is None else due(number, click[0])
            if due_s > now - started or number % 64 == 0:
                now = time.monotonic()
            wait_s = due_s - (now - started)
            if wait_s > MIN_SLEEP_S:
                self._sleep(wait_s, stop, started, on_progress)
                now = time.monotonic()
                wait_s = 0.0
            if stop.is_set():
                break
            behind_s = 0.0 if due is None else max(0.0, -wait_s)
            self._send(*click)
            if len(self._deliveries) >= MAX_UNDELIVERED:
                self._collect(MAX_UNDELIVERED // 2)
            if now - reported >= PROGRESS_EVERY_S:
                reported = now
                self._collect(len(self._deliveries))
                if on_progress is not None:
                    on_progress(Sent(self.n_sent, now - started, behind_s))
        self._producer.flush(timeout=DELIVERY_TIMEOUT_S)
        self._collect(0)
        sent = Sent(self.n_delivered, time.monotonic() - started, behind_s, stop.is_set())
        if on_progress is not None:
            on_progress(sent)
        return sent

    def _sleep(
        self, wait_s: float, stop: threading.Event, started: float, on_progress: Callable[[Sent], None] | None
    ) -> None:
        """Wait until the next click is due, reporting on the way where that takes long."""
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0 and not stop.wait(min(left, 1.0)):
            if left > 1.0 and on_progress is not None:
                on_progress(Sent(self.n_sent, time.monotonic() - started))

    def _send(self, time_ms: int, session_id: str, item_id: str, kind: str | None = None) -> None:
        click: dict[str, str | int] = {
            "session_id": session_id,
            "item_id": item_id,
            "timestamp_ms": min(time_ms, time.time_ns() // 1_000_000),
        }
        if kind is not None:
            click["kind"] = kind
        value = msgspec.json.encode(click)
        self._deliveries.append(self._producer.send(self._topic, key=session_id.encode(), value=value))
        self.n_sent += 1

    def _collect(self, n_open: int) -> None:
        """Count what was delivered, waiting until at most ``n_open`` are not; raises what one failed with."""
        while self._deliveries and (len(self._deliveries) > n_open or self._deliveries[0].is_done):
            self._deliveries.popleft().get(timeout=DELIVERY_TIMEOUT_S)
            self.n_delivered += 1
