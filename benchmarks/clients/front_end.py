"""Reads the recommendations as a front end would, and notes when the answer to each click has come."""

import argparse
import asyncio
import signal
import time
from pathlib import Path

import msgspec
import numpy as np
from aiokafka import AIOKafkaConsumer, TopicPartition


class _Place(msgspec.Struct):
    partition: int
    offset: int


class _Answer(msgspec.Struct):
    click: _Place


_decode = msgspec.json.Decoder(_Answer).decode


async def listen(servers: str, topic: str, n_partitions: int, ready: Path, copies: bool) -> np.ndarray:
    """Read from the end of now until SIGTERM; gives partition, offset and time of each answer, as rows.

    Copies that a forwarding agent made stand where the clicks stand, and need not be looked into.
    """
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    await consumer.start()
    found: list[tuple[int, int, float]] = []
    try:
        partitions = [TopicPartition(topic, n) for n in range(n_partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        for partition in partitions:
            await consumer.position(partition)
        ready.touch()
        while not stop.is_set():
            fetched = await consumer.getmany(timeout_ms=200)
            now = time.monotonic()
            for records in fetched.values():
                for record in records:
                    click = record if copies else _decode(record.value).click
                    found.append((click.partition, click.offset, now))
    finally:
        await consumer.stop()
    return np.array(found, dtype=np.float64).reshape(-1, 3)


def main() -> None:
    """Run the process."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--servers", required=True)
    flags.add_argument("--topic", required=True)
    flags.add_argument("--partitions", type=int, required=True)
    flags.add_argument("--output", type=Path, required=True, help="a NumPy array")
    flags.add_argument("--copies", action="store_true", help="the records are the clicks themselves")
    asked = flags.parse_args()
    ready = asked.output.with_suffix(".ready")
    heard = listen(asked.servers, asked.topic, asked.partitions, ready, asked.copies)
    np.save(asked.output, asyncio.run(heard))


if __name__ == "__main__":
    main()
