"""``nextclick worker``: answers clicks until it is stopped."""

import logging
import os
import re
import sys
from typing import Annotated

import typer

from deploy.cli.options import takes_settings
from deploy.settings import Settings

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


@takes_settings(
    "group",
    "alias",
    "top_k",
    "repeat_items",
    "session_gap_minutes",
    "session_expiry_hours",
    "start_at",
    "max_batch",
    "watchdog_seconds",
    "recovery_deadline_seconds",
    "stop_wait_seconds",
    "metrics_host",
    "metrics_port",
    "clicks_topic",
    "recommendations_topic",
    "rejected_clicks_topic",
    "snapshots_topic",
)
def command(
    settings: Settings,
    name: Annotated[
        str, typer.Option("--name", help="This worker's name in the group; several per host need several.")
    ] = "w1",
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what Faust and the clients do.")] = False,
) -> None:
    """Answer clicks with recommendations, until Ctrl-C or SIGTERM."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        raise typer.BadParameter("--name must be 1 to 100 letters, digits, '.', '_' or '-'")
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr, force=True)
    for library in ("faust", "mode", "aiokafka", "kafka", "asyncio", "faiss"):
        logging.getLogger(library).setLevel(logging.INFO if verbose else logging.ERROR)
    # Read by OpenBLAS, torch and FAISS when they load: a second thread each would fight the event loop for a
    # core, and a batch's matrices are too small to gain from it.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    from deploy.worker_process import run_worker  # Faust and torch, only now

    run_worker(settings, name)
