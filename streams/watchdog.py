"""The watchdog: a thread that ends a worker which stands still, so that its process manager starts it anew.

A consumer that silently stops fetching, an agent that hangs and a recovery that never ends are the most
reported faults of stream processors, and none of them raises anything. The thread judges from outside:
what the broker says is committed and waiting, and whether records pass through the worker.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from streams.endings import EXIT_STUCK
from streams.kafka import KafkaConnection, TopicPartition, open_admin, open_consumer
from streams.topics import topic_states

CHECK_INTERVAL_S: Final = 5.0  # at most
CHECKS_WITHIN_PATIENCE: Final = 4  # at least: a standstill is found by a quarter of the patience late
READ_TIMEOUT_MS: Final = 3000
PAUSE_S: Final = 30.0  # longer between two checks: the process itself was stopped, or the host slept

_log = logging.getLogger(__name__)

Offsets = Mapping[int, int]


@dataclass(slots=True)
class StandstillJudge:
    """Decides from observations whether a worker stands still; holds no clock, no thread, no Kafka.

    A partition stands still while clicks wait in it and its committed offset does not move.
    """

    patience_s: float
    _committed: dict[int, int] = field(default_factory=dict)
    _still_since_s: dict[int, float] = field(default_factory=dict)

    def forget(self) -> None:
        """Begin anew: nothing can be said of the time before."""
        self._committed.clear()
        self._still_since_s.clear()

    def observe(self, now_s: float, committed: Offsets, ends: Offsets) -> str | None:
        """Take one observation of the worker's partitions; give what stands still for too long, if any."""
        for partition in self._committed.keys() - committed.keys():
            del self._committed[partition]
            self._still_since_s.pop(partition, None)
        for partition, offset in committed.items():
            moved = self._committed.get(partition) != offset
            self._committed[partition] = offset
            if offset >= ends.get(partition, 0):
                self._still_since_s.pop(partition, None)
            elif moved or partition not in self._still_since_s:
                self._still_since_s[partition] = now_s
        for partition, since_s in self._still_since_s.items():
            if now_s - since_s > self.patience_s:
                waiting = ends[partition] - committed[partition]
                return (
                    f"partition {partition} has stood still for {now_s - since_s:.0f} s"
                    f" with {waiting} clicks waiting"
                )
        return None


class Watchdog:
    """Watches one worker from a thread and ends the process when it stands still.

    ``assigned`` gives the worker's partitions while it serves, and None while it recovers or rebalances;
    ``recovered`` gives a number that grows as recovery goes on. ``end`` ends the process with a code.
    It looks every five seconds, or four times within the shorter patience where that is less.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        group: str,
        topic: str,
        topic_id: str,
        *,
        assigned: Callable[[], set[int] | None],
        recovered: Callable[[], int],
        patience_s: float,
        recovery_patience_s: float,
        end: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._group = group
        self._topic = topic
        self._topic_id = topic_id
        self._assigned = assigned
        self._recovered = recovered
        self._recovery_patience_s = recovery_patience_s
        self._end = end
        self._judge = StandstillJudge(patience_s)
        shorter_s = min(patience_s, recovery_patience_s)
        self._check_interval_s = min(CHECK_INTERVAL_S, shorter_s / CHECKS_WITHIN_PATIENCE)
        self._n_strange = 0  # looks running that found another topic, or none
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, without waiting for a check under way."""
        self._stopping.set()

    def _run(self) -> None:
        recovered, recovered_s = self._recovered(), time.monotonic()
        checked_s = recovered_s
        while not self._stopping.wait(self._check_interval_s):
            try:
                partitions = self._assigned()
            except Exception as error:  # it is another thread's and changes meanwhile; seen at the next look
                _log.debug("the watchdog cannot ask the worker: %s", error)
                continue
            now_s = time.monotonic()
            if now_s - checked_s > PAUSE_S:
                self._judge.forget()
                recovered_s = now_s
            checked_s = now_s
            if partitions is None:
                self._judge.forget()
                if recovered != self._recovered():
                    recovered, recovered_s = self._recovered(), now_s
                elif now_s - recovered_s > self._recovery_patience_s:
                    if self._broker_answers():
                        self._stuck(f"recovery has stood still for {now_s - recovered_s:.0f} s")
                    recovered_s = time.monotonic()
                continue
            recovered_s = now_s
            self._check(partitions, now_s)

    def _check(self, partitions: set[int], now_s: float) -> None:
        try:
            topic_id, committed, ends = self._ask_broker(partitions)
        except Exception as error:  # a broker that is away is no fault of the worker's
            _log.debug("the watchdog cannot ask the broker: %s", error)
            self._judge.forget()
            return
        self._n_strange = self._n_strange + 1 if topic_id != self._topic_id else 0
        if self._n_strange == 1:
            return  # a broker that has only just started may not know of a topic yet: it is asked again
        if self._n_strange:
            self._stuck(f"topic {self._topic} was deleted or made anew while clicks were read from it")
        elif (problem := self._judge.observe(now_s, committed, ends)) is not None:
            if self._clicks_wait(committed, ends):
                self._stuck(problem)
            self._judge.forget()

    def _ask_broker(self, partitions: set[int]) -> tuple[str, dict[int, int], dict[int, int]]:
        wanted = [TopicPartition(self._topic, partition) for partition in sorted(partitions)]
        with open_admin(self._connection) as admin:
            states = topic_states(admin, [self._topic])
            committed = admin.list_group_offsets({self._group: wanted})[self._group]
        with open_consumer(self._connection) as consumer:
            ends = consumer.end_offsets(wanted)
        return (
            str(states[self._topic].topic_id) if self._topic in states else "",
            {tp.partition: max(0, committed[tp].offset) for tp in wanted if tp in committed},
            {tp.partition: end for tp, end in ends.items()},
        )

    def _clicks_wait(self, committed: Offsets, ends: Offsets) -> bool:
        """Tell whether a record lies beyond what is committed: transactions' markers take offsets, too."""
        try:
            # earliest: where the clicks from there on are too old and gone, those after them wait.
            options = {"enable_auto_commit": False, "auto_offset_reset": "earliest"}
            with open_consumer(self._connection, **options) as consumer:
                waiting = [
                    TopicPartition(self._topic, n) for n, offset in committed.items() if offset < ends[n]
                ]
                consumer.assign(waiting)
                for tp in waiting:
                    consumer.seek(tp, committed[tp.partition])
                return any(consumer.poll(timeout_ms=READ_TIMEOUT_MS).values())
        except Exception:
            return False

    def _broker_answers(self) -> bool:
        try:
            open_admin(self._connection).close()
        except Exception:
            return False
        return True

    def _stuck(self, problem: str) -> None:
        if self._stopping.is_set():
            return
        _log.critical("%s: the worker ends itself, to be started again", problem)
        self._end(EXIT_STUCK)
