"""What a worker needs to know."""

from dataclasses import dataclass, field
from pathlib import Path

from streams.drift import DriftLimits
from streams.kafka import KafkaConnection
from streams.topics import TopicNames


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """Where a worker reads and writes, and its limits; milliseconds and seconds as the names say."""

    connection: KafkaConnection
    topics: TopicNames
    group: str
    name: str
    folder: Path  # this worker's own: RocksDB, lock, last good snapshot, note of what is in flight
    n_partitions: int
    topic_id: str  # of ``clicks``: another one after a recreation
    max_batch: int = 500
    session_expiry_ms: int = 24 * 3600 * 1000
    session_timeout_s: float = 10.0
    heartbeat_s: float = 3.0
    stop_wait_s: float = 10.0
    commit_interval_s: float = 1.0
    drift_limits: DriftLimits = field(default_factory=DriftLimits)
    drift_window_clicks: int = 20_000
