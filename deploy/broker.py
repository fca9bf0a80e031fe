"""Apache Kafka itself on this machine: a cluster of one broker or several, for the CLI, demo and tests.

Start it from a thread that lives as long as the cluster should: the brokers end with it, however it ends.
"""

import fcntl
import shutil
import signal
import socket
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from deploy.broker_config import HOST, BrokerPorts, server_properties
from deploy.broker_process import BrokerError, BrokerProcess
from deploy.java import KAFKA_FOLDER, fetch_jars, find_java
from streams.kafka import BrokerUnreachable, KafkaConnection, KafkaError, open_admin

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10
MINIMUM_FREE_BYTES = 500_000_000
# Measured: a start costs 3 s of CPU instead of 6; the thorough compiler pays only after minutes.
QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


class LocalKafka:
    """A cluster whose data live in ``folder``; a context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        n_brokers: int = 1,
        port: int | None = None,
        users: Mapping[str, str] | None = None,
        short_lived: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Prepare; ``port`` is the first broker's, the others' follow it, None takes free ones.

        ``users`` (name → password) opens a second listener on each broker where they log in, by PLAIN or
        SCRAM: ``sasl_bootstrap_servers``. For SCRAM they are fixed when the folder is first used.
        A ``short_lived`` cluster starts with half the work and is slower under full load.
        """
        self.folder = folder.resolve()
        self.n_brokers = n_brokers
        self.users = dict(users or {})
        self._java_options = QUICK_START if short_lived else ()
        self._port = port
        self._say = say
        self._ports: list[BrokerPorts] = []
        self._brokers: list[BrokerProcess] = []
        self._lock: IO[str] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The brokers' addresses, without login; known once started."""
        return ",".join(f"{HOST}:{ports.client}" for ports in self._ports)

    @property
    def sasl_bootstrap_servers(self) -> str:
        """The addresses of the listeners that ask for a login."""
        return ",".join(f"{HOST}:{ports.sasl}" for ports in self._ports)

    @property
    def connection(self) -> KafkaConnection:
        """How to reach the cluster without a login."""
        return KafkaConnection(self.bootstrap_servers)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start all brokers and return when they answer; raises BrokerError or JavaError."""
        java = find_java()
        jars = fetch_jars(self._say)
        log4j = f"-Dlog4j2.configurationFile={KAFKA_FOLDER / 'log4j2.xml'}"
        heap = ("-Xms128m", "-Xmx512m", "-XX:+ExitOnOutOfMemoryError")
        command = [java, *heap, *self._java_options, log4j, "-cp", f"{jars}/*"]
        nodes = range(1, self.n_brokers + 1)
        self._brokers = [BrokerProcess(node, self.folder / f"broker-{node}", command) for node in nodes]
        try:
            self._take_folder()
            self._ports = _choose_ports(self.n_brokers, self._port, with_sasl=bool(self.users))
            self._prepare_folders()
            for broker in self._brokers:
                broker.launch()
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all brokers, by force those that take longer than ten seconds; safe to call twice."""
        for broker in self._brokers:
            broker.signal(signal.SIGCONT)
            broker.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for broker in self._brokers:
            broker.wait(max(0.0, deadline - time.monotonic()))
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def watch(self) -> None:
        """Return only by an exception: BrokerError when a broker ends by itself."""
        while True:
            for broker in self._brokers:
                broker.raise_if_dead()
            time.sleep(0.2)

    def start_broker(self, *node_ids: int) -> None:
        """Start stopped brokers on their old ports and folders; returns when all that should run answer."""
        for node_id in node_ids:
            self._brokers[node_id - 1].launch()
        self._wait_until_ready()

    def stop_broker(self, node_id: int, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop one broker (1, 2, …): cleanly, or with SIGKILL as a crash would."""
        self._brokers[node_id - 1].signal(how)
        self._brokers[node_id - 1].wait(STOP_TIMEOUT_S)

    def pause(self, node_id: int) -> None:
        """Stop a broker's time: its sockets stay open and nothing answers."""
        self._brokers[node_id - 1].signal(signal.SIGSTOP)

    def resume(self, node_id: int) -> None:
        """Let a paused broker go on."""
        self._brokers[node_id - 1].signal(signal.SIGCONT)

    def _take_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BrokerError(f"{self.folder} is in use: another local broker runs on it") from error
        except OSError as error:
            raise BrokerError(f"cannot keep Kafka's data in {self.folder}: {error.strerror}") from error
        free = shutil.disk_usage(self.folder).free
        if free < MINIMUM_FREE_BYTES:
            raise BrokerError(
                f"no space for Kafka's data in {self.folder}: {free // 1_000_000} MB free,"
                f" {MINIMUM_FREE_BYTES // 1_000_000} MB needed"
            )

    def _prepare_folders(self) -> None:
        found = {broker.cluster_id for broker in self._brokers}
        n_kept = len(list(self.folder.glob("broker-*/data/meta.properties")))
        if len(found) > 1 and n_kept == self.n_brokers:
            raise BrokerError(
                f"{self.folder} holds data of different clusters; choose another folder with --home"
            )
        if n_kept not in (0, self.n_brokers) or len(found) > 1:
            raise BrokerError(
                f"{self.folder} holds a cluster of {n_kept} broker(s), not {self.n_brokers};"
                f" start it with --brokers {n_kept}, or choose another folder with --home"
            )
        for broker in self._brokers:
            properties = server_properties(broker.node_id, self._ports, broker.data_folder, self.users)
            broker.write_properties(properties)
        if n_kept == 0:
            cluster_id = _new_cluster_id()
            with ThreadPoolExecutor() as pool:  # a Java each, a second each
                list(pool.map(lambda broker: broker.format(cluster_id, self.users), self._brokers))

    def _wait_until_ready(self) -> None:
        running = [broker for broker in self._brokers if broker.launched]
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            for broker in running:
                broker.raise_if_dead()
            if self._n_answering() == len(running):
                return
            time.sleep(0.05)
        raise BrokerError(
            f"Kafka was not ready within {START_TIMEOUT_S} s; see {self.folder}/broker-*/kafka.log"
        )

    def _n_answering(self) -> int:
        listening = [ports for ports in self._ports if _accepts(ports.client)]
        if not listening:
            return 0
        connection = KafkaConnection(f"{HOST}:{listening[0].client}")
        try:
            with open_admin(connection, bootstrap_timeout_ms=500) as admin:
                registered = len(admin.describe_cluster()["brokers"])
        except (BrokerUnreachable, KafkaError):
            return 0
        return min(registered, len(listening))


def _new_cluster_id() -> str:
    # As Kafka's own: never beginning with a dash, which its tools would take for an option.
    while (text := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _choose_ports(n_brokers: int, first: int | None, *, with_sasl: bool) -> list[BrokerPorts]:
    """Find the ports of all listeners; each is held until all are found, so that none is chosen twice."""
    held: list[socket.socket] = []
    try:
        clients = [_hold(held, 0 if first is None else first + i) for i in range(n_brokers)]
        return [
            BrokerPorts(client, _hold(held, 0), _hold(held, 0) if with_sasl else None) for client in clients
        ]
    finally:
        for listener in held:
            listener.close()


def _hold(held: list[socket.socket], port: int) -> int:
    listener = socket.socket()
    held.append(listener)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        raise BrokerError(
            f"port {port} is taken by another program; stop it, or choose another with --port"
        ) from error
    return int(listener.getsockname()[1])
