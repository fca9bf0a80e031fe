"""Where a demo runs: a folder and topics of its own, so that it disturbs nothing that is there already."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Self

from pydantic import SecretStr

from deploy.settings import ENV_PREFIX, Settings
from deploy.settings_sources import variable_of
from streams.errors import NextclickError
from streams.kafka import KafkaConnection, KafkaError, open_admin
from streams.topics import TopicNames

PARTITIONS: Final = 4
_LOGIN: Final = (
    "security_protocol",
    "sasl_mechanism",
    "sasl_username",
    "sasl_password",
    "sasl_password_file",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
)


class DemoError(NextclickError):
    """The demo cannot run or has not shown what it should; the text says why."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A demo's folder, and the settings that its processes get: its own, and the connection's."""

    folder: Path
    group: str
    topics: TopicNames
    connection: KafkaConnection
    environment: Mapping[str, str]

    def environment_with(self, **more: object) -> dict[str, str]:
        """The environment of a process, with further settings."""
        return {**self.environment, **{variable_of(name): str(value) for name, value in more.items()}}

    def beside(self, name: str) -> Self:
        """The stage of other workers, who read the same clicks and announcements and answer elsewhere."""
        group = f"{self.group}-{name}"
        topics = replace(
            self.topics,
            recommendations=f"{group}-recommendations",
            rejected_clicks=f"{group}-rejected-clicks",
            sessions_changelog=f"{group}-sessions-changelog",
            quality=f"{group}-quality",
        )
        environment = self.environment_with(
            group=group,
            recommendations_topic=topics.recommendations,
            rejected_clicks_topic=topics.rejected_clicks,
            quality_topic=topics.quality,
        )
        return replace(self, group=group, topics=topics, environment=environment)


@contextmanager
def demo_folder(home: Path) -> Iterator[Path]:
    """A new folder in the home folder; it goes when all went well and stays, with the logs, when not."""
    created = not home.exists()
    try:
        home.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="demo-", dir=home.resolve()))
    except OSError as error:
        raise DemoError(
            f"cannot write to the folder {home}: {error.strerror}; choose another with --home"
        ) from error
    try:
        yield folder
    except BaseException as error:
        if not (isinstance(error, NextclickError) and any(folder.rglob("*.log"))):
            _remove(folder, home if created else None)
        raise
    _remove(folder, home if created else None)


def _remove(folder: Path, home: Path | None) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if home is not None:
        with suppress(OSError):
            home.rmdir()


def set_stage(folder: Path, given: Settings, bootstrap_servers: str, **own: object) -> Stage:
    """Names of its own for everything; of what was ``given`` only the way to the cluster counts.

    ``own`` are further settings that all processes of the demo share.
    """
    name = f"nextclick-demo-{secrets.token_hex(3)}"
    topics = TopicNames(
        clicks=f"{name}-clicks",
        recommendations=f"{name}-recommendations",
        rejected_clicks=f"{name}-rejected-clicks",
        snapshots=f"{name}-snapshots",
        sessions_changelog=f"{name}-sessions-changelog",  # the worker derives it from the group
        quality=f"{name}-quality",
    )
    login = {setting: _plain(getattr(given, setting)) for setting in _LOGIN} if given.names_a_cluster else {}
    values = {
        "home": folder,
        "snapshots": folder / "snapshots",
        "bootstrap_servers": bootstrap_servers,
        "group": name,
        "clicks_topic": topics.clicks,
        "recommendations_topic": topics.recommendations,
        "rejected_clicks_topic": topics.rejected_clicks,
        "snapshots_topic": topics.snapshots,
        "quality_topic": topics.quality,
        "start_at": "earliest",
        **login,
        **own,
    }
    connection = given.connection() if given.names_a_cluster else KafkaConnection(bootstrap_servers)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ENV_PREFIX)}
    environment |= {variable_of(key): str(value) for key, value in values.items() if value is not None}
    return Stage(folder, name, topics, connection, environment)


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value.expanduser().absolute() if isinstance(value, Path) else value


def remove_from_cluster(stage: Stage) -> None:
    """Delete the demo's topics and group from a cluster that goes on; what cannot be deleted is left."""
    with suppress(NextclickError, KafkaError), open_admin(stage.connection) as admin:
        admin.delete_topics(list(asdict(stage.topics).values()), raise_errors=False)
        admin.delete_groups([stage.group])
