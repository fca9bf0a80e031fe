"""What a local broker's ``server.properties`` says and why; pure text, nothing is started here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
_PROTOCOLS = "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT"
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True)
class BrokerPorts:
    """The ports of one broker; ``sasl`` only where users may log in."""

    client: int
    controller: int
    sasl: int | None = None


def server_properties(
    node_id: int, ports: Sequence[BrokerPorts], folder: Path, users: Mapping[str, str]
) -> str:
    """Return the configuration of broker ``node_id``; the brokers are 1, 2, … in the order of ``ports``."""
    n_brokers = len(ports)
    own = ports[node_id - 1]
    voters = ",".join(f"{node}@{HOST}:{port.controller}" for node, port in enumerate(ports, start=1))
    clients = f"PLAINTEXT://{HOST}:{own.client}"
    if own.sasl is not None:
        clients += f",SASL_PLAINTEXT://{HOST}:{own.sasl}"
    settings = {
        "process.roles": "broker,controller",
        "node.id": node_id,
        # Voters by configuration and not in the log, so that the ports may change from one start to the next.
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{clients},CONTROLLER://{HOST}:{own.controller}",
        "advertised.listeners": clients,
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": f"CONTROLLER:PLAINTEXT,{_PROTOCOLS}",
        "log.dirs": folder,
        # Topics are made by `nextclick topics create` with the right policies, never by a misspelt name.
        "auto.create.topics.enable": "false",
        "default.replication.factor": min(3, n_brokers),
        "offsets.topic.replication.factor": min(3, n_brokers),
        "transaction.state.log.replication.factor": min(3, n_brokers),
        "transaction.state.log.min.isr": 2 if n_brokers >= 3 else 1,
        "share.coordinator.state.topic.replication.factor": min(3, n_brokers),
        "share.coordinator.state.topic.min.isr": 2 if n_brokers >= 3 else 1,
        # A cluster on one machine has few groups; 50 partitions each cost a second at the first commit.
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.num.partitions": 4,
        # The delay gathers the members of large groups; here it would only keep the first worker waiting.
        "group.initial.rebalance.delay.ms": 0,
        # 128 MiB by default, a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    }
    if users:
        settings |= _login(users)
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _login(users: Mapping[str, str]) -> dict[str, str]:
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    passwords = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    listener = "listener.name.sasl_plaintext"
    return {
        "sasl.enabled.mechanisms": ",".join(SASL_MECHANISMS),
        f"{listener}.plain.sasl.jaas.config": f"{plain} {passwords};",
        f"{listener}.scram-sha-256.sasl.jaas.config": f"{scram};",
        f"{listener}.scram-sha-512.sasl.jaas.config": f"{scram};",
    }
