"""How every part reaches Kafka: one set of connection settings, for kafka-python and aiokafka alike.

The only module that imports kafka-python. Its own errors say "unable to bootstrap" whatever went wrong, after
half a minute; here a cluster that does not answer is named within ten seconds, with the reason if it shows.
"""

import logging
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kafka import (
    ConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    TopicPartition,
)
from kafka.admin import ConfigResource, MemberToRemove
from kafka.errors import KafkaError, KafkaTimeoutError, UnknownMemberIdError
from kafka.partitioner import murmur2
from kafka.structs import OffsetAndMetadata

from streams.errors import NextclickError

__all__ = [
    "BrokerUnreachable",
    "ConfigResource",
    "ConnectionSettingsError",
    "ConsumerRebalanceListener",
    "KafkaAdminClient",
    "KafkaConnection",
    "KafkaConsumer",
    "KafkaError",
    "KafkaProducer",
    "KafkaTimeoutError",
    "MemberToRemove",
    "OffsetAndMetadata",
    "TopicPartition",
    "UnknownMemberIdError",
    "check_reachable",
    "murmur2",
    "open_admin",
    "open_consumer",
    "open_producer",
    "without_client_logs",
]

BOOTSTRAP_TIMEOUT_MS = 7_000
"""Leaves three of the ten seconds that a person is asked to wait for starting Python and the clients."""

_REASONS = (  # what kafka-python's log says → what a person can do about it
    ("ECONNREFUSED", "nothing listens there; is Kafka started (nextclick broker)?"),
    ("DNS", "the host name cannot be resolved"),
    ("IllegalSaslState", "it asks for no SASL login; set security_protocol to what its listener uses"),
    ("UnsupportedSaslMechanism", "it does not offer this sasl_mechanism"),
    ("SaslAuthenticationFailed", "it refuses the user name or password"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not signed by the authority in ssl_cafile"),
    ("SSL", "it does not speak TLS there; set security_protocol to what its listener uses"),
    ("socket disconnected", "it hangs up; check security_protocol, sasl_mechanism, user name and password"),
)


class BrokerUnreachable(NextclickError):
    """No broker of the cluster answered in time; the text names the address and, where known, the reason."""


class ConnectionSettingsError(NextclickError):
    """Connection settings that contradict each other or name files that cannot be read."""


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where Kafka is and how to log in; the same settings for every client library."""

    bootstrap_servers: str = "127.0.0.1:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None

    @property
    def uses_sasl(self) -> bool:
        """Whether the listener asks for a user name and a password."""
        return self.security_protocol.startswith("SASL_")

    def ssl_context(self) -> ssl.SSLContext | None:
        """The TLS settings, None for an unencrypted listener; raises ConnectionSettingsError."""
        if not self.security_protocol.endswith("SSL"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(name for name in (self.ssl_cafile, self.ssl_certfile, self.ssl_keyfile) if name)
            raise ConnectionSettingsError(f"cannot use the TLS files {files}: {error}") from error
        return context

    def for_kafka_python(self) -> dict[str, Any]:
        """Keyword arguments for kafka-python's clients."""
        return self._shared() | {"bootstrap_servers": self.bootstrap_servers.split(",")}

    def for_aiokafka(self) -> dict[str, Any]:
        """Keyword arguments for aiokafka's clients."""
        return self._shared() | {"bootstrap_servers": self.bootstrap_servers}

    def _shared(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {"security_protocol": self.security_protocol}
        if self.uses_sasl:
            arguments["sasl_mechanism"] = self.sasl_mechanism or "PLAIN"
            arguments["sasl_plain_username"] = self.sasl_username
            arguments["sasl_plain_password"] = self.sasl_password
        context = self.ssl_context()
        if context is not None:
            arguments["ssl_context"] = context
        return arguments


def open_admin(connection: KafkaConnection, **options: Any) -> KafkaAdminClient:
    """Return a connected admin client, a context manager; raises BrokerUnreachable."""
    return _open(KafkaAdminClient, connection, {"request_timeout_ms": 10_000} | options)


def open_producer(connection: KafkaConnection, **options: Any) -> KafkaProducer:
    """Return a connected producer (idempotent, acks=all); raises BrokerUnreachable."""
    return _open(KafkaProducer, connection, options)


def open_consumer(connection: KafkaConnection, **options: Any) -> KafkaConsumer:
    """Return a connected consumer without a subscription; raises BrokerUnreachable."""
    return _open(KafkaConsumer, connection, options)


def check_reachable(connection: KafkaConnection, timeout_ms: int = BOOTSTRAP_TIMEOUT_MS) -> None:
    """Raise BrokerUnreachable unless a broker answers; for commands whose own client would wait for ever."""
    open_admin(connection, bootstrap_timeout_ms=timeout_ms).close()


@contextmanager
def without_client_logs() -> Iterator[None]:
    """Keep what kafka-python says out of the log, unless it is to tell more than errors.

    For a connection whose failure is told by ``BrokerUnreachable``, which has the reason out of these words.
    Not for several threads.
    """
    logger = logging.getLogger("kafka")
    propagate = logger.propagate
    logger.propagate = propagate and logger.isEnabledFor(logging.INFO)
    try:
        yield
    finally:
        logger.propagate = propagate


def _open(client: Any, connection: KafkaConnection, options: dict[str, Any]) -> Any:
    arguments = connection.for_kafka_python() | {"bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS} | options
    started = time.monotonic()
    with _last_complaint() as complaint:
        try:
            return client(**arguments)
        except KafkaError as error:
            waited_s = time.monotonic() - started
            raise BrokerUnreachable(
                f"no Kafka broker answered at {connection.bootstrap_servers} within {waited_s:.0f} s"
                f" ({connection.security_protocol}): {complaint.reason()}"
            ) from error


class _LastComplaint(logging.Handler):
    """Remembers the most telling thing that kafka-python logged while it tried to connect."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._best = len(_REASONS)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        for position, (sign, _) in enumerate(_REASONS):
            if sign in text:
                self._best = min(self._best, position)
                return

    def reason(self) -> str:
        return _REASONS[self._best][1] if self._best < len(_REASONS) else "no answer"


@contextmanager
def _last_complaint() -> Iterator[_LastComplaint]:
    logger = logging.getLogger("kafka")
    complaint = _LastComplaint()
    logger.addHandler(complaint)
    try:
        yield complaint
    finally:
        logger.removeHandler(complaint)
