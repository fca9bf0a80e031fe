"""Fetches that wait while a small batch is under way, and begin when they are let go."""

import asyncio
from typing import Any

import pytest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.group import HeartbeatRequest

from streams import fetching
from streams.fetching import FetchingThread

FETCH = FetchRequest(100, 1, 100, 0, [])
HEARTBEAT = HeartbeatRequest("group", 1, "member")


class Client:
    """Stands for aiokafka's client: notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send(self, node_id: int, request: Any) -> None:
        self.sent.append(request)


def make_thread(client: Client) -> FetchingThread:
    """A thread that was not started: the test's loop stands for its own."""
    thread = object.__new__(FetchingThread)
    thread._holds, thread._held = False, None
    thread.thread_loop = asyncio.get_running_loop()
    thread._hold_fetches_of(client)
    return thread


def test_fetches_of_all_brokers_wait_until_they_are_let_go_and_nothing_else_does() -> None:
    async def run() -> None:
        client = Client()
        thread = make_thread(client)
        await client.send(1, FETCH)
        thread.hold()
        held = [asyncio.ensure_future(client.send(broker, FETCH)) for broker in (1, 2, 3)]
        await client.send(1, HEARTBEAT)
        await asyncio.sleep(0.02)
        assert client.sent == [FETCH, HEARTBEAT]
        thread.let_go()
        await asyncio.wait_for(asyncio.gather(*held), 0.5)
        assert client.sent == [FETCH, HEARTBEAT, FETCH, FETCH, FETCH]
        await client.send(1, FETCH)  # not held any more

    asyncio.run(run())


def test_a_fetch_that_nobody_lets_go_goes_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "HOLD_AT_MOST_S", 0.02)

    async def run() -> None:
        client = Client()
        make_thread(client).hold()
        await asyncio.wait_for(client.send(1, FETCH), 1)
        assert client.sent == [FETCH]

    asyncio.run(run())


def test_letting_go_after_the_thread_has_ended_does_no_harm() -> None:
    async def hold() -> FetchingThread:
        client = Client()
        thread = make_thread(client)
        thread.hold()
        fetch = asyncio.ensure_future(client.send(1, FETCH))
        await asyncio.sleep(0.01)
        fetch.cancel()
        return thread

    asyncio.run(hold()).let_go()
