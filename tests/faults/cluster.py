"""Clusters for rows: one broker that rows share, or brokers of a row's own to strike.

Three brokers are a cluster as in production: replication 3, two in sync for a write to count. Where
``NEXTCLICK_BOOTSTRAP_SERVERS`` names a cluster, rows that need no brokers of their own run on that.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.broker import LocalKafka
from tests.faults.rows import Row


class NamedCluster(LocalKafka):
    """A cluster of somebody else's: used, and neither started nor stopped nor struck."""

    def __init__(self, servers: str) -> None:
        super().__init__(Path())
        self._servers = servers

    @property
    def bootstrap_servers(self) -> str:
        """What was named."""
        return self._servers

    def start(self) -> None:
        """Nothing: it runs."""

    def stop(self) -> None:
        """Nothing: it stays."""


class Clusters:
    """Starts what a row needs; the shared broker lives until ``close``, unless it was given."""

    def __init__(self, folder: Path, shared: LocalKafka | None = None) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._shared = shared

    @contextmanager
    def of(self, row: Row) -> Iterator[LocalKafka]:
        """Give a row its cluster, running."""
        if row.own_cluster:
            folder = self._folder / f"kafka-{row.number:02}"
            with LocalKafka(folder, n_brokers=row.n_brokers, short_lived=True) as own:
                yield own
            return
        if self._shared is None:
            self._shared = self._stack.enter_context(LocalKafka(self._folder / "kafka", short_lived=True))
        yield self._shared

    def close(self) -> None:
        """Stop the shared broker."""
        self._stack.close()
