"""What both peers share: a Faust app set up with care, run like any."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import faust
import uvloop


def arguments(text: str | None) -> argparse.ArgumentParser:
    """The flags of a peer."""
    flags = argparse.ArgumentParser(description=text)
    for name in ("servers", "group", "clicks", "output"):
        flags.add_argument(f"--{name}", required=True)
    flags.add_argument("--folder", type=Path, required=True)
    flags.add_argument("--linger-ms", type=float, default=0.0)
    flags.add_argument("--model", type=Path, help="folder with the naive app's model")
    return flags


def make_app(asked: argparse.Namespace) -> faust.App:
    """No web server, no leader topic, no standby tables: nothing that takes time away from the agent."""
    return faust.App(
        asked.group,
        broker=f"kafka://{asked.servers}",
        datadir=asked.folder,
        store="rocksdb://",
        producer_linger=asked.linger_ms / 1000,
        consumer_auto_offset_reset="earliest",
        stream_recovery_delay=0.0,
        table_standby_replicas=0,
        topic_replication_factor=1,
        topic_disable_leader=True,
        web_enabled=False,
        worker_redirect_stdouts=False,
        autodiscover=False,
        key_serializer="raw",
        value_serializer="raw",
    )


def raw_topic(app: faust.App, name: str, **options: Any) -> Any:
    """A topic whose keys and values are bytes."""
    return app.topic(
        name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", **options
    )


def run(app: faust.App) -> None:
    """Run until SIGTERM; without the spinner, whose log level costs a tenth of the rate."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # as the worker
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    worker = faust.Worker(app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True)
    worker.spinner = None
    worker.execute_from_commandline()
