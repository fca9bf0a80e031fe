"""What ``nextclick doctor`` looks at: one finding for each thing that a run needs, with its remedy."""

import difflib
import os
import platform
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deploy.java import KAFKA_VERSION, JavaError, find_java, find_maven, jars_folder
from deploy.settings import ENV_PREFIX, Settings
from deploy.settings_sources import variable_of
from streams.announcements import read_current
from streams.errors import NextclickError
from streams.kafka import BrokerUnreachable, check_reachable
from streams.topics import inspect_topics

MINIMUM_FREE_BYTES = 2_000_000_000
MINIMUM_OPEN_FILES = 4_096

_NOT_SETTINGS = ("NEXTCLICK_TEST_DATA", "NEXTCLICK_REWRITE_GOLDEN")  # variables that the tests read


class State(StrEnum):
    """How bad a finding is: nothing to do, worth a look, or in the way."""

    FINE = "fine"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at, what was found, and what to do about it."""

    subject: str
    state: State
    found: str
    remedy: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield all findings, those of this machine first, each as soon as it is known."""
    yield Finding("Python", State.FINE, platform.python_version())
    yield from _local_kafka(settings)
    yield from _home(settings.home)
    yield _open_files()
    yield from _variables(dict(os.environ))
    yield from _cluster(settings)


def _local_kafka(settings: Settings) -> Iterator[Finding]:
    if settings.names_a_cluster:
        yield Finding("Java", State.FINE, "not needed, bootstrap_servers names a cluster")
        return
    try:
        yield Finding("Java", State.FINE, find_java())
    except JavaError as error:
        yield Finding("Java", State.MISSING, "not usable", str(error))
    jars = jars_folder()
    if jars.is_dir():
        yield Finding("Kafka", State.FINE, f"{KAFKA_VERSION} in {jars}")
        return
    try:
        maven = find_maven()
        yield Finding("Kafka", State.WARNING, f"not fetched yet ({maven} can)", "nextclick broker --fetch")
    except JavaError as error:
        yield Finding("Kafka", State.MISSING, "not fetched yet", str(error))


def _home(home: Path) -> Iterator[Finding]:
    folder = home.resolve()
    while not folder.exists():
        folder = folder.parent
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        yield Finding("home folder", State.FINE, f"{home.resolve()} can be written")
    else:
        remedy = f"choose another with --home or {variable_of('home')}"
        yield Finding("home folder", State.MISSING, f"{home.resolve()} cannot be written", remedy)
    free = shutil.disk_usage(folder).free
    enough = free >= MINIMUM_FREE_BYTES
    remedy = "" if enough else f"free some: {MINIMUM_FREE_BYTES / 1e9:.0f} GB hold a day of 100 clicks/s"
    yield Finding("disk", State.FINE if enough else State.WARNING, f"{free / 1e9:.1f} GB free", remedy)


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= MINIMUM_OPEN_FILES or soft == resource.RLIM_INFINITY:
        return Finding("open files", State.FINE, f"limit {soft}")
    return Finding("open files", State.WARNING, f"limit {soft}", "ulimit -n 65536 before starting workers")


def _variables(environment: dict[str, str]) -> Iterator[Finding]:
    known = {variable_of(name) for name in Settings.model_fields}
    for name in environment:
        if name.startswith(ENV_PREFIX) and name not in known and name not in _NOT_SETTINGS:
            near = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {near[0]}?" if near else "nextclick settings lists the settings"
            yield Finding("environment", State.WARNING, f"{name} is no setting", remedy)


def _cluster(settings: Settings) -> Iterator[Finding]:
    try:
        connection = settings.connection()
        check_reachable(connection)
    except BrokerUnreachable as error:
        remedy = "" if settings.names_a_cluster else "nextclick broker"
        yield Finding("broker", State.MISSING, str(error), remedy)
        return
    except NextclickError as error:
        yield Finding("broker", State.MISSING, str(error))
        return
    yield Finding("broker", State.FINE, f"{connection.bootstrap_servers} answers")
    reports = inspect_topics(connection, settings.topics(), settings.clicks_partitions)
    for report in reports:
        subject = f"topic {report.wished.name}"
        if not report.exists:
            yield Finding(subject, State.MISSING, "absent", "nextclick topics create")
        elif report.differences:
            remedy = "leave it, or change it with Kafka's own tools"
            yield Finding(subject, State.WARNING, "; ".join(report.differences), remedy)
        else:
            yield Finding(subject, State.FINE, "as wished")
    if any(report.exists and report.wished.name == settings.snapshots_topic for report in reports):
        yield _announced(settings)


def _announced(settings: Settings) -> Finding:
    announcement = read_current(settings.connection(), settings.snapshots_topic).get(settings.alias)
    subject = f"snapshot {settings.alias}"
    if announcement is None:
        return Finding(subject, State.WARNING, "none announced, workers wait", "nextclick trainer --once")
    return Finding(subject, State.FINE, f"{announcement.version} at {announcement.location}")
