"""Clients that wait for a model, and clients that go."""

from __future__ import annotations

import asyncio
import json

import pytest

from fakes.gateway import Front, front, settings
from fakes.wire import LAST_CHUNK, PATIENCE_S, SSE_HEAD, Served, Wire, always, chunk, ok, once
from hotseat.core.errors import Code, Refusal
from hotseat.core.states import State
from hotseat.core.views import Loading
from hotseat.gateway.http.upstream import UpstreamConnection
from hotseat.gateway.proxy.waiting import comment

pytestmark = pytest.mark.anyio

STREAM = b'{"model":"chat","stream":true}'
PLAIN = b'{"model":"chat"}'
AT_ONCE = settings(hold_headers_s=0.0)
STYLES = [
    pytest.param("/chat/v1/chat/completions", False, id="openai"),
    pytest.param("/chat/v1/messages", True, id="anthropic"),
]


async def waits(gate: Front, count: int = 1) -> None:
    """Wait until so many requests wait for a seat."""
    async with asyncio.timeout(PATIENCE_S):
        while len(gate.seats.tickets) < count:
            gate.seats.asked.clear()
            await gate.seats.asked.wait()
        await gate.seats.tickets[count - 1].waiting.wait()


def grant(gate: Front, port: int) -> None:
    gate.seats.ready("chat", port)
    gate.seats.tickets[-1].grant()


async def early(gate: Front, wire: Wire, path: str) -> None:
    """Ask for a stream and read up to the first comment."""
    gate.seats.waiting_models.add("chat")
    await wire.ask(path, STREAM)
    head = await wire.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"content-type: text/event-stream" in head
    told = await wire.until(b"\n\n\r\n")
    assert b": hotseat chat: starting, loading weights, 12 s (about 30 s left)\n\n" in told


async def test_a_plain_request_is_held_until_the_model_is_ready() -> None:
    async with Served(always(ok(b"{}"))) as server, front(AT_ONCE) as gate, await gate.open() as wire:
        gate.seats.waiting_models.add("chat")
        await wire.ask("/chat/v1/completions", PLAIN)
        await waits(gate)
        grant(gate, server.port)
        assert (await wire.answer()).body == b"{}"
        await gate.ticket_closed()


async def test_many_wait_and_each_gets_its_answer() -> None:
    async with Served(always(ok(b"{}"))) as server, front() as gate:
        gate.seats.waiting_models.add("chat")
        wires = [await gate.open() for _ in range(20)]
        for wire in wires:
            await wire.ask("/chat/v1/completions", PLAIN)
        await waits(gate, 20)
        gate.seats.ready("chat", server.port)
        for ticket in gate.seats.tickets:
            ticket.grant()
        assert [(await wire.answer()).status for wire in wires] == [200] * 20
        for wire in wires:
            wire.close()


async def test_a_short_wait_shows_no_early_headers() -> None:
    refusal = Refusal(code=Code.MODEL_FAILED, message="no", model="chat", should_retry=False)
    async with front(settings(hold_headers_s=60.0)) as gate, await gate.open() as wire:
        gate.seats.waiting_models.add("chat")
        await wire.ask("/chat/v1/completions", STREAM)
        await waits(gate)
        gate.seats.tickets[0].refuse(refusal)
        assert (await wire.answer()).status == 400


@pytest.mark.parametrize(("path", "anthropic"), STYLES)
async def test_a_stream_is_told_how_far_the_model_is(path: str, anthropic: bool) -> None:
    response = SSE_HEAD + chunk(b"data: 1\n\n") + LAST_CHUNK
    async with Served(once(response)) as server, front(AT_ONCE, comment_every_s=0.001) as gate:
        async with await gate.open() as wire:
            await early(gate, wire, path)
            gate.seats.loading = Loading(model="chat", state=State.STARTING, phase="compiling", elapsed_s=20)
            await wire.until(b": hotseat chat: starting, compiling, 20 s\n\n")
            grant(gate, server.port)
            rest = await wire.until(LAST_CHUNK)
            assert b"data: 1\n\n" in rest
            assert b"HTTP/1.1" not in rest
        await gate.ticket_closed()


@pytest.mark.parametrize(("path", "anthropic"), STYLES)
async def test_a_refusal_after_early_headers_is_an_event(path: str, anthropic: bool) -> None:
    async with front(AT_ONCE) as gate, await gate.open() as wire:
        await early(gate, wire, path)
        gate.seats.tickets[0].refuse(Refusal(code=Code.START_TIMEOUT, message="too long", model="chat"))
        rest = await wire.until(LAST_CHUNK)
        assert (b"event: error\ndata: " if anthropic else b'data: {"error"') in rest
        assert b'"too long"' in rest
        assert b'"loading":{"model":"chat"' in rest
        await gate.ticket_closed()


