"""``nextclick broker``: Apache Kafka on this machine, until Ctrl-C."""

import signal
from collections.abc import Mapping
from typing import Annotated

import typer

from deploy.broker import LocalKafka
from deploy.cli.options import Output, takes_settings
from deploy.java import KAFKA_VERSION, fetch_jars, find_java
from deploy.settings import Settings
from streams.kafka import check_reachable

DEFAULT_PORT = 9092


@takes_settings()
def command(
    settings: Settings,
    origins: Mapping[str, str],
    output: Output,
    port: Annotated[
        int, typer.Option(min=1, max=65_535, help="Port of the first broker; the others' follow.")
    ] = DEFAULT_PORT,
    brokers: Annotated[int, typer.Option(min=1, max=9, help="How many brokers to run.")] = 1,
    fetch: Annotated[bool, typer.Option("--fetch", help="Only fetch Kafka, start nothing.")] = False,
) -> None:
    """Run Apache Kafka on this machine until Ctrl-C or SIGTERM; its data stay in the home folder.

    Where bootstrap servers are set, nothing is started: that cluster is used.
    """
    if fetch:
        find_java()
        output.say(f"Apache Kafka {KAFKA_VERSION} is in {fetch_jars(output.say)}")
        return
    if settings.names_a_cluster:
        check_reachable(settings.connection())
        where = settings.bootstrap_servers
        output.say(
            f"nothing started: the cluster at {where} is used ({origins['bootstrap_servers']} says so)"
        )
        output.result({"bootstrap_servers": where, "started": False})
        return
    _run(settings, output, port, brokers)


def _run(settings: Settings, output: Output, port: int, n_brokers: int) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = settings.home / "kafka"
    try:
        with LocalKafka(folder, n_brokers=n_brokers, port=port, say=output.say) as kafka:
            where = kafka.bootstrap_servers
            output.say(f"Kafka {KAFKA_VERSION} is ready at {where} (data in {folder}; Ctrl-C stops it)")
            if where != Settings.model_fields["bootstrap_servers"].default:
                output.say(f"for the other commands: export NEXTCLICK_BOOTSTRAP_SERVERS={where}")
            output.result({"bootstrap_servers": where, "started": True, "data": str(folder)})
            kafka.watch()
    except KeyboardInterrupt:
        output.say("Kafka has stopped")
