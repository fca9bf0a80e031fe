"""Sends clicks on a schedule that waits for nobody, and notes when each was due and where it came to stand.

Click i is due i / rate seconds after the start, whether or not those before it have been taken (no
coordinated omission: a stall is seen by every click that falls into it). Times are of the system's monotonic
clock, which all processes of the machine share.

It behaves as a producer with linger 0 and acks=all: one request at a time to each broker, with all that has
become due meanwhile. The requests are put together here and written to plain sockets, for the sender shares
the cores with what is measured: a producer of aiokafka took 260 µs of CPU for a click.
"""

import argparse
import asyncio
import select
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import for_code
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.protocol.produce import ProduceRequest_v3
from aiokafka.record.default_records import DefaultRecordBatchBuilder

PATIENCE_S: Final = 60.0
_SIZE: Final = struct.Struct(">i")
_FOUND: Final = struct.Struct(">ihqq")  # partition, error, offset, timestamp of a produce response
_encode = msgspec.json.Encoder().encode


class Click(NamedTuple):
    """What is sent, and to which partition."""

    session_id: str
    item_id: str
    partition: int


class ShopError(Exception):
    """The brokers did not take the clicks."""


@dataclass
class Line:
    """The connection to one broker: what waits to be sent to it, and what is on its way, by partition."""

    topic: str
    connection: socket.socket
    waiting: list[int] = field(default_factory=list)
    on_its_way: dict[int, list[int]] = field(default_factory=dict)
    received: bytearray = field(default_factory=bytearray)
    n_requests: int = 0

    def send(self, clicks: Sequence[Click]) -> None:
        """Send all that waits in one request."""
        for number in self.waiting:
            self.on_its_way.setdefault(clicks[number].partition, []).append(number)
        self.waiting.clear()
        batches = [
            (partition, _batch([clicks[number] for number in numbers]))
            for partition, numbers in self.on_its_way.items()
        ]
        request = ProduceRequest_v3(None, -1, int(PATIENCE_S * 1000), [(self.topic, batches)])
        self.n_requests += 1
        header = request.build_request_header(self.n_requests, "shop").encode()
        body = request.encode()
        self.connection.sendall(_SIZE.pack(len(header) + len(body)) + header + body)

    def receive(self) -> dict[int, tuple[int, int]]:
        """Take what has come; gives where clicks came to stand, where the answer is complete."""
        part = self.connection.recv(1 << 16)
        if not part:
            raise ShopError("a broker closed the connection")
        self.received += part
        if len(self.received) < 4 or len(self.received) < 4 + _SIZE.unpack_from(self.received)[0]:
            return {}
        at = 4 + 4 + 4 + 2 + len(self.topic)  # size, correlation, one topic and its name
        (n_partitions,) = _SIZE.unpack_from(self.received, at)
        places = {}
        for n in range(n_partitions):
            partition, error, offset, _ = _FOUND.unpack_from(self.received, at + 4 + n * _FOUND.size)
            if error:
                raise ShopError(f"partition {partition} was not written: {for_code(error).__name__}")
            for behind, number in enumerate(self.on_its_way[partition]):
                places[number] = (partition, offset + behind)
        self.on_its_way.clear()
        self.received.clear()
        return places


def _batch(clicks: Sequence[Click]) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 20,
    )
    now_ms = time.time_ns() // 1_000_000
    for n, (session_id, item_id, _) in enumerate(clicks):
        click = {"session_id": session_id, "item_id": item_id, "timestamp_ms": now_ms}
        builder.append(n, now_ms, session_id.encode(), _encode(click), [])
    return bytes(builder.build())


def send_all(lines: dict[int, Line], clicks: Sequence[Click], rate: float) -> dict[str, Any]:
    """Send them; gives the place of each, when it was due, begun and sent in seconds, and the CPU it took.

    ``lines`` by partition; several may share one.
    """
    n_clicks, number = len(clicks), 0
    awake, sent = np.zeros(n_clicks), np.zeros(n_clicks)
    places: dict[int, tuple[int, int]] = {}
    by_socket = {line.connection: line for line in lines.values()}
    cpu_s = time.process_time()
    began = time.monotonic() + 0.2
    due = began + np.arange(n_clicks) / rate
    due_s = due.tolist()
    while len(places) < n_clicks:
        wait_s = due_s[number] - time.monotonic() if number < n_clicks else PATIENCE_S
        if wait_s > 0:
            ready, _, _ = select.select(list(by_socket), [], [], wait_s)
            if not ready and number == n_clicks:
                raise ShopError(f"{n_clicks - len(places)} clicks were not taken within {PATIENCE_S:.0f} s")
            for connection in ready:
                places |= by_socket[connection].receive()
        now_s = time.monotonic()
        while number < n_clicks and due_s[number] <= now_s:
            awake[number] = now_s
            lines[clicks[number].partition].waiting.append(number)
            number += 1
        for line in by_socket.values():
            if line.waiting and not line.on_its_way:
                numbers = list(line.waiting)
                line.send(clicks)
                sent[numbers] = time.monotonic()
    cpu_s = time.process_time() - cpu_s
    partition, offset = np.array([places[n] for n in range(n_clicks)], dtype=np.int64).reshape(-1, 2).T
    return {
        "partition": partition,
        "offset": offset,
        "due": due,
        "awake": awake,
        "sent": sent,
        "cpu_s": cpu_s,
    }


async def leaders_of(servers: str, topic: str) -> dict[int, tuple[str, int]]:
    """Host and port of each partition's leader."""
    producer = AIOKafkaProducer(bootstrap_servers=servers)
    await producer.start()
    try:
        partitions = await producer.partitions_for(topic)
        cluster = producer.client.cluster
        leaders = {
            n: cluster.broker_metadata(cluster.leader_for_partition(TopicPartition(topic, n)))
            for n in sorted(partitions)
        }
    finally:
        await producer.stop()
    return {n: (leader.host, leader.port) for n, leader in leaders.items()}


def main() -> None:
    """Run the process."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--servers", required=True)
    flags.add_argument("--topic", required=True)
    flags.add_argument("--rate", type=float, required=True)
    flags.add_argument("--clicks", type=Path, required=True, help="MessagePack: pairs of session and item")
    flags.add_argument("--output", type=Path, required=True, help="NumPy arrays")
    asked = flags.parse_args()
    pairs = msgspec.msgpack.decode(asked.clicks.read_bytes(), type=list[tuple[str, str]])
    leaders = asyncio.run(leaders_of(asked.servers, asked.topic))
    partitions, choose = list(leaders), DefaultPartitioner()
    clicks = [
        Click(session_id, item_id, choose(session_id.encode(), partitions, partitions))
        for session_id, item_id in pairs
    ]
    by_address: dict[tuple[str, int], Line] = {}
    for address in leaders.values():
        if address not in by_address:
            connection = socket.create_connection(address, PATIENCE_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            by_address[address] = Line(asked.topic, connection)
    lines = {n: by_address[address] for n, address in leaders.items()}
    np.savez(asked.output, **send_all(lines, clicks, asked.rate))


if __name__ == "__main__":
    main()
