"""The shop's front end as a process of its own: it sends clicks, receives recommendations, and judges both.

``python -m deploy.demo.front_end FOLDER [--journal]`` with plain aiokafka and json, as any front end would be
written; only how to reach Kafka comes from the product's settings.

First it sends clicks that do not count until all of them are answered: every part is there and warm. Then
the schedule, open-loop: a click is due at its own moment, however late the ones before it were, and its
latency counts from then. Where ``enough`` has not come on stdin when all is sent, it goes on with the same
sessions under other ids (whose hits do not count) until it comes; then it waits for the last answers.

With ``--journal`` it also judges every click by the lists of two workers, the served one and another that
answers the same clicks beside it, and writes all of it to ``journal.json``; it ends where ``enough`` comes.

In FOLDER it finds ``stream.tsv`` (seconds after the start, session, item), ``counts.json`` (the history's
clicks per item) and ``front-end.json``. It prints one JSON object a line: ``ready``, and after ``go`` on
stdin four a second, the last with ``done``.
"""

import asyncio
import gc
import json
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from deploy.demo.journal import Journal
from deploy.demo.tally import Deliveries, HitRates, Popularity, percentile
from deploy.demo.window import ShopWindow
from deploy.settings_sources import load_settings

REPORT_EVERY_S: Final = 0.25
DRAIN_S: Final = 20.0
N_PROBES: Final = 200
PROBE_EVERY_S: Final = 0.01


class Planned(NamedTuple):
    """A click of the schedule."""

    due_s: float
    session_id: str
    item_id: str
    again: bool  # the stream's clicks a second time


