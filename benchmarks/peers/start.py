"""Starts a peer as a process of its own, beside Kafka, as a benchmark's run does with the worker."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.running import Running
from benchmarks.site import Run

LINGERS_MS = (0, 5)
"""Milliseconds a producer waits for more to send: the better of the two forms of a peer counts."""


@contextmanager
def start_peer(name: str, options: Mapping[str, str], run: Run) -> Iterator[Running]:
    """Start ``benchmarks.peers.<name>`` with the run's topics; its changelog goes with it."""
    given = {
        **options,
        "servers": run.site.connection.bootstrap_servers,
        "group": run.group,
        "clicks": run.topics.clicks,
        "output": run.topics.recommendations,
        "folder": str(run.folder / "faust"),
    }
    flags = [part for key, value in given.items() for part in (f"--{key}", value)]
    try:
        with run.start(name, f"benchmarks.peers.{name}", *flags) as running:
            yield running
    finally:
        run.site.delete(f"{run.group}-{run.group}-sessions-changelog", f"{run.group}-sessions-changelog")
