"""Connections: the same settings for both client libraries, and failures that name the address."""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiokafka
import pytest

from deploy.broker import LocalKafka
from streams.kafka import (
    BrokerUnreachable,
    ConnectionSettingsError,
    KafkaConnection,
    check_reachable,
    open_admin,
    open_consumer,
    open_producer,
    without_client_logs,
)
from tests.conftest import KAFKA_PASSWORD, KAFKA_USER, FreshTopics

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def login(kafka: LocalKafka, mechanism: str) -> KafkaConnection:
    return KafkaConnection(
        kafka.sasl_bootstrap_servers,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism=mechanism,
        sasl_username=KAFKA_USER,
        sasl_password=KAFKA_PASSWORD,
    )


def test_arguments_of_both_libraries() -> None:
    connection = KafkaConnection("a:1,b:2", "SASL_PLAINTEXT", "PLAIN", "anna", "geheim")
    shared = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "anna",
        "sasl_plain_password": "geheim",
    }
    assert connection.for_kafka_python() == {"bootstrap_servers": ["a:1", "b:2"], **shared}
    assert connection.for_aiokafka() == {"bootstrap_servers": "a:1,b:2", **shared}


def test_the_password_is_not_shown() -> None:
    assert "geheim" not in repr(KafkaConnection("a:1", "SASL_PLAINTEXT", "PLAIN", "anna", "geheim"))


def test_a_tls_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    connection = KafkaConnection("a:1", "SSL", ssl_cafile=str(tmp_path / "ca.pem"))
    with pytest.raises(ConnectionSettingsError, match=r"ca\.pem"):
        connection.for_kafka_python()


def test_tls_gives_both_libraries_a_context() -> None:
    connection = KafkaConnection("a:1", "SSL")
    assert connection.for_kafka_python()["ssl_context"].check_hostname
    assert connection.for_aiokafka()["ssl_context"].check_hostname


def test_nothing_listening_names_the_address() -> None:
    with socket.socket() as reserved:  # bound and not listening: every connection is refused
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(BrokerUnreachable, match=rf"{address} .*nothing listens there"):
            open_admin(KafkaConnection(address), bootstrap_timeout_ms=500)


@pytest.mark.parametrize("level", [logging.ERROR, logging.INFO])
def test_what_the_client_logs_can_be_kept_out_of_the_log(
    caplog: pytest.LogCaptureFixture, level: int
) -> None:
    """Not where the log is to tell more than errors; and the reason is found all the same."""
    caplog.set_level(level, "kafka")
    with (
        without_client_logs(),
        pytest.raises(BrokerUnreachable, match="nothing listens there"),
    ):
        open_admin(KafkaConnection("127.0.0.1:1"), bootstrap_timeout_ms=300)
    assert bool(caplog.records) == (level == logging.INFO)
    logging.getLogger("kafka.conn").error("later")
    assert caplog.records[-1].getMessage() == "later"


def test_a_host_without_a_name_says_so() -> None:
    with pytest.raises(BrokerUnreachable, match=r"nowhere\.invalid:9092 .*cannot be resolved"):
        check_reachable(KafkaConnection("nowhere.invalid:9092"), timeout_ms=1_000)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_kafka_python_logs_in(kafka: LocalKafka, topics: FreshTopics, mechanism: str) -> None:
    connection = login(kafka, mechanism)
    with open_producer(connection) as producer:
        sent = producer.send(topics.names.clicks, key=b"s", value=b"v").get(timeout=10)
    consumer = open_consumer(connection, auto_offset_reset="earliest", group_id=None)
    try:
        consumer.subscribe([topics.names.clicks])
        records = [record for batch in consumer.poll(timeout_ms=10_000).values() for record in batch]
    finally:
        consumer.close()
    assert [(record.offset, record.value) for record in records] == [(sent.offset, b"v")]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_aiokafka_logs_in(kafka: LocalKafka, topics: FreshTopics, mechanism: str) -> None:
    arguments = login(kafka, mechanism).for_aiokafka()

    async def round_trip() -> bytes:
        async with aiokafka.AIOKafkaProducer(**arguments) as producer:
            await producer.send_and_wait(topics.names.clicks, b"v")
        consumer = aiokafka.AIOKafkaConsumer(topics.names.clicks, auto_offset_reset="earliest", **arguments)
        async with consumer:
            record = await asyncio.wait_for(consumer.getone(), timeout=10)
            return bytes(record.value)

    assert asyncio.run(round_trip()) == b"v"


def _without_login(kafka: LocalKafka) -> KafkaConnection:
    return KafkaConnection(kafka.sasl_bootstrap_servers)


def _wrong_password(kafka: LocalKafka) -> KafkaConnection:
    return replace(login(kafka, "SCRAM-SHA-256"), sasl_password="wrong")


def _login_nobody_asked_for(kafka: LocalKafka) -> KafkaConnection:
    return replace(login(kafka, "PLAIN"), bootstrap_servers=kafka.bootstrap_servers)


def _tls_nobody_speaks(kafka: LocalKafka) -> KafkaConnection:
    return KafkaConnection(kafka.bootstrap_servers, "SSL")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (_without_login, "hangs up; check security_protocol"),
        (_wrong_password, "user name (or|and) password"),  # some refusals are lost when Kafka hangs up
        (_login_nobody_asked_for, "asks for no SASL login"),
        (_tls_nobody_speaks, "does not speak TLS"),
    ],
)
def test_a_wrong_login_says_what_to_check(
    kafka: LocalKafka, wrong: Callable[[LocalKafka], KafkaConnection], reason: str
) -> None:
    connection = wrong(kafka)
    with pytest.raises(BrokerUnreachable, match=rf"{connection.bootstrap_servers}.*{reason}"):
        check_reachable(connection, timeout_ms=2_000)
