"""What table.py, intake.py, worker.py and the worker's process touch inside Faust: fails when that changes.

Read those modules against Faust's sources before you change an expectation here.
"""

import asyncio
import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any, NamedTuple

import faust
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher, FetchError, FetchResult
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import KafkaError
from faust.app.base import App
from faust.stores.rocksdb import Store
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.tables.table import Table
from faust.transport.conductor import Conductor
from faust.transport.consumer import Consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from streams.fetching import FetchingThread
from streams.intake import FIRST_LOOK_S, BatchConsumer, BatchTransport, FetchedBatch
from streams.table import FAUST_OFFSET_KEY, SessionTable
from tests.streams.tables import make_table

TOPIC = TP("clicks", 0)


def test_the_version_that_was_read() -> None:
    assert faust.__version__ == "0.15.3"


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [
        (Store, "_db_for_partition", ["self", "partition"]),
        (Store, "persisted_offset", ["self", "tp"]),
        (Store, "revoke_partitions", ["self", "table", "tps"]),
        (App, "_consumer_wait_empty", ["self", "consumer", "logger"]),
        (App, "_new_transport", ["self"]),
        (Consumer, "commit_and_end_transactions", ["self"]),
        (Consumer, "_new_offset", ["self", "tp"]),
        (Consumer, "_filter_tps_with_pending_acks", ["self", "topics"]),
        (Consumer, "_add_gap", ["self", "tp", "offset_from", "offset_to"]),
        (Consumer, "_should_commit", ["self", "tp", "offset"]),
        (Consumer, "_is_changelog_tp", ["self", "tp"]),
        (Consumer, "_wait_next_records", ["self", "timeout"]),
        (Consumer, "perform_seek", ["self"]),
        (Consumer, "seek_to_committed", ["self"]),
        (driver.Consumer, "seek_wait", ["self", "partitions"]),
        (Consumer, "on_partitions_revoked", ["self", "revoked"]),
        (Consumer, "getmany", ["self", "timeout"]),
        (TableManager, "on_start", ["self"]),
        (TableManager, "_update_channels", ["self"]),
        (Table, "on_changelog_event", ["self", "event"]),
        (Table, "apply_changelog_batch", ["self", "batch"]),
        (Table, "crash", ["self", "reason"]),
        (driver.Consumer, "_new_consumer_thread", ["self"]),
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer", ["self", "transport"]),
        (driver.AIOKafkaConsumerThread, "getmany", ["self", "active_partitions", "timeout"]),
        (
            driver.AIOKafkaConsumerThread,
            "_fetch_records",
            ["self", "consumer", "active_partitions", "timeout", "max_records"],
        ),
        (driver.Consumer, "highwater", ["self", "tp"]),
        (driver.Consumer, "assignment", ["self"]),
        (faust.Worker, "_gather_all", ["self"]),
    ],
)
def test_signatures(owner: type, name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


@pytest.mark.parametrize(
    ("function", "fragment"),
    [
        # Both revocation and stop wait through the method that the worker's app replaces.
        (App._on_partitions_revoked, "T(self._consumer_wait_empty)(consumer, on_timeout)"),
        (App._stop_consumer, "await self._consumer_wait_empty(consumer, self.log)"),
        # A commit asks the consumer's two overridden methods, and skips what is committed already.
        (Consumer.force_commit, "self._filter_tps_with_pending_acks(topics)"),
        (Consumer._filter_committable_offsets, "offset = self._new_offset(tp)"),
        (Consumer._commit_offsets, "self._committed_offset.update(committable_offsets)"),
        # The loop around getmany wants a message's offset and hands the message on.
        (Consumer._drain_messages, "offset = message.offset"),
        (Consumer._drain_messages, "await self._add_gap("),
        (Recovery._resume_streams, "self.completed.set()"),
        # A start is the wait that is left out, and what PromptTables does.
        (TableManager.on_start, "await self.sleep(1.0)"),
        # An end waits in two places: for tasks that do not end, and for those that are cancelled.
        (faust.Worker._shutdown_loop, "self._gather_all()"),
        (faust.Worker._shutdown_loop, "self._sentinel_task()"),
        (faust.Worker._sentinel_task, "await asyncio.sleep(1.0)"),
        (TableManager.on_start, "await self._update_channels()"),
        (TableManager.on_start, "await self.recovery.start()"),
        # Faust's generation is the client's, taken over with an assignment; the client's own goes at once.
        (driver.ConsumerRebalanceListener.on_partitions_assigned, "_coordinator.generation"),
        (GroupCoordinator.reset_generation, "self.generation = OffsetCommitRequest.DEFAULT_GENERATION_ID"),
        # What is overridden asks for no more than what Faust's own asks for, by way of a queue of calls.
        (driver.AIOKafkaConsumerThread.getmany, "max_records=_consumer._max_poll_records"),
        # Fetches go through the method of the client that is wrapped.
        (Fetcher._proc_fetch_request, "await self._client.send(node_id, request)"),
        # The consumer's own wait for a fetch is read only when it starts.
        (AIOKafkaConsumer.start, "fetch_max_wait_ms=self._fetch_max_wait_ms"),
    ],
)
def test_the_places_that_call_what_is_replaced(function: Any, fragment: str) -> None:
    assert fragment in inspect.getsource(inspect.unwrap(function))


def test_the_store_keeps_its_offset_where_the_table_writes_it(tmp_path: Path) -> None:
    assert Store.offset_key == FAUST_OFFSET_KEY
    table = make_table(tmp_path)
    table.write(1, {b"sa": b"1"}, 41)
    store = table._table.data
    assert isinstance(store, Store)
    assert store.use_rocksdict
    assert store.persisted_offset(TP(table.changelog_topic, 1)) == 41
    assert list(store._dbs) == [1]


def test_the_store_takes_every_option_that_the_table_gives(tmp_path: Path) -> None:
    """Faust ignores an unknown option in silence."""
    options = make_table(tmp_path)._table.data.rocksdb_options
    assert options.extra_options == {}
    assert options.block_cache_size == 32 * 1024 * 1024
    assert options.write_buffer_size == 8 * 1024 * 1024
    assert options.max_open_files == 128


class Written(NamedTuple):
    """A changelog record as aiokafka gives it, as far as recovery looks."""

    offset: int
    key: bytes | None
    value: bytes | None


def fetched_event(table: SessionTable, partition: int, *records: Written) -> Any:
    tp = TP(table.changelog_topic, partition)
    last = records[-1].offset
    batch = FetchedBatch(tp.topic, partition, last, 0.0, 0, (), b"", b"", None, tp=tp)
    batch.parts = {tp: list(records)}
    return SimpleNamespace(message=batch)


def recover(table: SessionTable, *events: Any) -> Any:
    """Let Faust's recovery hand over the events; gives that recovery."""

    async def hand_over() -> Any:
        recovery = table._table.app.tables.recovery
        recovery.active_tps.add(TP(table.changelog_topic, 0))
        for event in events:
            await table._table.on_changelog_event(event)
        table._table.apply_changelog_batch(events)
        return recovery

    return asyncio.run(hand_over())


def test_recovery_writes_whole_batches_and_how_far_they_are(tmp_path: Path) -> None:
    """A tombstone deletes; of a key's records the last one counts; what is not assigned stays out."""
    table = make_table(tmp_path)
    first = fetched_event(table, 0, Written(3, b"sa", b"1"), Written(4, b"sb", b"2"), Written(6, b"sa", None))
    second = fetched_event(table, 0, Written(7, b"sb", b"3"), Written(9, b"mtopic", b"identity"))
    recover(table, first, second, fetched_event(table, 1, Written(2, b"sc", b"4")))
    assert table.read(0, [b"sa", b"sb", b"mtopic", FAUST_OFFSET_KEY]) == [None, b"3", b"identity", b"9"]
    assert table.open_partitions() == [0]


def test_recovery_leaves_out_what_no_worker_has_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = make_table(tmp_path)
    garbage = [Written(3, None, b"1"), Written(4, b"", b"2"), Written(5, FAUST_OFFSET_KEY, b"no number")]
    recover(table, fetched_event(table, 0, *garbage, Written(6, b"sa", b"1")))
    assert table.read(0, [b"sa", b"", FAUST_OFFSET_KEY]) == [b"1", None, b"6"]
    assert "skipped 3 records" in caplog.text


def test_a_write_that_fails_ends_the_worker_and_does_not_count_as_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = make_table(tmp_path)

    def full(partition: int) -> Any:
        raise OSError("No space left on device")

    monkeypatch.setattr(table._table.data, "_db_for_partition", full)
    event = fetched_event(table, 0, Written(5, b"sa", b"1"), Written(8, b"sa", b"2"))
    recovery = recover(table, event)
    assert recovery.active_offsets[event.message.tp] == 4
    assert isinstance(table._table.app.crash_reason, OSError)


def test_what_the_worker_asks_the_app(tmp_path: Path) -> None:
    async def look() -> None:
        app = make_app_here(tmp_path)
        assert (app.started, app.rebalancing, app.rebalancing_count) == (False, False, 0)
        assert isinstance(app.consumer_generation_id, int)
        assert isinstance(app.tables, TableManager)
        assert app.tables.actives_ready is False
        assert app.tables._recovery is None  # made when first asked for
        assert "active_offsets" in Recovery.__annotations__
        assert {"on_partitions_assigned", "on_rebalance_complete"} <= set(dir(app))

    asyncio.run(look())


def test_a_channel_has_a_queue_to_drain(tmp_path: Path) -> None:
    async def look() -> None:
        app = make_app_here(tmp_path)
        stream = app.stream(app.topic("clicks", value_serializer="raw"))
        queue = stream.channel.queue
        assert queue.empty()
        queue.put_nowait("x")
        assert queue.get_nowait() == "x"
        assert callable(stream.noack().events)

    asyncio.run(look())


def make_app_here(folder: Path) -> faust.App:
    return faust.App("nextclick", broker="kafka://nowhere:1", datadir=folder, web_enabled=False)


class Committing(BatchConsumer):
    """Commits to a list instead of a cluster."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.commits: list[dict[TP, int]] = []

    def assignment(self) -> set[TP]:
        return {TOPIC, TP("clicks", 1)}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        self.commits.append(dict(offsets))
        return True


async def make_consumer(folder: Path) -> Committing:
    app = make_app_here(folder)

    async def nothing(*_: Any, **__: Any) -> None:
        """No stream is there to be called."""

    transport = BatchTransport([*app.conf.broker], app)
    consumer = Committing(
        transport, callback=nothing, on_partitions_revoked=nothing, on_partitions_assigned=nothing
    )

    class Producer:
        async def flush(self) -> None:
            """Nothing was sent."""

    app._producer = Producer()
    return consumer


def test_exactly_what_is_marked_done_is_committed(tmp_path: Path) -> None:
    async def commit() -> None:
        consumer = await make_consumer(tmp_path)
        await consumer.commit()
        consumer.mark_done({TOPIC: 5})
        await consumer.commit()
        await consumer.commit()
        consumer.mark_done({TOPIC: 9, TP("clicks", 1): 2, TP("revoked", 0): 7})
        await consumer.commit_and_end_transactions()
        assert consumer.commits == [{TOPIC: 5}, {TOPIC: 9, TP("clicks", 1): 2}]
        assert consumer.committed(TOPIC) == 9
        assert consumer.committed(TP("clicks", 7)) is None
        consumer._thread.thread_loop.close()  # of the thread that never ran

    asyncio.run(commit())


def test_a_return_to_the_beginning_is_a_seek_as_well(tmp_path: Path) -> None:
    sought: list[Mapping[TP, int]] = []

    class Thread:
        async def seek_to_committed(self) -> dict[TP, int | None]:
            return {TOPIC: 0, TP("clicks", 1): 7, TP("changelog", 0): None}  # it has sought the 7 only

        async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
            sought.append(partitions)

    async def seek() -> None:
        consumer = await make_consumer(tmp_path)
        consumer._thread.thread_loop.close()
        consumer._thread = Thread()
        await consumer.perform_seek()

    asyncio.run(seek())
    assert sought == [{TOPIC: 0}]
    assert "if offset and offset > 0:" in inspect.getsource(AIOKafkaConsumer.seek_to_committed)


def test_a_fetch_that_waits_brings_only_what_is_open_when_it_ends(tmp_path: Path) -> None:
    changelog, asked = TP("changelog", 0), []

    class Thread:
        async def getmany(self, partitions: Any, timeout: float) -> dict[TP, Any]:
            asked.append(partitions)
            return {}

    async def fetch() -> None:
        consumer = await make_consumer(tmp_path)
        consumer._thread.thread_loop.close()
        consumer._thread = Thread()
        consumer._is_changelog_tp = lambda tp: tp == changelog
        consumer.resume_partitions({changelog, TOPIC})
        await consumer._wait_next_records(0.1)
        (fetched,) = asked
        assert changelog in fetched
        assert TOPIC not in fetched  # it waits for the flow
        consumer.pause_partitions({changelog})
        assert fetched, "to aiokafka nothing is everything"
        assert changelog not in fetched
        consumer.resume_flow()
        assert TOPIC in fetched
        consumer.pause_partitions({TOPIC})
        assert TOPIC not in fetched

    asyncio.run(fetch())
    assert "if partitions and tp not in partitions:" in inspect.getsource(Fetcher.fetched_records)


def test_a_batch_that_does_not_begin_where_reading_began_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought: list[Mapping[TP, int]] = []

    def part(tp: TP, *offsets: int) -> tuple[TP, list[Written]]:
        return tp, [Written(offset, b"k", b"v") for offset in offsets]

    class Thread:
        async def seek_to_committed(self) -> dict[TP, int | None]:
            return {TOPIC: 7, TP("clicks", 1): None}

        async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
            sought.append(partitions)

        def has_fetched(self, tp: TP) -> bool:
            return tp in waiting

    waiting: set[TP] = set()

    async def take() -> None:
        consumer = await make_consumer(tmp_path)
        consumer._thread.thread_loop.close()
        consumer._thread = Thread()
        await consumer.perform_seek()
        assert await consumer.is_complete(*part(TP("clicks", 1), 30))  # nothing was committed
        assert not await consumer.is_complete(*part(TOPIC, 9, 10))  # 7 and 8 were lost
        assert not await consumer.is_complete(*part(TOPIC, 11))  # what was queued behind
        assert sought == [{TOPIC: 7}] * 2
        assert await consumer.is_complete(*part(TOPIC, 7, 8, 9))
        assert await consumer.is_complete(*part(TOPIC, 12))  # offsets without records, later on
        await consumer.perform_seek()
        assert not await consumer.is_complete(*part(TOPIC, 9))
        assert await consumer.is_complete(*part(TOPIC, 9))  # so there is nothing at 7 and 8
        assert len(sought) == 3
        monkeypatch.setattr(Committing, "highwater", lambda _, tp: 9)
        await consumer.perform_seek()
        await consumer.look_for_lost()  # not yet
        assert len(sought) == 3
        consumer._returns[TOPIC].since_s -= FIRST_LOOK_S + 0.1
        waiting.add(TOPIC)
        await consumer.look_for_lost()  # its turn has not come
        waiting.clear()
        await consumer.look_for_lost()
        assert len(sought) == 3
        consumer._returns[TOPIC].since_s -= FIRST_LOOK_S + 0.1
        await consumer.look_for_lost()
        await consumer.look_for_lost()  # and not at once again
        assert len(sought) == 4

    asyncio.run(take())


class Fetched:
    """Records of one partition as aiokafka keeps them until they are taken."""

    def __init__(self, n: int) -> None:
        self.next_fetch_offset, self._end = 0, n

    def __iter__(self) -> "Fetched":
        return self

    def __next__(self) -> int:
        if self.next_fetch_offset == self._end:
            raise StopIteration
        self.next_fetch_offset += 1
        return self.next_fetch_offset - 1


def fetching(*sizes: int) -> tuple[Any, Any]:
    """Give the thread and a consumer that has fetched so many records of each partition."""
    places = [SimpleNamespace(paused=False, position=0) for _ in sizes]
    for place in places:
        place.consumed_to = partial(setattr, place, "position")
    assignment = SimpleNamespace(active=True, state_value=lambda tp: places[tp.partition])
    records: dict[TP, Any] = {}
    for number, size in enumerate(sizes):
        tp, own = TP("clicks", number), Fetched(size)
        records[tp] = FetchResult(tp, assignment=assignment, partition_records=own, backoff=0.0)
    subscriptions = SimpleNamespace(
        reassignment_in_progress=False, fetch_context=nullcontext, is_assigned=lambda tp: True
    )
    fetcher = SimpleNamespace(
        _records=records,
        _subscriptions=subscriptions,
        _closed=False,
        _notify=lambda waiter: None,
        _wait_consume_future=None,
    )
    fetcher.fetched_records = MethodType(Fetcher.fetched_records, fetcher)
    thread = object.__new__(FetchingThread)
    thread.consumer = SimpleNamespace(flow_active=True)
    thread._consumer = SimpleNamespace(_fetcher=fetcher, _closed=False)
    return thread, fetcher


def take(thread: Any, max_records: int) -> dict[int, list[int]]:
    tps = {TP("clicks", number) for number in range(8)}
    found = asyncio.run(thread._fetch_records(thread._consumer, tps, timeout=0.1, max_records=max_records))
    return {tp.partition: records for tp, records in found.items()}


def test_partitions_take_turns_amid_a_backlog() -> None:
    """aiokafka alone empties one after the other."""
    thread, _ = fetching(1_000, 30, 1_000)
    first = take(thread, 90)
    assert {number: len(records) for number, records in first.items()} == {0: 30, 1: 30, 2: 30}
    assert not thread.has_fetched(TP("clicks", 7))
    assert thread.has_fetched(TP("clicks", 0))
    second = take(thread, 90)
    assert {number: len(records) for number, records in second.items()} == {0: 60, 2: 30}  # 1 has just ended
    assert first[0] + second[0] == list(range(90))  # each in its order, none left out


def test_little_is_taken_whole_and_at_once() -> None:
    thread, fetcher = fetching(3, 0, 2)
    assert take(thread, 1_000) == {0: [0, 1, 2], 2: [0, 1]}
    assert not fetcher._records


def test_what_is_taken_is_not_lost_when_more_cannot_be() -> None:
    thread, fetcher = fetching(10, 10)
    fetcher._records[TP("clicks", 1)] = FetchError(error=KafkaError("cannot"), backoff=0.0)
    assert take(thread, 10) == {0: [0, 1, 2, 3, 4]}
    thread, fetcher = fetching(10, 10)
    fetcher._subscriptions.reassignment_in_progress = False
    taken = thread._consumer._fetcher.fetched_records

    async def rebalance(*arguments: Any, **options: Any) -> Any:
        found = await taken(*arguments, **options)
        fetcher._subscriptions.reassignment_in_progress = True
        return found

    fetcher.fetched_records = rebalance
    assert take(thread, 10) == {0: [0, 1, 2, 3, 4]}  # and no waiting for the end of it


def test_a_fetched_batch_is_a_message_that_the_conductor_takes() -> None:
    assert BatchTransport.Consumer is BatchConsumer
    assert BatchTransport.Conductor is driver.Transport.Conductor
    assert issubclass(driver.Transport.Conductor, Conductor)
    assert issubclass(FetchedBatch, ConsumerMessage)
    batch = FetchedBatch("clicks", 0, 41, 1.5, 1, (), b"", b"", None, tp=TOPIC, generation_id=3)
    assert (batch.offset, batch.tp, batch.generation_id) == (41, TOPIC, 3)
