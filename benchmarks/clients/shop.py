"""Sends clicks on a schedule that waits for nobody, and notes when each was due and where it came to stand.

Click i is due i / rate seconds after the start, whether or not those before it have been taken (no
coordinated omission: a stall is seen by every click that falls into it). Times are of the system's monotonic
clock, which all processes of the machine share.
"""

import argparse
import asyncio
import selectors
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from aiokafka import AIOKafkaProducer

_encode = msgspec.json.Encoder().encode


async def send_all(servers: str, topic: str, clicks: list[tuple[str, str]], rate: float) -> dict[str, Any]:
    """Send them; gives the place of each, when it was due, begun and sent in seconds, and the CPU it took."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, linger_ms=0, acks="all", enable_idempotence=True)
    await producer.start()
    due, awake, sent = (np.zeros(len(clicks)) for _ in range(3))
    futures = []
    try:
        await producer.partitions_for(topic)
        cpu_s = time.process_time()
        began = time.monotonic() + 0.2
        for number, (session_id, item_id) in enumerate(clicks):
            due[number] = began + number / rate
            if (wait_s := due[number] - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            awake[number] = time.monotonic()
            click = {
                "session_id": session_id,
                "item_id": item_id,
                "timestamp_ms": time.time_ns() // 1_000_000,
            }
            futures.append(await producer.send(topic, key=session_id.encode(), value=_encode(click)))
            sent[number] = time.monotonic()
        await asyncio.wait(futures)
        cpu_s = time.process_time() - cpu_s
        places = [(found.partition, found.offset) for found in await asyncio.gather(*futures)]
    finally:
        await producer.stop()
    partition, offset = np.array(places, dtype=np.int64).reshape(-1, 2).T
    return {
        "partition": partition,
        "offset": offset,
        "due": due,
        "awake": awake,
        "sent": sent,
        "cpu_s": cpu_s,
    }


def main() -> None:
    """Run the process."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--servers", required=True)
    flags.add_argument("--topic", required=True)
    flags.add_argument("--rate", type=float, required=True)
    flags.add_argument("--clicks", type=Path, required=True, help="MessagePack: pairs of session and item")
    flags.add_argument("--output", type=Path, required=True, help="NumPy arrays")
    asked = flags.parse_args()
    clicks = msgspec.msgpack.decode(asked.clicks.read_bytes(), type=list[tuple[str, str]])
    # epoll wakes at whole milliseconds only; select has no such grain.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    found = loop.run_until_complete(send_all(asked.servers, asked.topic, clicks, asked.rate))
    np.savez(asked.output, **found)


if __name__ == "__main__":
    main()
