"""The ``snapshots`` topic: which snapshot workers shall serve, by alias.

One compacted partition; the last record of an alias counts. Trainers and people announce, workers follow.
What cannot be read is passed over with one warning, so that no stray record stops a worker.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from streams.kafka import KafkaConnection, TopicPartition, open_consumer, open_producer

PRODUCTION: Final = "production"
CANARY: Final = "canary"
FORMAT_VERSION: Final = 1
DELIVERY_TIMEOUT_S: Final = 30.0
REASON_HEADER: Final = "reason"

_log = logging.getLogger(__name__)


class Announcement(msgspec.Struct, frozen=True):
    """The snapshot an alias shall serve, where it lies, and the checksum of its manifest.

    ``previous`` is the version announced before it, kept beside it: what a rollback returns to.
    Trainers leave a ``pinned`` alias alone.
    """

    version: str
    location: str
    manifest_sha256: str
    previous: str | None = None
    pinned: bool = False
    announced_ms: int = 0
    v: int = FORMAT_VERSION

    @property
    def folder(self) -> str:
        """The folder or URL that the snapshot is kept in, with others."""
        return self.location.rstrip("/").rpartition("/")[0]

    @property
    def previous_location(self) -> str | None:
        """Where the previous version lies: in the same folder as this one."""
        if self.previous is None:
            return None
        return f"{self.folder}/{self.previous}"

    def succeeding(self, before: "Announcement | None", *, announced_ms: int) -> "Announcement":
        """This announcement made after ``before``, its previous one where both lie in one folder."""
        previous = self.previous
        if previous is None and before is not None and before.folder == self.folder:
            previous = before.version if before.version != self.version else before.previous
        return msgspec.structs.replace(self, previous=previous, announced_ms=announced_ms)


class NotAnAnnouncement(ValueError):
    """A record of the ``snapshots`` topic that is no announcement; the text says why."""


_decoder = msgspec.json.Decoder(Announcement)


def encode_announcement(announcement: Announcement) -> bytes:
    """Give the JSON form."""
    return msgspec.json.encode(announcement)


def decode_announcement(value: bytes) -> Announcement:
    """Read the JSON form; raises ``NotAnAnnouncement``."""
    try:
        announcement = _decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotAnAnnouncement(str(error)) from error
    if announcement.v != FORMAT_VERSION:
        raise NotAnAnnouncement(f"format version {announcement.v}, this version reads {FORMAT_VERSION}")
    if not announcement.version or not announcement.location:
        raise NotAnAnnouncement("version and location must not be empty")
    return announcement


def announce(
    connection: KafkaConnection,
    topic: str,
    alias: str,
    announcement: Announcement | None,
    *,
    reason: str = "",
) -> None:
    """Write the announcement and wait until Kafka has it; None gives the sessions of ``canary`` back.

    ``reason`` is for people: why this was decided, a header of the record.
    """
    value = None if announcement is None else encode_announcement(announcement)
    headers = [(REASON_HEADER, reason.encode())] if reason else []
    with open_producer(connection, acks="all") as producer:
        producer.send(topic, key=alias.encode(), value=value, headers=headers).get(timeout=DELIVERY_TIMEOUT_S)


def read_current(connection: KafkaConnection, topic: str) -> dict[str, Announcement]:
    """Read the topic to its end: what counts for each alias now."""
    board = Board(topic)
    with open_consumer(connection, enable_auto_commit=False) as consumer:
        for _ in _records_to_end(consumer, topic, board):
            pass
    return board.current


class AnnouncementFollower:
    """A thread that reports what counts for one alias, at first and at every change.

    ``on_announcement`` is called in the thread, first with what stands at the end of the topic (None where
    the alias has nothing yet), then with each new announcement, or None where the alias was given back.
    Where it gives True or raises, it is called with the same again ``repeat_s`` later, until it does neither
    or something new is announced.
    A broker that is away is waited for; what raises in ``on_announcement`` is logged and followed past.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        alias: str,
        on_announcement: Callable[[Announcement | None], bool | None],
        *,
        retry_s: float = 2.0,
        repeat_s: float = 30.0,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._alias = alias
        self._on_announcement = on_announcement
        self._retry_s = retry_s
        self._repeat_s = repeat_s
        self._repeat_at_s = math.inf
        self._stopping = threading.Event()
        self._reported: Announcement | None = None
        self._caught_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"announcements-{alias}", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def wait_caught_up(self, timeout_s: float) -> bool:
        """Wait until the topic has been read to its end once; tells whether it has."""
        return self._caught_up.wait(timeout_s)

    def stop(self) -> None:
        """End the thread and wait for it, a few seconds at most."""
        self._stopping.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout=10.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._repeat_if_due()  # here, too: what is announced may be in reach while the broker is not
            try:
                with open_consumer(
                    self._connection, enable_auto_commit=False, reconnect_backoff_max_ms=1_000
                ) as consumer:
                    self._follow(consumer)
            except Exception as error:  # whatever ends a consumer, the announcements must be followed on
                _log.warning("cannot follow topic %s, trying again: %s", self._topic, error)
                self._stopping.wait(self._retry_s)

    def _follow(self, consumer: Any) -> None:
        board = Board(self._topic)
        for _ in _records_to_end(consumer, self._topic, board):
            if self._stopping.is_set():
                return
        self._report(board)
        while not self._stopping.is_set():
            self._repeat_if_due()
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    board.post(record.key, record.value, record.offset)
                    self._report(board)

    def _report(self, board: "Board") -> None:
        announcement = board.current.get(self._alias)
        if self._caught_up.is_set() and announcement == self._reported:
            return
        self._reported = announcement
        self._call()
        self._caught_up.set()

    def _repeat_if_due(self) -> None:
        if time.monotonic() >= self._repeat_at_s:
            self._call()

    def _call(self) -> None:
        try:
            again = self._on_announcement(self._reported)
        except Exception:
            _log.exception("what follows announcements failed at %s", self._reported)
            again = True
        self._repeat_at_s = time.monotonic() + self._repeat_s if again else math.inf


class Board:
    """What each alias says, record after record."""

    def __init__(self, topic: str) -> None:
        self.current: dict[str, Announcement] = {}
        self._topic = topic
        self._warned = False

    def post(self, key: bytes | None, value: bytes | None, offset: int) -> None:
        """Take one record; garbage changes nothing, nor does a null for production."""
        try:
            alias = (key or b"").decode()
            if not alias:
                raise NotAnAnnouncement("the key must be an alias such as production")
            if value is not None:
                self.current[alias] = decode_announcement(value)
            elif alias != PRODUCTION:
                self.current.pop(alias, None)
        except (NotAnAnnouncement, UnicodeDecodeError) as error:
            if not self._warned:
                _log.warning(
                    "topic %s holds what is no announcement, at offset %d: %s", self._topic, offset, error
                )
                self._warned = True


def _records_to_end(consumer: Any, topic: str, board: Board) -> Any:
    """Post all records up to the end offset of now, yielding after each poll."""
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    deadline = time.monotonic() + DELIVERY_TIMEOUT_S
    while (position := consumer.position(partition)) < end:
        if time.monotonic() > deadline:
            raise TimeoutError(f"topic {topic}: no further than offset {position} of {end}")
        for records in consumer.poll(timeout_ms=500).values():
            for record in records:
                board.post(record.key, record.value, record.offset)
            deadline = time.monotonic() + DELIVERY_TIMEOUT_S
        yield
