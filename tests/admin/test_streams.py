"""Responses without an end: who reads slowly, who goes, and what is left then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import pytest

from fakes.clock import run_virtual
from hotseat.admin.streams import Chunks, OpenStreams
from hotseat.admin.watching import event_chunks
from hotseat.telemetry.event_stream import HELD, EventStream

SCOPE: dict[str, Any] = {"type": "http", "method": "GET"}


class Client:
    """One end of ASGI: takes what is sent at its own speed, and goes when it is told to."""

    def __init__(self, pace_s: float = 0.0) -> None:
        self.body = b""
        self.whole = False
        self._pace_s = pace_s
        self.gone = asyncio.Event()

    async def receive(self) -> MutableMapping[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        await asyncio.sleep(self._pace_s)
        self.body += message.get("body", b"")
        self.whole = message["type"] == "http.response.body" and not message["more_body"]


class Numbers:
    """Chunks for ever, and whether they were let go of."""

    def __init__(self) -> None:
        self.made = 0
        self.closed = False

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                await asyncio.sleep(1)
                self.made += 1
                yield b"%d " % self.made
        finally:
            self.closed = True


async def served(streams: OpenStreams, pieces: Chunks, client: Client, method: str = "GET") -> None:
    response = streams.response(pieces, "text/plain")
    async with asyncio.timeout(5000):  # of virtual time
        await response({**SCOPE, "method": method}, client.receive, client.send)


def test_it_ends_when_the_client_goes() -> None:
    async def story() -> None:
        streams, numbers, client = OpenStreams(), Numbers(), Client()
        asyncio.get_running_loop().call_later(3.5, client.gone.set)
        await served(streams, numbers.pieces(), client)
        assert (client.body, numbers.closed, len(streams)) == (b"1 2 3 ", True, 0)

    run_virtual(story())


def test_all_end_in_order_when_they_are_told_to() -> None:
    async def story() -> None:
        streams, numbers, client = OpenStreams(), Numbers(), Client()
        asyncio.get_running_loop().call_later(2.5, streams.close)
        await served(streams, numbers.pieces(), client)
        assert (client.body, client.whole, numbers.closed) == (b"1 2 ", True, True)
        late = Client()
        await served(streams, Numbers().pieces(), late)
        assert (late.body, late.whole) == (b"", True)

    run_virtual(story())


def test_a_client_that_takes_nothing_is_let_go_of_too() -> None:
    async def story() -> None:
        streams, numbers, stuck = OpenStreams(), Numbers(), Client(pace_s=1e9)
        asyncio.get_running_loop().call_later(5, stuck.gone.set)
        response = streams.response(numbers.pieces(), "text/plain")

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.body" and message["body"]:
                await stuck.send(message)

        await response(SCOPE, stuck.receive, send)
        assert (numbers.made, numbers.closed) == (1, True)

    run_virtual(story())


def test_head_has_no_stream() -> None:
    async def story() -> None:
        numbers, client = Numbers(), Client()
        await served(OpenStreams(), numbers.pieces(), client, "HEAD")
        assert (client.body, client.whole, numbers.made) == (b"", True, 0)

    run_virtual(story())


def test_what_breaks_inside_is_not_hidden() -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"x"
        raise LookupError("a bug")

    async def story() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            await served(OpenStreams(), pieces(), Client())
        assert raised.group_contains(LookupError)

    run_virtual(story())


def test_a_slow_reader_of_events_slows_nobody_and_holds_no_more_than_its_share() -> None:
    async def story() -> None:
        feed, streams = EventStream("b"), OpenStreams()
        slow, quick = Client(pace_s=100), Client()
        async with asyncio.TaskGroup() as group:
            for client in (slow, quick):
                group.create_task(served(streams, event_chunks(feed, None), client))
            await asyncio.sleep(150)
            began = asyncio.get_running_loop().time()
            for n in range(10 * HELD):
                feed.publish("move", {"n": n})
                await asyncio.sleep(0)
            assert asyncio.get_running_loop().time() == began  # nobody was waited for
            await asyncio.sleep(1)
            assert quick.body.count(b"event: move") == 10 * HELD
            assert b"dropped" not in quick.body
            await asyncio.sleep(1000)
            lost = 10 * HELD - slow.body.count(b"event: move")
            assert lost >= 9 * HELD - 1
            assert b'event: dropped\ndata: {"count":%d}\n\n' % lost in slow.body
            streams.close()
        assert len(feed) == 0

    run_virtual(story())


def test_events_that_do_not_come_are_made_up_for() -> None:
    async def story() -> None:
        feed, streams, client = EventStream("b"), OpenStreams(), Client()
        asyncio.get_running_loop().call_later(31, streams.close)
        await served(streams, event_chunks(feed, None), client)
        assert client.body == b"retry: 2000\n\n: still here\n\n: still here\n\n"

    run_virtual(story())
