"""How every demo begins: Kafka, topics of the demo's own, and the product's commands as its processes."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from deploy.broker import LocalKafka
from deploy.demo.children import Child
from deploy.demo.parts import KafkaWatch
from deploy.demo.stage import PARTITIONS, Stage, remove_from_cluster, set_stage
from deploy.demo.view import View
from deploy.java import KAFKA_VERSION
from deploy.progress import show_seconds
from deploy.settings import Settings
from streams.topics import create_topics

MAIN: Final = "deploy.cli.main"


def open_stage(
    stack: ExitStack, given: Settings, folder: Path, view: View[Any], **own: object
) -> tuple[Stage, KafkaWatch | None]:
    """Start Kafka, or take the cluster that the settings name, and make the demo's topics.

    ``own`` are settings that all processes share. The watch is None where no Kafka of ours runs.
    """
    watch = None
    if given.names_a_cluster:
        servers = given.bootstrap_servers
        line = f"the cluster at {servers} is used, with topics of the demo's own"
    else:
        began = time.monotonic()
        with view.step("Apache Kafka starts"):
            kafka = LocalKafka(folder / "kafka", short_lived=True, say=view.say)
            stack.enter_context(kafka)
            watch = KafkaWatch(kafka)
        servers = kafka.bootstrap_servers
        line = f"Apache Kafka {KAFKA_VERSION} runs at {servers} ({took(began)})"
    stage = set_stage(folder, given, servers, **own)
    with view.step("topics"):
        create_topics(stage.connection, stage.topics, PARTITIONS)
    if given.names_a_cluster:
        stack.callback(remove_from_cluster, stage)
    view.say(line)
    return stage, watch


def command(stage: Stage, *arguments: str, name: str | None = None, **settings: object) -> Child:
    """A command of the product as a process of the demo, with further settings."""
    environment = stage.environment_with(**settings)
    # The first word is the command and, unless named otherwise, what people call the process.
    return Child(name or arguments[0], MAIN, arguments, folder=stage.folder, environment=environment)


def took(began: float) -> str:
    """How long it is since a moment of the monotonic clock."""
    return show_seconds(time.monotonic() - began)
