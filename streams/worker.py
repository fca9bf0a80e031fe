"""The worker: a Faust app whose one agent answers clicks in micro-batches.

The order of the eight steps in ``_answer`` is what makes a crash harmless: an answer is delivered before
the state that proves it, the state before the acknowledgement. A crash in between recomputes the same
answers from the unchanged state; it loses none and applies none twice.
"""

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from faust.types import TP

from streams.app import build_app
from streams.canary import Sides, answer_by_sides
from streams.drift_watch import DriftMonitor
from streams.endings import EXIT_STUCK, end_process
from streams.errors import NextclickError
from streams.events import Recommendation, encode_recommendation
from streams.expiry import Expiry
from streams.inflight import InFlight
from streams.intake import FetchedBatch
from streams.metrics import WorkerMetrics
from streams.microbatch import (
    Rejected,
    decode_batch,
    first_beyond_rebuilds,
    rejection_record,
)
from streams.outbox import Outbox, Outgoing
from streams.ownership import Ownership, PartitionsMovedError
from streams.quality import LiveQuality
from streams.recommender import Answers, Arrival, Recommender, SessionRef
from streams.session import Session, SessionFormatError, decode_session, encode_session, session_key
from streams.steps import Progress, Step
from streams.table import IDENTITY_KEY, SessionTable
from streams.worker_config import WorkerConfig

REJECTED_PARTITION: Final = 0  # few records, read by people: one partition keeps them in order
TICK_S: Final = 0.5
SMALL_BATCH: Final = 100  # more than that is a backlog, whose next fetch is better read beside this batch

_log = logging.getLogger(__name__)


class WrongTopicError(NextclickError):
    """The stored sessions belong to another ``clicks`` topic than the one that is there now."""


class _Computed(NamedTuple):
    """A batch of which nothing has been written yet."""

    records: Sequence[Any]
    arrivals: Sequence[Arrival]
    answers: Answers
    rejected: Sequence[Rejected]
    outgoing: list[Outgoing]
    states: dict[int, dict[bytes, bytes | None]]


