"""A request that was written to a server is repeated only where HTTP allows it (RFC 9110 §9.2.2)."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

import pytest

from fakes.gateway import Front, front
from fakes.wire import LAST_CHUNK, SSE_HEAD, Script, Served, always, chunk, ok
from hotseat.core.errors import Reason
from hotseat.gateway.http import upstream
from hotseat.gateway.http.upstream import UpstreamConnection

pytestmark = pytest.mark.anyio

PLAIN = b'{"model":"chat"}'
PATH = "/chat/v1/completions"
LARGE = b'{"model":"chat","prompt":"' + b"x" * 8_000_000 + b'"}'


def reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def good_until_released(*, rst: bool = False) -> Script:
    """Answer every request until ``release`` is set; from then on close once one has been read."""

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not served.release.is_set():
            await served.take(reader)
            if not served.release.is_set():
                writer.write(ok(b"{}"))
        if rst:
            reset(writer)

    return script


def good_once(*, rst: bool) -> Script:
    """Answer one request, and close at the first byte of the next."""

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(ok(b"{}"))
        await reader.readexactly(1)
        if rst:
            reset(writer)

    return script


async def streams_once(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Stream one response, and close at the first byte of the next request, as llama.cpp's server may."""
    await served.take(reader)
    writer.write(SSE_HEAD + chunk(b"data: [DONE]\n\n") + LAST_CHUNK)
    await reader.readexactly(1)


async def test_a_request_right_after_a_stream_does_not_meet_the_end_of_its_connection() -> None:
    async with Served(streams_once) as server, front(ready={"chat": server.port}) as gate:
        for _ in range(3):
            answer = await gate.ask(PATH, b'{"model":"chat","stream":true}')
            assert (answer.status, answer.body.endswith(b"data: [DONE]\n\n")) == (200, True)
        assert (len(server.requests), server.connections) == (3, 3)


async def fill_pool(gate: Front, server: Served, count: int) -> None:
    """Leave so many idle connections to the server behind."""
    wires = [await gate.open() for _ in range(count)]
    for wire in wires:
        await wire.ask(PATH, PLAIN)
    for wire in wires:
        assert (await wire.answer()).status == 200
        wire.close()
    server.requests.clear()


@pytest.mark.parametrize("idle", [1, 2, 6, 12, 50])
@pytest.mark.parametrize("rst", [False, True], ids=["fin", "rst"])
async def test_a_post_that_its_server_closed_on_ran_once_however_many_connections_were_idle(
    idle: int, rst: bool
) -> None:
    async with Served(good_until_released(rst=rst)) as server, front(ready={"chat": server.port}) as gate:
        await fill_pool(gate, server, idle)
        server.release.set()
        answer = await gate.ask(PATH, PLAIN)
        assert answer.status == 502
        assert answer.get("x-should-retry") is None  # the client decides: it may have been carried out
        assert "closed the connection" in json.loads(answer.body)["error"]["message"]
        assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_is_not_idempotent_runs_once(method: str) -> None:
    async with Served(good_until_released()) as server, front(ready={"chat": server.port}) as gate:
        await fill_pool(gate, server, 3)
        server.release.set()
        assert (await gate.ask(PATH, PLAIN, method=method)).status == 502
        assert len(server.requests) == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_what_is_idempotent_is_sent_once_more_on_a_new_connection(method: str) -> None:
    async with Served(good_until_released()) as server, front(ready={"chat": server.port}) as gate:
        await fill_pool(gate, server, 6)
        server.release.set()
        body = PLAIN if method == "PUT" else None
        assert (await gate.ask(PATH, body, method=method)).status == 502
        assert len(server.requests) <= 2
        assert server.connections == 7


async def test_an_idempotent_request_outlives_one_close_in_silence() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(ok(b"{}"))
        await served.take(reader)  # the second request on this connection dies unanswered
        if served.connections > 1:
            writer.write(ok(b"{}"))

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        for _ in range(2):
            assert (await gate.ask("/chat/v1/models")).status == 200
        assert server.connections == 2


@pytest.mark.parametrize("rst", [False, True], ids=["fin", "rst"])
async def test_a_large_body_half_written_is_not_written_again(rst: bool) -> None:
    async with Served(good_once(rst=rst)) as server, front(ready={"chat": server.port}) as gate:
        await fill_pool(gate, server, 6)
        assert (await gate.ask(PATH, LARGE)).status == 502
        assert server.connections == 6


async def test_a_post_that_kills_its_server_is_not_given_to_the_next_run() -> None:
    async with (
        Served(good_until_released()) as first,
        Served(always(ok(b"{}"))) as second,
        front(ready={"chat": first.port}) as gate,
    ):
        await fill_pool(gate, first, 6)
        asked = len(gate.seats.tickets)
        first.release.set()
        async with await gate.open() as wire:
            await wire.ask(PATH, PLAIN)
            await first.until(lambda s: len(s.requests) == 1)
            lease = gate.seats.tickets[-1].lease
            assert lease is not None
            gate.seats.ready("chat", second.port, run=2)
            lease.break_it(Reason(summary="killed by SIGSEGV"))
            answer = await wire.answer()
        assert answer.status == 502
        assert "killed by SIGSEGV" in json.loads(answer.body)["error"]["message"]
        assert (len(first.requests), len(second.requests), len(gate.seats.tickets)) == (1, 0, asked + 1)


async def test_a_connection_that_closed_at_rest_is_told_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop has not noticed the close yet: the socket itself is asked."""

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(ok(b"{}"))
        if served.connections == 1:
            return
        await served.take(reader)

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        taken: list[bool] = []
        reusable = UpstreamConnection.is_reusable

        def recorded(connection: UpstreamConnection, now: float) -> bool:
            taken.append(reusable(connection, now))
            return taken[-1]

        monkeypatch.setattr(UpstreamConnection, "is_reusable", recorded)
        monkeypatch.setattr(UpstreamConnection, "eof_received", lambda _: True, raising=False)  # deaf to EOF
        monkeypatch.setattr(UpstreamConnection, "connection_lost", lambda *_: None)
        assert (await gate.ask(PATH, PLAIN)).status == 200
        await server.until(lambda s: s.closed == 1)
        assert (await gate.ask(PATH, PLAIN)).status == 200
        assert taken == [False]
        assert server.connections == 2


@pytest.mark.parametrize(
    ("said", "kept_s"),
    [
        (b"timeout=5, max=100", 4.0),
        (b"timeout=3", 2.0),
        (b"max=100, Timeout = 2", 1.0),
        (b"timeout=0", -1.0),
        (b"timeout=600", 4.0),
        (b"max=7", 4.0),
    ],
)
async def test_a_connection_is_not_reused_when_its_server_is_about_to_close_it(
    said: bytes, kept_s: float
) -> None:
    answer = ok(b"{}", extra=b"keep-alive: %b\r\n" % said)
    async with Served(always(answer)) as server, front(ready={"chat": server.port}) as gate:
        for _ in range(2):
            assert (await gate.ask(PATH, PLAIN)).status == 200
        pool = gate.gateway.services.upstreams.pool(gate.seats.upstreams["chat"])
        assert pool.max_idle_s == kept_s
        assert server.connections == (2 if kept_s < 0 else 1)
        assert kept_s <= upstream.MAX_IDLE_S < 5.0  # uvicorn, llama.cpp and Node close after five seconds


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_server_that_closes_after_each_answer_gets_each_post_once(version: bytes) -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(b"HTTP/%b 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}" % version)

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        for _ in range(5):
            assert (await gate.ask(PATH, PLAIN)).status == 200
        assert (len(server.requests), server.connections) == (5, 5)
