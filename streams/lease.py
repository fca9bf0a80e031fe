"""One trainer at a time: a lease that its holder cannot forget to give back, whatever ends it.

Two trainers of one alias would waste each other's work, and the slower one would put an older snapshot behind
a newer one. Where both run on one machine with one home folder, the kernel's lock on a file decides, and is
free the moment its holder is gone. Between machines Kafka decides: who trains is the one member of a consumer
group, and Kafka forgets a member from which it hears no more. A member that joined from a place whose lock is
ours now is dead and is sent away at once; any other's word counts for half a minute.
"""

import fcntl
import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from streams.errors import NextclickError
from streams.kafka import (
    ConsumerRebalanceListener,
    KafkaConnection,
    KafkaError,
    MemberToRemove,
    open_admin,
    open_consumer,
)

SESSION_TIMEOUT_S: Final = 30.0
JOIN_TIMEOUT_S: Final = 60.0
RETRY_S: Final = 2.0
COORDINATOR_TIMEOUT_S: Final = 20.0
JOINS: Final = 3
_PREFIX: Final = "nextclick-trainer"

_log = logging.getLogger(__name__)


class LeaseHeld(NextclickError):
    """Another trainer is at work; the text says who."""


class Holder(NamedTuple):
    """Who trains: what a member of the group calls itself."""

    place: str  # a kernel and a lock file on it
    pid: int
    host: str

    @property
    def client_id(self) -> str:
        """As Kafka knows the member."""
        return f"{_PREFIX}.{self.place}.{self.pid}.{self.host}"

    @classmethod
    def of(cls, client_id: str) -> Self | None:
        """Read a client id; None where it is nothing of ours."""
        parts = client_id.split(".", 3)
        if len(parts) != 4 or parts[0] != _PREFIX or not parts[2].isdigit():
            return None
        return cls(parts[1], int(parts[2]), parts[3])

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class TrainerLease:
    """To be taken before training; a context manager, which gives it back.

    ``held`` turns false where Kafka has given it to another one: after a pause of this process, or an outage.
    """

    def __init__(self, connection: KafkaConnection, group: str, alias: str, topic: str, folder: Path) -> None:
        """``folder`` is where the lock file lies, ``topic`` any topic of one partition."""
        self._connection, self._topic = connection, topic
        self._group = f"{group}-trainer-{alias}"
        self._alias = alias
        self._path = folder / f"{alias}.lock"
        self._stack = ExitStack()
        self._member: _Member | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

    @property
    def held(self) -> bool:
        """Whether nobody else may train."""
        return self._member is not None and self._member.assigned.is_set()

    def take(
        self,
        stop: threading.Event,
        *,
        wait: bool = True,
        on_waiting: Callable[[str], None] = lambda line: None,
    ) -> bool:
        """Take it, or wait until it is free; False where that was stopped.

        ``on_waiting`` gets a line for each holder that is waited for. Raises :class:`LeaseHeld` where there
        is one and ``wait`` is false.
        """
        told = ""
        while not stop.is_set() and not self.held:
            self.give_back()
            holder = self._try()
            if holder is None:
                return True
            self.give_back()
            line = f"{holder} trains {self._alias}"
            if not wait:
                raise LeaseHeld(f"{line}; one trainer at a time")
            if line != told:
                on_waiting(f"{line}: waiting until it ends")
                told = line
            stop.wait(RETRY_S)
        return self.held

    def give_back(self) -> None:
        """Let others have it."""
        if self._member is not None:
            self._member.leave()
            self._member = None
        self._stack.close()

    def _try(self) -> str | None:
        """Take it; gives who has it where it cannot."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = self._stack.enter_context(self._path.open("a+"))
        except OSError as error:
            raise NextclickError(f"cannot write {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            return f"process {lock.read().strip() or '?'} on this machine"
        with suppress(OSError):  # a disk that is full: who waits is told less, that is all
            os.ftruncate(lock.fileno(), 0)
            os.write(lock.fileno(), str(os.getpid()).encode())
        us = Holder(_place(lock.fileno()), os.getpid(), socket.gethostname())
        holder = self._holder(us)
        if holder is not None:
            return str(holder)
        for _ in range(JOINS):
            self._member = _Member(self._connection, self._group, self._topic, us.client_id)
            if self._member.join():
                return None
            if (holder := self._holder(us)) is not None:
                return str(holder)
            self._member.leave()  # a young cluster may divide a topic before it knows its partitions
        return "another one, which was faster,"

    def _holder(self, us: Holder) -> Holder | str | None:
        """Who is a member now; those that died at this place are sent away first."""
        deadline_s = time.monotonic() + COORDINATOR_TIMEOUT_S
        while True:
            try:
                return self._look_for_holder(us)
            except KafkaError as error:
                # A cluster on which nobody was a member of any group yet has no coordinator for a moment.
                if not error.retriable or time.monotonic() > deadline_s:
                    raise NextclickError(f"cannot find out who trains {self._alias}: {error}") from error
            time.sleep(0.2)

    def _look_for_holder(self, us: Holder) -> Holder | str | None:
        with open_admin(self._connection) as admin:
            members = admin.describe_groups([self._group])[self._group].get("members") or []
            dead, others = _sorted(members, us)
            if dead:
                admin.remove_group_members(self._group, [MemberToRemove(member_id=one) for one in dead])
            return others[0] if others else None


def _sorted(members: Iterable[Any], us: Holder) -> tuple[list[str], list[Holder | str]]:
    """Ids of dead members, and those that may be at work."""
    dead: list[str] = []
    others: list[Holder | str] = []
    for member in members:
        holder = Holder.of(member["client_id"])
        if holder is not None and holder.place == us.place:
            dead.append(member["member_id"])  # its lock is ours
        else:
            others.append(holder or f"{member['client_id']} at {member['client_host'].lstrip('/')}")
    return dead, others


def _place(descriptor: int) -> str:
    """The lock file and the kernel that keeps the lock: equal for who can lock each other out."""
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        kernel = socket.gethostname()
    status = os.fstat(descriptor)
    return hashlib.sha256(f"{kernel} {status.st_dev} {status.st_ino}".encode()).hexdigest()[:12]


class _Member:
    """A thread that is a member of the group, and does nothing else."""

    def __init__(self, connection: KafkaConnection, group: str, topic: str, client_id: str) -> None:
        self.assigned = threading.Event()
        self._connection, self._group, self._topic, self._client_id = connection, group, topic, client_id
        self._answered = threading.Event()  # whether the group has told who has the lease
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease-{group}", daemon=True)

    def join(self) -> bool:
        """Become a member; tells whether the lease came with it."""
        self._thread.start()
        deadline = time.monotonic() + JOIN_TIMEOUT_S
        while not self._answered.wait(0.1):
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise NextclickError(f"cannot join the group {self._group}, which says who trains")
        return self.assigned.is_set()

    def leave(self) -> None:
        """Leave the group, so that it is free at once."""
        self.assigned.clear()
        self._leaving.set()
        if self._thread.is_alive():
            self._thread.join(timeout=JOIN_TIMEOUT_S)

    def _run(self) -> None:
        try:
            with open_consumer(
                self._connection,
                group_id=self._group,
                client_id=self._client_id,
                enable_auto_commit=False,
                auto_offset_reset="latest",
                session_timeout_ms=int(SESSION_TIMEOUT_S * 1000),
                heartbeat_interval_ms=3_000,
                max_poll_interval_ms=300_000,
            ) as consumer:
                # Asked for first: who divides a topic that it does not know yet gives nobody anything.
                consumer.partitions_for_topic(self._topic)
                consumer.subscribe([self._topic], listener=_Listener(self))
                while not self._leaving.is_set():
                    consumer.poll(timeout_ms=500)
        except Exception as error:  # whatever ends it, the lease is no longer ours
            _log.warning("the trainer's lease is lost: %s", error)
        finally:
            self.assigned.clear()

    def tell(self, partitions: Iterable[Any]) -> None:
        """What the group has decided."""
        if list(partitions):
            self.assigned.set()
        else:
            self.assigned.clear()
        self._answered.set()


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """What Kafka's client tells, from a thread of its own."""

    def __init__(self, member: _Member) -> None:
        self._member = member

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self._member.assigned.clear()

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        self._member.tell(assigned)