class Worker:
    """Answers clicks; built around a Faust app that it configures but does not run."""

    def __init__(
        self,
        config: WorkerConfig,
        sides: Callable[[], Sides],
        metrics: WorkerMetrics,
        quality: LiveQuality,
    ) -> None:
        self.app = build_app(config, self)
        self.ownership = Ownership(
            config.session_timeout_s,
            lambda: int(self.app.consumer.generation()),
            lambda: float(self.app.consumer.heartbeats.silence_s()),
            end=partial(end_process, config.folder),
        )
        self.n_answered = 0  # records through all eight steps: what the watchdog sees move
        self._config = config
        self._topics = config.topics
        self._sides = sides
        self._served: tuple[Recommender, ...] = ()  # by the batch before
        self._metrics = metrics
        self._quality = quality
        self._drift = DriftMonitor(config.drift_limits, config.drift_window_clicks, metrics, quality)
        client_id = f"{config.group}-{config.name}"
        self._outbox = Outbox(config.connection, client_id, before_produce=self.ownership.may_send)
        self._table = SessionTable(self.app, config.n_partitions)
        self._expiry = Expiry(self._table, self._outbox, config.session_expiry_ms)
        self._in_flight = InFlight(config.folder / "in-flight")
        self._turn = asyncio.Lock()  # batches and expiry take turns: one writer of the changelog
        self._identity = f"{config.topic_id} {config.n_partitions}".encode()
        self._identified: set[int] = set()
        topic = self.app.topic(
            config.topics.clicks,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )
        self.app.agent(topic, name="recommend", concurrency=1)(self._recommend)
        self.app.timer(TICK_S)(self._tick)

    @property
    def ready(self) -> bool:
        """Whether partitions are assigned, recovered and served; may be read from any thread."""
        app = self.app
        # Not through tables.recovery or consumer: Faust makes those when first asked for, and made by
        # another thread than the loop's they never start.
        return bool(app.started and not app.rebalancing and app.tables.actives_ready)

    def assigned(self) -> set[int] | None:
        """Give the partitions of ``clicks`` served here, None while they are recovered or handed over."""
        if not self.ready:
            return None
        return self._assigned()

    def _assigned(self) -> set[int]:
        return {tp.partition for tp in self.app.consumer.assignment() if tp.topic == self._topics.clicks}

    @property
    def n_recovered(self) -> int:
        """A number that grows while the table is recovered, and that a new assignment changes."""
        recovery = self.app.tables._recovery
        offsets = () if recovery is None else tuple(recovery.active_offsets.values())
        return int(self.app.rebalancing_count) + sum(offset or 0 for offset in offsets)

    async def on_start(self) -> None:
        """Connect the outbox; called by the app when it starts."""
        await self._outbox.start()

    async def on_stop(self) -> None:
        """Disconnect the outbox; called by the app when it has stopped."""
        await self._outbox.stop()

    async def settle(self) -> None:
        """Give the running batch its time to finish, then close the gate; on revocation and on stop."""
        try:
            await asyncio.wait_for(self._turn.acquire(), self._config.stop_wait_s)
        except TimeoutError:
            wait_s = self._config.stop_wait_s
            if not self.app.should_stop:
                # What the producer still holds goes out when the brokers take it, behind the next owner's.
                _log.critical(
                    "the running batch did not finish in %.0f s, and its partitions go to another worker:"
                    " the worker ends itself, to be started again",
                    wait_s,
                )
                end_process(self._config.folder, EXIT_STUCK)
            _log.warning("the running batch did not finish in %.0f s: given up", wait_s)
        else:
            self._turn.release()
        self.ownership.close()

    def on_assigned(self) -> None:
        """Begin anew with what was assigned: other partitions, or the same after another owner."""
        self._identified.clear()
        self._expiry.forget()
        self._quality.forget()
        self._metrics.lag.clear()

    def on_recovered(self) -> None:
        """Let batches through: the table holds what was known of the sessions that were assigned."""
        self.ownership.open()
        _log.info("serving partitions %s of %s", sorted(self._assigned()), self._topics.clicks)

    async def _recommend(self, stream: Any) -> None:
        """The agent: take what has arrived, answer it, begin again."""
        async for event in stream.noack().events():
            records, generation = await self._take(event.message, stream.channel.queue)
            async with self._turn:
                try:
                    while records:
                        n = self._in_flight.bound(records, self._config.max_batch)
                        records = records[await self._answer(records[:n], generation) :]
                except PartitionsMovedError:
                    self._metrics.abandoned.inc()
                    _log.info("gave up a batch of %d clicks: their partitions have moved on", len(records))
                finally:
                    self.app.consumer.let_fetch()

    async def _take(self, first: FetchedBatch, queue: Any) -> tuple[list[Any], int]:
        """1. Take what has already arrived, of the current generation; no timer fills a batch."""
        generation = int(self.app.consumer_generation_id)
        batch, records = first, []
        while True:
            # Of another generation: its partitions' new owner reads it again.
            if batch.generation_id == generation:
                for tp, part in batch.parts.items():
                    if await self.app.consumer.is_complete(tp, part):
                        records += part
                    else:
                        self._tell_fetched_again(tp.partition)
            if len(records) >= self._config.max_batch or queue.empty():
                return records, generation
            batch = queue.get_nowait().message

    def _tell_fetched_again(self, partition: int) -> None:
        self._metrics.fetched_again.inc()
        _log.warning(
            "partition %d: clicks from the committed offset on did not reach the worker: fetched again,"
            " none is lost and nothing is to be done unless this goes on",
            partition,
        )

    async def _answer(self, records: Sequence[Any], generation: int) -> int:
        """Answer a micro-batch, or as much of it as may be done at once; gives how many records that was."""
        progress, sides = Progress(self._metrics.stages), self._serving_now()
        self.ownership.check(generation)
        if len(records) < SMALL_BATCH:
            self.app.consumer.hold_fetches()
        with self._in_flight.noted(records):
            progress.done(Step.TAKE)
            done = self._compute(records, sides, progress)
        await self._store(done, generation, sides, progress)
        return len(done.records)

    def _compute(self, records: Sequence[Any], sides: Sides, progress: Progress) -> "_Computed":
        """Steps 2 to 5, and what is to be sent: all that a click's content can end the process by."""
        # 2. Decode and check; a bad record becomes a rejection and the rest go on.
        decoded = decode_batch(records, self._in_flight.quarantined)
        progress.done(Step.DECODE)
        # 3. Read the sessions in one go.
        sessions = self._read_sessions(decoded.arrivals)
        if (beyond := first_beyond_rebuilds(decoded.arrivals, sides.stale(sessions))) is not None:
            positions = [(record.partition, record.offset) for record in records]
            records = records[: positions.index((beyond.partition, beyond.offset))]
            decoded = decode_batch(records, self._in_flight.quarantined)
        progress.done(Step.READ)
        # 4. Advance the encoder, 5. search the index: all sessions together.
        created_ms = int(time.time() * 1000)
        answers, poison = answer_by_sides(
            sides, records, decoded.arrivals, sessions, created_ms, progress.done
        )
        rejected = decoded.rejected + poison
        computed = _Computed(
            records,
            decoded.arrivals,
            answers,
            rejected,
            list(self._outgoing(answers.recommendations, rejected)),
            self._states(answers.sessions),
        )
        progress.done(Step.RANK)
        return computed

    async def _store(self, done: "_Computed", generation: int, sides: Sides, progress: Progress) -> None:
        """Steps 6 to 8: nothing of them depends on what a click holds."""
        # 6. Deliver every answer; then, and only then, the states that prove it.
        self.ownership.check(generation)
        await self._outbox.deliver(done.outgoing)
        delivered_ms = time.time() * 1000
        progress.done(Step.DELIVER)
        # The next clicks come while the states are acknowledged.
        self.app.consumer.let_fetch()
        states = done.states
        self.ownership.check(generation)
        last = await self._outbox.deliver(
            Outgoing(self._table.changelog_topic, partition, key, state)
            for partition, by_key in states.items()
            for key, state in by_key.items()
        )
        progress.done(Step.CHANGELOG)
        # 7. One write per partition: the states and the changelog offset that they are at.
        self.ownership.check(generation)
        for partition, by_key in states.items():
            self._table.write(partition, by_key, last[partition])
        self._identified |= states.keys()
        progress.done(Step.WRITE)
        # 8. Acknowledge: now Faust may commit.
        self._acknowledge(done.records)
        self._count(done.records, done.arrivals, done.answers, done.rejected, delivered_ms)
        for recommender in sides.recommenders:
            if recommender.fresh is not None:
                recommender.fresh.learn(done.answers.folded)
        self._drift.note(sides.production.snapshot, done.answers)
        progress.done(Step.ACKNOWLEDGE)

    def _serving_now(self) -> Sides:
        """What serves now; a new recommender goes on with the fresh items that it does not know either."""
        sides, before = self._sides(), self._served
        recommenders = sides.recommenders
        if recommenders != before:
            self._served = recommenders
            known = before[0].fresh if before else None  # production's: the canary's are the same
            for recommender in recommenders:
                if recommender not in before and recommender.fresh is not None and known is not None:
                    recommender.fresh.take_over(known)
        return sides

    def _read_sessions(self, arrivals: Sequence[Arrival]) -> dict[SessionRef, Session]:
        keys: dict[int, dict[bytes, SessionRef]] = defaultdict(dict)
        for arrival in arrivals:
            keys[arrival.partition][session_key(arrival.click.session_id)] = arrival.session
        sessions = {}
        for partition, refs in keys.items():
            self._check_identity(partition)
            for ref, record in zip(refs.values(), self._table.read(partition, list(refs)), strict=True):
                if record is not None and (session := self._decode_session(record)) is not None:
                    sessions[ref] = session
        return sessions

    def _decode_session(self, record: bytes) -> Session | None:
        try:
            return decode_session(record)
        except SessionFormatError as error:
            # A damaged record must not stop the partition for ever: the session begins afresh.
            self._metrics.unreadable.inc()
            _log.warning("a stored session begins afresh: %s", error)
            return None

    def _check_identity(self, partition: int) -> None:
        """Refuse sessions of another topic: their offsets would mark new clicks as answered."""
        if partition in self._identified:
            return
        (stored,) = self._table.read(partition, [IDENTITY_KEY])
        if stored is None:
            return
        if stored != self._identity:
            raise WrongTopicError(
                f"the stored sessions belong to another {self._topics.clicks} topic, or to another number of"
                f" partitions (stored {stored.decode()}, now {self._identity.decode()});"
                " if that is intended, stop all workers and run: nextclick sessions reset"
            )
        self._identified.add(partition)

    def _states(self, sessions: Mapping[SessionRef, Session]) -> dict[int, dict[bytes, bytes | None]]:
        """Give what is to be stored, by partition; with the first write also which topic it is of."""
        states: dict[int, dict[bytes, bytes | None]] = defaultdict(dict)
        for ref, session in sessions.items():
            states[ref.partition][session_key(ref.session_id)] = encode_session(session)
        for partition in states.keys() - self._identified:
            states[partition][IDENTITY_KEY] = self._identity
        return states

    def _acknowledge(self, records: Sequence[Any]) -> None:
        last = {record.partition: record for record in records}  # offsets of a partition rise
        self.app.consumer.mark_done({TP(one.topic, one.partition): one.offset + 1 for one in last.values()})
        for partition, record in last.items():
            self._expiry.note(partition, record.timestamp)
        self.n_answered += len(records)

    def _outgoing(
        self, recommendations: Sequence[Recommendation], rejected: Sequence[Rejected]
    ) -> Iterator[Outgoing]:
        topic = self._topics.recommendations
        for answer in recommendations:
            yield Outgoing(
                topic, answer.click.partition, answer.session_id.encode(), encode_recommendation(answer)
            )
        for one in rejected:
            yield rejection_record(self._topics.rejected_clicks, REJECTED_PARTITION, one)

    async def _tick(self) -> None:
        """Between two batches: remove idle sessions, note the lag, look for what was lost.

        It must not raise: that ends the app.
        """
        try:
            if self.ready and self.ownership.is_open:
                await self._expire()
                self._note_lag()
                self._note_fresh()
                self._drift.tell(time.monotonic())
                for tp in await self.app.consumer.look_for_lost():
                    self._tell_fetched_again(tp.partition)
        except PartitionsMovedError:
            pass  # their new owner does it
        except Exception:
            _log.exception("what is done now and then could not be done, trying again")

    async def _expire(self) -> None:
        generation = int(self.app.consumer_generation_id)
        async with self._turn:
            self._metrics.expired.inc(await self._expiry.run(lambda: self.ownership.check(generation)))

    def _note_lag(self) -> None:
        consumer = self.app.consumer
        assigned = [tp for tp in consumer.assignment() if tp.topic == self._topics.clicks]
        self._metrics.partitions.set(len(assigned))
        for tp in assigned:
            end, committed = consumer.highwater(tp), consumer.committed(tp)
            if end is not None and committed is not None:
                self._metrics.lag.labels(str(tp.partition)).set(max(0, end - committed))

    def _note_fresh(self) -> None:
        fresh = self._sides().production.fresh
        self._metrics.fresh_items.set(0 if fresh is None else len(fresh))

    def _count(
        self,
        records: Sequence[Any],
        arrivals: Sequence[Arrival],
        answers: Answers,
        rejected: Sequence[Rejected],
        delivered_ms: float,
    ) -> None:
        metrics = self._metrics
        metrics.batch_size.observe(len(records))
        metrics.clicks.inc(answers.n_clicks)
        metrics.replays.inc(answers.n_replays)
        metrics.rebuilt.inc(answers.n_rebuilt)
        for source, n in Counter(answer.source for answer in answers.recommendations).items():
            metrics.answers.labels(source).inc(n)
        for reason, n in Counter(one.rejection.reason for one in rejected).items():
            metrics.rejected.labels(reason.value).inc(n)
        incomplete: Collection[str] = ()
        if len(answers.recommendations) < answers.n_clicks:  # only the newest click of each session has one
            clicks = Counter(arrival.click.session_id for arrival in arrivals)
            incomplete = {session_id for session_id, n in clicks.items() if n > 1}
        self._quality.note(answers.recommendations, incomplete)
        for arrival in arrivals:
            metrics.latency.observe((delivered_ms - arrival.append_ms) / 1000)
