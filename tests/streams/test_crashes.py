"""The worker's steps 6 to 8 under crashes at any point: nothing stays unanswered, nothing is applied twice.

Hypothesis drives a model of what lasts (the topics, the changelog, the local store, the committed offsets)
with the real recommender and the real record format. Between any two writes the worker may die; a restart
may find its local store, an old one or none, and recovers from the changelog. The one-by-one oracle judges.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streams.events import Click
from streams.recommender import Answers, Arrival, Recommender, SessionRef
from streams.session import Session, decode_session, encode_session
from tests.oracle import OracleClick, differences, fold_one_by_one
from tests.tiny import ITEMS, tiny_snapshot

NOW_MS = 1_700_000_000_000
N_PARTITIONS = 2
SNAPSHOTS = {
    "v1": tiny_snapshot("v1", seed=1),
    "v2": tiny_snapshot("v2", seed=2, items=(*reversed(ITEMS[2:]), "item-90")),
}
RECOMMENDERS = {version: Recommender(snapshot, top_k=3) for version, snapshot in SNAPSHOTS.items()}

Arriving = tuple[int, str, str, int, str | None]  # partition, session, item, minutes since the last, event
arriving = st.lists(
    st.tuples(
        st.integers(0, N_PARTITIONS - 1),
        st.sampled_from(["s-1", "s-2"]),
        st.sampled_from([*ITEMS[:4], "item-90", "never-known"]),
        st.sampled_from([0, 1, 40]),
        st.sampled_from([None, None, "e-1", "e-2"]),
    ),
    max_size=6,
)


@dataclass
class Partition:
    """All that lasts of one partition; list indexes are offsets."""

    clicks: list[Click] = field(default_factory=list)
    answers: list[tuple[int, str]] = field(default_factory=list)  # click's offset, snapshot
    changelog: list[tuple[str, bytes | None]] = field(default_factory=list)
    store: dict[str, bytes] = field(default_factory=dict)
    stored_offset: int = 0  # of the changelog: the next record that the store has not seen
    older: tuple[dict[str, bytes], int] = field(default_factory=lambda: ({}, 0))
    committed: int = 0


class CrashingWorker(RuleBasedStateMachine):
    """One worker of all partitions; ``position`` is lost with it."""

    @initialize()
    def begin(self) -> None:
        self.partitions = [Partition() for _ in range(N_PARTITIONS)]
        self.position = [0] * N_PARTITIONS
        self.version = "v1"

    @rule(clicks=arriving)
    def clicks_arrive(self, clicks: list[Arriving]) -> None:
        for at, session_id, item_id, minutes, event_id in clicks:
            log = self.partitions[at].clicks
            last_ms = (log[-1].timestamp_ms or 0) if log else NOW_MS
            log.append(Click(session_id, item_id, last_ms + minutes * 60_000, event_id=event_id))

    @rule(version=st.sampled_from(sorted(SNAPSHOTS)))
    def swap(self, version: str) -> None:
        self.version = version

    @rule(clicks=arriving, size=st.integers(1, 5))
    def answer_a_batch(self, clicks: list[Arriving], size: int) -> None:
        self.clicks_arrive(clicks)
        for _ in self.steps(size):
            pass

    @rule(
        clicks=arriving,
        size=st.integers(1, 5),
        n_steps=st.integers(0, 14),
        store=st.sampled_from(["kept", "older", "gone"]),
    )
    def crash_during_a_batch(self, clicks: list[Arriving], size: int, n_steps: int, store: str) -> None:
        self.clicks_arrive(clicks)
        for n, _ in enumerate(self.steps(size)):
            if n == n_steps:
                break
        self.restart(store)

    @rule(at=st.integers(0, N_PARTITIONS - 1))
    def copy_the_store(self, at: int) -> None:
        """Another host's folder, to which the partition may return later."""
        partition = self.partitions[at]
        partition.older = (dict(partition.store), partition.stored_offset)

    @rule(at=st.integers(0, N_PARTITIONS - 1))
    def compact(self, at: int) -> None:
        """Kafka forgets what a later record of the same key has replaced; offsets stay."""
        log = self.partitions[at].changelog
        last = {key: offset for offset, (key, _) in enumerate(log)}
        for offset, (key, _) in enumerate(log):
            if last[key] != offset:
                log[offset] = ("", None)

    def steps(self, size: int) -> Iterator[None]:
        """Answer a batch in the worker's order; it may die wherever this yields."""
        arrivals = [
            Arrival(click, at, offset, (click.timestamp_ms or 0) + 5)
            for at, partition in enumerate(self.partitions)
            for offset, click in enumerate(partition.clicks)
            if self.position[at] <= offset < self.position[at] + size
        ]
        yield
        answers = RECOMMENDERS[self.version].answer(arrivals, self.read(arrivals), created_ms=0)
        for answer in answers.recommendations:  # 6. the answers, any part of which may have been delivered …
            self.partitions[answer.click.partition].answers.append((answer.click.offset, answer.snapshot))
            yield
        written = [partition.stored_offset for partition in self.partitions]
        for ref, session in answers.sessions.items():  # … and then the states
            changelog = self.partitions[ref.partition].changelog
            changelog.append((ref.session_id, encode_session(session)))
            written[ref.partition] = len(changelog)
            yield
        for at, partition in enumerate(self.partitions):  # 7. one write for each partition
            partition.store |= self.records(answers, at)
            partition.stored_offset = written[at]
            yield
        for one in arrivals:
            self.position[one.partition] = max(self.position[one.partition], one.offset + 1)
        yield
        for at, partition in enumerate(self.partitions):  # 8. acknowledged, and committed at some time later
            partition.committed = self.position[at]
            yield

    def read(self, arrivals: list[Arrival]) -> dict[SessionRef, Session]:
        stored = {}
        for one in arrivals:
            record = self.partitions[one.partition].store.get(one.click.session_id)
            if record is not None:
                stored[one.session] = decode_session(record)
        return stored

    @staticmethod
    def records(answers: Answers, at: int) -> dict[str, bytes]:
        return {
            ref.session_id: encode_session(session)
            for ref, session in answers.sessions.items()
            if ref.partition == at
        }

    def restart(self, store: str) -> None:
        """Recover each store from where it is, and read on from the committed offsets."""
        for at, partition in enumerate(self.partitions):
            if store == "gone":
                partition.store, partition.stored_offset = {}, 0
            elif store == "older":
                partition.store, partition.stored_offset = dict(partition.older[0]), partition.older[1]
            for key, record in partition.changelog[partition.stored_offset :]:
                if record is not None:
                    partition.store[key] = record
            partition.stored_offset = len(partition.changelog)
            self.position[at] = partition.committed

    @invariant()
    def what_is_committed_is_answered(self) -> None:
        for partition in getattr(self, "partitions", []):
            answered = {offset for offset, _ in partition.answers}
            assert answered >= set(range(partition.committed))

    @invariant()
    def what_a_changelog_record_proves_is_answered(self) -> None:
        for partition in getattr(self, "partitions", []):
            answered = {offset for offset, _ in partition.answers}
            for _, record in partition.changelog:
                assert record is None or decode_session(record).offset in answered

    def teardown(self) -> None:
        """Let it work in peace: then all is answered and every state is the oracle's."""
        if not hasattr(self, "partitions"):
            return
        while any(at < len(p.clicks) for at, p in zip(self.position, self.partitions, strict=True)):
            self.answer_a_batch([], 5)
        versions: dict[tuple[int, int], str] = {}
        records: dict[tuple[int, str], bytes] = {}
        clicks: list[OracleClick] = []
        for at, partition in enumerate(self.partitions):
            versions |= {(at, offset): version for offset, version in partition.answers}
            records |= {(at, session_id): record for session_id, record in partition.store.items()}
            clicks += [
                OracleClick(at, offset, (one.timestamp_ms or 0) + 5, one.session_id, one.item_id)._replace(
                    timestamp_ms=one.timestamp_ms, event_id=one.event_id
                )
                for offset, one in enumerate(partition.clicks)
            ]
        assert differences(fold_one_by_one(clicks, SNAPSHOTS, versions), records) == []


TestCrashingWorker = CrashingWorker.TestCase
TestCrashingWorker.settings = settings(max_examples=80, stateful_step_count=20, deadline=None)
