"""What tests share: one real Apache Kafka per run, fresh topics per test, the public click data if there."""

import gc
import os
import secrets
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.broker import LocalKafka
from streams.kafka import KafkaConnection, open_admin
from streams.topics import TopicNames, create_topics

REPOSITORY = Path(__file__).parent.parent
KAFKA_USER, KAFKA_PASSWORD = "nextclick", "test-password"


@dataclass(frozen=True, slots=True)
class FreshTopics:
    """Topics and a consumer group that no other test knows, on the run's Kafka."""

    connection: KafkaConnection
    names: TopicNames
    group: str
    n_partitions: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point a nextclick process at these topics."""
        return {
            "NEXTCLICK_BOOTSTRAP_SERVERS": self.connection.bootstrap_servers,
            "NEXTCLICK_CLICKS_TOPIC": self.names.clicks,
            "NEXTCLICK_RECOMMENDATIONS_TOPIC": self.names.recommendations,
            "NEXTCLICK_REJECTED_CLICKS_TOPIC": self.names.rejected_clicks,
            "NEXTCLICK_SNAPSHOTS_TOPIC": self.names.snapshots,
            "NEXTCLICK_QUALITY_TOPIC": self.names.quality,
            "NEXTCLICK_CLICKS_PARTITIONS": str(self.n_partitions),
            "NEXTCLICK_GROUP": self.group,
        }


def pytest_configure(config: pytest.Config) -> None:
    """Let children hear Ctrl-C, and allow what kafka-python 3.0.12 does.

    A shell starts what it puts in the background (``pytest &``) with SIGINT ignored, and a process that was
    started so hands that on: the commands under test would never hear the SIGINT they are sent.
    kafka-python leaves the sockets of failed connections to the collector.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("filterwarnings", r"ignore:unclosed <(ssl\.SSLS|socket\.s)ocket:ResourceWarning")


def pytest_sessionfinish() -> None:
    """Collect the last of those sockets while they may still be ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the fixtures they use, so that ``-m "not kafka"`` needs no discipline."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "kafka" in fixtures:
            item.add_marker(pytest.mark.kafka)
        if "data_folder" in fixtures:
            item.add_marker(pytest.mark.data)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith("NEXTCLICK_") and variable != "NEXTCLICK_TEST_DATA":
            monkeypatch.delenv(variable)


@pytest.fixture(autouse=True)
def _subnormal_numbers_again() -> Iterator[None]:
    """Training sets the processor to flush them to zero, for its whole thread; Hypothesis draws some."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """One broker for the whole run, on free ports, with a second listener that asks for a login."""
    users = {KAFKA_USER: KAFKA_PASSWORD}
    with LocalKafka(tmp_path_factory.mktemp("kafka"), users=users, short_lived=True) as running:
        yield running


@pytest.fixture
def make_topics(kafka: LocalKafka) -> Iterator[Callable[[int], FreshTopics]]:
    """Make fresh topics with so many partitions, as often as called; they go with the test."""
    made: list[str] = []

    def make(n_partitions: int) -> FreshTopics:
        group = f"test-{secrets.token_hex(4)}"
        names = TopicNames(
            clicks=f"{group}-clicks",
            recommendations=f"{group}-recommendations",
            rejected_clicks=f"{group}-rejected",
            snapshots=f"{group}-snapshots",
            sessions_changelog=f"{group}-sessions-changelog",
            quality=f"{group}-quality",
        )
        reports = create_topics(kafka.connection, names, n_partitions)
        made.extend(report.wished.name for report in reports)
        return FreshTopics(kafka.connection, names, group, n_partitions)

    yield make
    if made:
        with open_admin(kafka.connection) as admin:
            admin.delete_topics(made)


@pytest.fixture
def topics(make_topics: Callable[[int], FreshTopics]) -> FreshTopics:
    """Fresh topics, four partitions of clicks."""
    return make_topics(4)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of the public click data sets; skips the test where it is absent."""
    folder = Path(os.environ.get("NEXTCLICK_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no click data in {folder}; NEXTCLICK_TEST_DATA may name their folder")
    return folder