@pytest.mark.parametrize(("path", "anthropic"), STYLES)
@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            b'{"error":{"message":"too long a prompt","type":"BadRequestError","code":400}}',
            "too long a prompt",
        ),
        (b'{"error":"Unauthorized"}', "Unauthorized"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b"<html>no</html>", "<html>no</html>"),
        (b"", "the model's server answered 400"),
        (b"[" * 100_000, "the model's server answered 400"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
    ids=["object", "string", "detail", "html", "empty", "deep", "binary"],
)
async def test_the_servers_own_error_after_early_headers_is_an_event(
    path: str, anthropic: bool, body: bytes, words: str
) -> None:
    response = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    async with Served(once(response)) as server, front(AT_ONCE) as gate, await gate.open() as wire:
        await early(gate, wire, path)
        grant(gate, server.port)
        rest = await wire.until(LAST_CHUNK)
        data = json.loads(rest[rest.index(b"data: ") + 6 :].split(b"\n", 1)[0])
        assert data["error"]["status"] == 400
        if not body.startswith(b"["):
            assert data["error"]["message"] == words


async def test_a_plain_answer_to_a_stream_that_waited_is_an_error_event() -> None:
    async with (
        Served(once(ok(b'{"choices":[]}'))) as server,
        front(AT_ONCE) as gate,
        await gate.open() as wire,
    ):
        await early(gate, wire, "/chat/v1/chat/completions")
        grant(gate, server.port)
        assert b'"status":200' in await wire.until(LAST_CHUNK)


async def test_a_server_that_dies_after_early_headers() -> None:
    async with Served(once(b"")) as server, front(AT_ONCE) as gate, await gate.open() as wire:
        await early(gate, wire, "/chat/v1/chat/completions")
        grant(gate, server.port)
        assert b'data: {"error":{"message":"model chat: its server closed' in await wire.until(LAST_CHUNK)


# Clients that go


@pytest.mark.parametrize("body", [PLAIN, STREAM])
async def test_a_client_that_goes_while_it_waits_leaves_the_queue(body: bytes) -> None:
    async with front(AT_ONCE) as gate:
        async with await gate.open() as wire:
            gate.seats.waiting_models.add("chat")
            await wire.ask("/chat/v1/completions", body)
            await waits(gate)
        await gate.ticket_closed()
        assert gate.failed == ["gone"]


async def test_a_client_that_goes_in_its_body_asks_for_nothing() -> None:
    async with front() as gate:
        async with await gate.open() as wire:
            await wire.send(b"POST /chat/v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        await gate.deserted()
        assert gate.seats.tickets == []


@pytest.mark.parametrize("started", [False, True], ids=["before-the-answer", "in-the-stream"])
async def test_the_server_sees_at_once_that_the_client_has_gone(started: bool) -> None:
    seen = asyncio.Event()

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        if started:
            writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        assert await reader.read() == b""
        seen.set()

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.ask("/chat/v1/completions", STREAM)
            await server.until(lambda s: len(s.requests) == 1)
            if started:
                await wire.until(b"data: 1\n\n")
        async with asyncio.timeout(PATIENCE_S):
            await seen.wait()
        await gate.ticket_closed()
        assert gate.failed == ["gone"]


async def test_a_slow_client_makes_the_server_wait() -> None:
    piece = chunk(b"x" * 65536)
    written = 0
    blocked = asyncio.Event()

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await served.take(reader)
        writer.write(SSE_HEAD)
        while True:
            writer.write(piece)
            try:
                async with asyncio.timeout(1.0):
                    await writer.drain()
            except TimeoutError:
                break
            written += 1
            assert written < 2000, "128 MiB went somewhere while nobody read"
        blocked.set()
        await writer.drain()  # goes on when the client reads
        writer.write(LAST_CHUNK)
        await writer.drain()

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.ask("/chat/v1/completions", STREAM)
            async with asyncio.timeout(PATIENCE_S):
                await blocked.wait()
            [client] = [c.active for c in gate.server.connections]
            assert client is not None
            assert client.is_slow
            assert client.transport.get_write_buffer_size() < 1_000_000
            assert isinstance(client.source, UpstreamConnection)
            assert client.source.reading_paused
            answer = await wire.answer()
        assert answer.whole
        assert len(answer.body) == (written + 1) * 65536
        await gate.ticket_closed()


async def test_the_lease_is_held_until_a_slow_client_has_the_last_byte() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await served.release.wait()
        writer.write(LAST_CHUNK)
        await writer.drain()

    async with (
        Served(script) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        await wire.ask("/chat/v1/completions", STREAM)
        await wire.until(b"data: 1\n\n")
        [client] = [c.active for c in gate.server.connections]
        assert client is not None
        client.flow.pause_writing()  # as the transport does when the client does not read
        server.release.set()
        await wire.until(LAST_CHUNK)
        await server.until(lambda s: s.closed == 1)
        assert gate.seats.open == 1
        client.flow.resume_writing()
        await gate.ticket_closed()


def test_the_words_of_a_comment() -> None:
    queued = Loading(model="m", state=State.STOPPED, phase="queued", elapsed_s=0.4)
    assert comment("site", queued) == b": hotseat site: stopped, queued, 0 s\n\n"
    odd = Loading(model="m", state=State.STARTING, phase="two\nlines\r\ndata: x", elapsed_s=1.6, eta_s=-3.0)
    assert comment("site", odd) == b": hotseat site: starting, two lines data: x, 2 s (about 0 s left)\n\n"
    same = Loading(model="m", state=State.STARTING, phase="starting", elapsed_s=2.0, eta_s=9.6)
    assert comment("site", same) == b": hotseat site: starting, 2 s (about 10 s left)\n\n"