class FrontEnd:
    """Sends what is planned and counts what comes back."""

    def __init__(self, folder: Path, *, journal: bool = False) -> None:
        with (folder / "stream.tsv").open(encoding="utf-8") as lines:
            rows = [line.rstrip("\n").split("\t") for line in lines]
        self._stream = [(float(due_s), session, item) for due_s, session, item in rows]
        counts = json.loads((folder / "counts.json").read_text(encoding="utf-8"))
        given = json.loads((folder / "front-end.json").read_text(encoding="utf-8"))
        self._seconds = float(given["seconds"])
        self._topics = given["topics"]
        self._folder = folder
        self._journal = Journal(frozenset(counts)) if journal else None
        self._rates = HitRates(frozenset(counts), Popularity(counts), bool(given["repeat_all"]))
        self._deliveries = Deliveries()
        self._window = ShopWindow(int(given["n_shown"]))
        self._lists: dict[str, tuple[int, list[str]]] = {}  # session → offset of its click, items
        self._connection = load_settings().connection().for_aiokafka()
        self._go, self._enough = asyncio.Event(), asyncio.Event()
        self._started = 0.0
        self._n_sent = 0
        self._behind_s = 0.0
        self._n_open = 0  # sent and not acknowledged yet

    async def run(self) -> None:
        """Open the way, then send, receive and report until it is enough."""
        consumer = AIOKafkaConsumer(enable_auto_commit=False, fetch_max_wait_ms=200, **self._connection)
        producer = AIOKafkaProducer(acks="all", enable_idempotence=True, linger_ms=0, **self._connection)
        async with consumer, producer:
            await self._seek_to_end(consumer)
            threading.Thread(target=self._read_stdin, args=[asyncio.get_running_loop()], daemon=True).start()
            acting = asyncio.create_task(self._act(producer))
            listening = asyncio.create_task(self._listen(consumer))
            done, _ = await asyncio.wait({acting, listening}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises what it failed with
            listening.cancel()

    async def _act(self, producer: AIOKafkaProducer) -> None:
        await self._open_the_way(producer)
        self._print({"ready": True})
        await self._go.wait()
        gc.freeze()  # nothing built so far is garbage; a full collection would cost milliseconds
        self._started = time.monotonic()
        if self._journal is not None:
            self._journal.begin(self._started)
        reporting = asyncio.create_task(self._report_on())
        await self._send_all(producer)
        reporting.cancel()
        if self._journal is not None:
            self._journal.write(self._folder / "journal.json")
        self._print(self._report() | self._verdict())

    def _read_stdin(self, loop: asyncio.AbstractEventLoop) -> None:
        for line, event in (("go", self._go), ("enough", self._enough)):
            if sys.stdin.readline().strip() == line:
                loop.call_soon_threadsafe(event.set)

    async def _seek_to_end(self, consumer: AIOKafkaConsumer) -> None:
        numbers = range(int(self._topics["partitions"]))
        answers = [self._topics[name] for name in ("recommendations", "beside") if name in self._topics]
        partitions = [TopicPartition(topic, number) for topic in answers for number in numbers]
        partitions.append(TopicPartition(self._topics["rejected_clicks"], 0))
        consumer.assign(partitions)
        await consumer.seek_to_end()
        for partition in partitions:
            await consumer.position(partition)

    async def _open_the_way(self, producer: AIOKafkaProducer) -> None:
        """Send clicks that do not count until they are answered: the worker is there, every part is warm."""
        for n in range(N_PROBES):
            item_id = self._stream[n % len(self._stream)][2]
            self._n_open += 1
            sending = await self._produce(producer, f"probe-{n}", item_id)
            sending.add_done_callback(partial(self._acknowledge, time.monotonic()))
            await asyncio.sleep(PROBE_EVERY_S)
            while n == 0 and not self._deliveries.n_answered:
                await asyncio.sleep(0.05)  # the worker is not there yet
        while self._n_open or self._deliveries.n_missing or (self._journal and not self._journal.ready):
            await asyncio.sleep(0.05)
        self._deliveries = Deliveries()

    async def _send_all(self, producer: AIOKafkaProducer) -> None:
        for planned in self._rounds():
            wait_s = self._started + planned.due_s - time.monotonic()
            if wait_s > 0.0005:
                await asyncio.sleep(wait_s)
            elif self._n_sent % 50 == 0:
                await asyncio.sleep(0)
            self._behind_s = max(0.0, -wait_s)
            await self._send(producer, planned)
        deadline = time.monotonic() + DRAIN_S
        while time.monotonic() < deadline and (self._n_open or self._deliveries.n_missing):
            await asyncio.sleep(0.1)

    def _rounds(self) -> Iterator[Planned]:
        n_rounds = 0
        while n_rounds == 0 or not self._enough.is_set():
            for due_s, session_id, item_id in self._stream:
                prefix = f"again{n_rounds}-" if n_rounds else ""
                yield Planned(n_rounds * self._seconds + due_s, prefix + session_id, item_id, n_rounds > 0)
                if (n_rounds or self._journal) and self._enough.is_set():
                    return
            n_rounds += 1

    async def _send(self, producer: AIOKafkaProducer, planned: Planned) -> None:
        due_s, session_id, item_id, again = planned
        shown = self._lists.get(session_id, (-1, []))[1]
        hit = None if again else self._rates.judge(session_id, item_id, shown)
        self._window.click(session_id, item_id, hit, due_s)
        if self._journal is not None and not again:  # refreshed snapshots have learnt from these by then
            self._journal.click(due_s, session_id, item_id)
        self._n_sent += 1
        self._n_open += 1
        sending = await self._produce(producer, session_id, item_id)
        sending.add_done_callback(partial(self._acknowledge, self._started + due_s))

    async def _produce(
        self, producer: AIOKafkaProducer, session_id: str, item_id: str
    ) -> asyncio.Future[Any]:
        click = {"session_id": session_id, "item_id": item_id, "timestamp_ms": time.time_ns() // 1_000_000}
        value = json.dumps(click, ensure_ascii=False).encode()
        sending: asyncio.Future[Any] = await producer.send(
            self._topics["clicks"], value=value, key=session_id.encode()
        )
        return sending

    def _acknowledge(self, due_s: float, sending: asyncio.Future[Any]) -> None:
        self._n_open -= 1
        if (error := sending.exception()) is not None:
            print(f"Kafka did not take a click: {error}", file=sys.stderr, flush=True)
            return
        record = sending.result()
        self._deliveries.acknowledge((record.partition, record.offset), due_s)

    async def _listen(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            batches = await consumer.getmany(timeout_ms=200)
            now_s = time.monotonic()
            for partition, records in batches.items():
                for record in records:
                    if partition.topic == self._topics["recommendations"]:
                        self._receive(json.loads(record.value), now_s)
                    elif self._journal is not None and partition.topic == self._topics.get("beside"):
                        self._journal.answer_beside(json.loads(record.value))
                    else:
                        headers = dict(record.headers)
                        self._deliveries.reject((int(headers["partition"]), int(headers["offset"])))

    def _receive(self, answer: dict[str, Any], now_s: float) -> None:
        click, session_id = answer["click"], answer["session_id"]
        self._deliveries.answer((click["partition"], click["offset"]), answer["snapshot"], now_s)
        if self._journal is not None:
            self._journal.answer(answer, now_s)
        if click["offset"] > self._lists.get(session_id, (-1, []))[0]:
            items = [item["item_id"] for item in answer["items"]]
            self._lists[session_id] = (click["offset"], items)
            self._window.recommend(session_id, items)

    async def _report_on(self) -> None:
        while True:
            await asyncio.sleep(REPORT_EVERY_S)
            self._print(self._report())

    def _report(self) -> dict[str, Any]:
        now_s, deliveries, rates = time.monotonic(), self._deliveries, self._rates
        recent = deliveries.recent_latencies_s(now_s)
        versions = {version: round(at - self._started, 2) for version, at in deliveries.versions.items()}
        return {
            "seconds": round(now_s - self._started, 2),
            "sent": self._n_sent,
            "answered": deliveries.n_answered,
            "rejected": deliveries.n_rejected,
            "behind_s": round(self._behind_s, 3),
            "latency_ms": _ms(recent),
            "targets": rates.n_targets,
            "hits": rates.n_hits,
            "popular_hits": rates.n_popular_hits,
            "versions": versions,
            "shown": self._window.rows(now_s - self._started),
        } | (self._journal.report() if self._journal is not None else {})

    def _verdict(self) -> dict[str, Any]:
        deliveries = self._deliveries
        return {
            "done": True,
            "clicks": deliveries.n_clicks,
            "unacknowledged": self._n_sent - deliveries.n_clicks,
            "missing": deliveries.n_missing,
            "latency_ms": _ms(deliveries.latencies_s),
        }

    @staticmethod
    def _print(report: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


def _ms(latencies_s: list[float]) -> dict[str, float | None]:
    found = {name: percentile(latencies_s, share) for name, share in (("p50", 0.5), ("p99", 0.99))}
    return {name: None if value is None else round(value * 1000, 2) for name, value in found.items()}


if __name__ == "__main__":
    asyncio.run(FrontEnd(Path(sys.argv[1]), journal="--journal" in sys.argv[2:]).run())
