"""``nextclick worker``: answers clicks until it is stopped."""

import logging
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from deploy.cli.options import takes_settings
from deploy.settings import Settings

# What Faust and its subclasses here log of their own goings; our own modules log as people need it.
FRAMEWORK_LOGGERS = (
    "faust",
    "mode",
    "aiokafka",
    "kafka",
    "asyncio",
    "faiss",
    "streams.app",
    "streams.intake",
)
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class OncePerWhile(logging.Filter):
    """Lets each complaint through once in a while: a client without its broker repeats itself endlessly."""

    def __init__(self, every_s: float = 30.0) -> None:
        super().__init__()
        self._every_s = every_s
        self._next_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether this complaint was not heard lately."""
        now_s = time.monotonic()
        if now_s < self._next_s.get(record.msg, 0.0):
            return False
        self._next_s[record.msg] = now_s + self._every_s
        return True


def _quiet_clients(once: OncePerWhile) -> Callable[[logging.LogRecord], bool]:
    return lambda record: not record.name.startswith(("aiokafka", "kafka")) or once.filter(record)


@takes_settings(
    "group",
    "alias",
    "top_k",
    "repeat_items",
    "ranking",
    "answer",
    "fresh_items",
    "fresh_min_sessions",
    "session_gap_minutes",
    "session_expiry_hours",
    "start_at",
    "drift_window_clicks",
    "drift_popularity",
    "drift_unknown",
    "drift_scores",
    "drift_quality",
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
    "quality_topic",
    "canary_share",
    "canary_action",
    "canary_clicks",
    "production_action",
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
    for library in FRAMEWORK_LOGGERS:
        logging.getLogger(library).setLevel(logging.INFO if verbose else logging.ERROR)
    if not verbose:
        for handler in logging.getLogger().handlers:
            handler.addFilter(_quiet_clients(OncePerWhile()))
    # Read by OpenBLAS, torch and FAISS when they load: a second thread each would fight the event loop for a
    # core, and a batch's matrices are too small to gain from it.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    from deploy.worker_process import run_worker  # Faust and torch, only now

    run_worker(settings, name)
