"""The thread that tells live quality: to the metrics, to the topic ``quality``, and to the keeper.

It has clients of its own, so that whatever Kafka does to it no answer waits. Where the topic is absent, as
in a site from before there was one, or Kafka is away, the worker goes on: the counts of those windows are
lost, the metrics have them.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.kafka import KafkaConnection, open_admin, open_producer
from streams.keeper import Keeper, KeeperRules
from streams.live_figures import LiveFigures
from streams.metrics import WorkerMetrics
from streams.quality import Figures, LiveQuality, QualityRecord, encode_quality
from streams.topics import TopicNames, topic_states

EVERY_S: Final = 5.0
ABSENT_FOR_S: Final = 60.0
SEND_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_MS: Final = 2_000
VERSIONS_SHOWN: Final = 8
"""Series of older versions are dropped: a worker that swaps for months must not collect them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who tells: parts of each record."""

    group: str
    worker: str


class QualityWatch:
    """Tells every ``every_s`` what was counted, and lets the keeper look where ``keeps`` says so."""

    def __init__(
        self,
        connection: KafkaConnection,
        topics: TopicNames,
        reporter: Reporter,
        quality: LiveQuality,
        metrics: WorkerMetrics,
        rules: KeeperRules,
        keeps: Callable[[], bool],
        *,
        every_s: float = EVERY_S,
    ) -> None:
        self._connection = connection
        self._topics = topics
        self._reporter = reporter
        self._quality = quality
        self._metrics = metrics
        self._rules = rules
        self._keeps = keeps
        self._every_s = every_s
        self._from_ms = _now_ms()
        self._shown: OrderedDict[str, None] = OrderedDict()
        self._n_partitions = 0  # of the topic, 0 while it is absent
        self._look_again_s = 0.0
        self._producer: Any = None
        self._figures: LiveFigures | None = None
        self._keeper: Keeper | None = None
        self._failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="quality", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the last counts and end, within some seconds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10.0)

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self._turn()
        self._turn()
        self._disconnect()

    def _turn(self) -> None:
        """Tell and keep once; nothing that fails may end the thread."""
        counted, from_ms = self._quality.take(), self._from_ms
        self._from_ms = to_ms = _now_ms()
        self._show(counted)
        try:
            if self._topic_is_there():
                self._send(counted, from_ms, to_ms)
                self._keep(to_ms)
            self._failing = False
        except Exception as error:  # Kafka is away, or a client in a state of its own: begin anew
            if not self._failing:
                _log.warning("live quality is not told until Kafka takes it, answers go on: %s", error)
            self._failing = True
            self._disconnect()

    def _show(self, counted: Mapping[str, Figures]) -> None:
        for version, figures in counted.items():
            self._metrics.compared.labels(version).inc(figures.clicks)
            self._metrics.hits.labels(version).inc(figures.hits.total)
            self._metrics.reciprocal_ranks.labels(version).inc(figures.reciprocal_ranks.total)
            self._shown[version] = None
            self._shown.move_to_end(version)
        while len(self._shown) > VERSIONS_SHOWN:
            oldest, _ = self._shown.popitem(last=False)
            for series in (self._metrics.compared, self._metrics.hits, self._metrics.reciprocal_ranks):
                series.remove(oldest)

    def _topic_is_there(self) -> bool:
        if not self._n_partitions and time.monotonic() >= self._look_again_s:
            self._look_again_s = time.monotonic() + ABSENT_FOR_S
            with open_admin(self._connection, bootstrap_timeout_ms=CONNECT_TIMEOUT_MS) as admin:
                state = topic_states(admin, [self._topics.quality]).get(self._topics.quality)
            if state is None:
                _log.warning(
                    "topic %s is absent: live quality is counted and not told, and nobody watches a canary;"
                    " create it with: nextclick topics create",
                    self._topics.quality,
                )
            else:
                self._n_partitions = state.n_partitions
        return self._n_partitions > 0

    def _send(self, counted: Mapping[str, Figures], from_ms: int, to_ms: int) -> None:
        if not counted:
            return
        if self._producer is None:
            self._producer = open_producer(
                self._connection,
                acks=1,
                enable_idempotence=False,
                max_block_ms=int(SEND_TIMEOUT_S * 1000),
                reconnect_backoff_max_ms=1_000,
            )
        sent = []
        for version, figures in counted.items():
            record = QualityRecord(
                group=self._reporter.group,
                worker=self._reporter.worker,
                snapshot=version,
                from_ms=from_ms,
                to_ms=to_ms,
                clicks=figures.clicks,
                hits=round(figures.hits.total),
                reciprocal_ranks=round(figures.reciprocal_ranks.total, 6),
                reciprocal_ranks_squared=round(figures.reciprocal_ranks.squares, 6),
                drift=self._quality.drift_from(version),
            )
            value = encode_quality(record)
            sent.append(self._producer.send(self._topics.quality, key=version.encode(), value=value))
        for future in sent:
            future.get(timeout=SEND_TIMEOUT_S)

    def _keep(self, now_ms: int) -> None:
        if self._stopping.is_set() or not self._keeps():
            self._let_go_of_keeping()
            return
        if self._keeper is None:
            self._figures = LiveFigures(self._connection, self._topics, self._n_partitions, now_ms=now_ms)
            self._keeper = Keeper(self._connection, self._topics, self._figures, self._rules)
        for decision in self._keeper.look(now_ms):
            self._metrics.decisions.labels(decision.alias).inc()
            _log.warning("%s", decision)

    def _let_go_of_keeping(self) -> None:
        figures, self._figures, self._keeper = self._figures, None, None
        if figures is not None:
            figures.close()

    def _disconnect(self) -> None:
        """Close what is open; the topic is looked for again, for it may have gone."""
        producer, self._producer = self._producer, None
        self._n_partitions, self._look_again_s = 0, 0.0
        try:
            self._let_go_of_keeping()
            if producer is not None:
                producer.close(timeout=1.0)
        except Exception as error:
            _log.debug("a client could not be closed: %s", error)


def _now_ms() -> int:
    return int(time.time() * 1000)
