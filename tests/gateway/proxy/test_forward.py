"""Requests and responses on their way through, on real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import cast

import pytest

from fakes.gateway import front, model, settings
from fakes.wire import LAST_CHUNK, PATIENCE_S, SSE_HEAD, Served, always, chunk, ok, once

pytestmark = pytest.mark.anyio

CHAT = b'{ "model":"chat",  "messages": [] }'


async def test_the_body_passes_byte_identical_and_the_answer_comes_back() -> None:
    async with (
        Served(always(ok(b'{"x": 1}', extra=b"openai-version: yes\r\n"))) as server,
        front(ready={"chat": server.port}) as gate,
    ):
        answer = await gate.ask("/chat/v1/chat/completions?a=%2F..&b", CHAT)
        assert (answer.status, answer.body, answer.get("openai-version")) == (200, b'{"x": 1}', "yes")
        [request] = server.requests
        assert request.first == b"POST /v1/chat/completions?a=%2F..&b HTTP/1.1"
        assert request.body == CHAT
        assert request.get("host") == f"127.0.0.1:{server.port}"
        await gate.ticket_closed()
        lease = gate.seats.tickets[0].lease
        assert lease is not None
        assert not lease.is_watched


async def test_credentials_cookies_and_hop_by_hop_fields_do_not_pass() -> None:
    config = settings(model("chat", upstream_key="inner-key"))
    headers = (
        ("Content-Type", "application/json"),
        ("Authorization", "Bearer client-key"),
        ("X-API-Key", "client-key"),
        ("X-API-Secret", "second"),
        ("Cookie", "a=b"),
        ("Proxy-Authorization", "Basic x"),
        ("Connection", "keep-alive, X-Private"),
        ("X-Private", "1"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Origin", "http://localhost"),
        ("X-Request-ID", "abc"),
        ("traceparent", "00-1-2-03"),
    )
    noisy = b"connection: X-Inner\r\nkeep-alive: x\r\nset-cookie: a=b\r\naccess-control-allow-origin: *\r\n"
    async with (
        Served(always(ok(b"{}", extra=noisy + b"x-ratelimit-limit: 1\r\n"))) as server,
        front(config, ready={"chat": server.port}) as gate,
    ):
        answer = await gate.ask("/chat/v1/embeddings", CHAT, headers=headers)
        [request] = server.requests
        assert request.names == {
            "host", "content-type", "content-length", "authorization", "x-request-id", "traceparent",
        }  # fmt: skip
        assert request.get("authorization") == "Bearer inner-key"
        assert answer.names == {
            "content-type",
            "content-length",
            "x-ratelimit-limit",
            "x-request-id",
        }


async def test_connections_to_the_server_are_reused_and_dropped_with_the_run() -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        for _ in range(3):
            await gate.ask("/chat/v1/completions", CHAT)
        assert server.connections == 1
        gate.gateway.run_ended("chat", 7)  # another run: nothing happens
        await gate.ask("/chat/v1/completions", CHAT)
        assert server.connections == 1
        gate.gateway.run_ended("chat", 1)
        await server.until(lambda s: s.closed == 1)
        gate.seats.ready("chat", server.port, run=2)
        await gate.ask("/chat/v1/completions", CHAT)
        gate.seats.ready("chat", server.port, run=3)
        await gate.ask("/chat/v1/completions", CHAT)
        assert server.connections == 3
        await server.until(lambda s: s.closed == 2)


async def test_one_client_connection_serves_many_requests() -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            for _ in range(5):
                await wire.ask("/chat/v1/completions", CHAT)
                assert (await wire.answer()).status == 200
        assert gate.seats.open == 0


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            one = b"GET /v1/models/%b HTTP/1.1\r\nHost: localhost\r\n\r\n"
            slow = b"POST /chat/v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
            await wire.send(slow + one % b"chat" + slow + one % b"coder")
            answers = [await wire.answer() for _ in range(4)]
        assert [answer.status for answer in answers] == [200] * 4
        assert [json.loads(answer.body).get("id") for answer in answers] == [None, "chat", None, "coder"]


@pytest.mark.parametrize("cut", [1, 3, 7, 1000])
async def test_a_response_in_pieces_of_any_size(cut: int) -> None:
    whole = SSE_HEAD + chunk(b"data: 1\n\n") + b"5;ext=1\r\nhello\r\n" + b"0\r\nX-Trailer: 1\r\n\r\n"
    pieces = [whole[at : at + cut] for at in range(0, len(whole), cut)]
    async with Served(once(*pieces)) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask("/chat/v1/completions", b'{"stream":true}')
        assert (answer.status, answer.body, answer.whole) == (200, b"data: 1\n\nhello", True)
        assert "x-trailer" not in answer.names


async def test_a_response_without_a_length_ends_with_its_connection() -> None:
    async with (
        Served(once(b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo")) as server,
        front(ready={"chat": server.port}) as gate,
    ):
        answer = await gate.ask("/chat/v1/completions", CHAT)
        assert (answer.body, answer.whole, answer.get("transfer-encoding")) == (b"hello", True, "chunked")


async def test_http_1_0_clients_get_no_chunks() -> None:
    response = SSE_HEAD + chunk(b"one") + chunk(b"two") + LAST_CHUNK
    async with Served(once(response)) as server, front(ready={"chat": server.port}) as gate:
        told = await gate.raw(b"GET /chat/v1/x HTTP/1.0\r\n\r\n")
        head, _, body = told.partition(b"\r\n\r\n")
        assert body == b"onetwo"
        assert b"connection: close" in head
        assert b"transfer-encoding" not in head


@pytest.mark.parametrize(
    ("method", "response", "status"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", 200),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n", 304),
    ],
)
async def test_responses_without_a_body(method: str, response: bytes, status: int) -> None:
    async with (
        Served(always(response)) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        for _ in range(2):  # the connection is still in step afterwards
            await wire.ask("/chat/v1/x", method=method)
            assert (await wire.answer(no_body=method == "HEAD")).status == status


async def test_informational_responses_are_skipped() -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with Served(always(early + ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask("/chat/v1/completions", CHAT)
        assert (answer.status, "link" in answer.names) == (200, False)
        assert (await gate.ask("/chat/v1/completions", CHAT)).status == 200
        assert server.connections == 1


async def test_expect_100_continue_is_answered_by_us_and_not_passed() -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.send(
                b"POST /chat/v1/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n"
            )
            assert await wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            await wire.send(b"{}")
            assert (await wire.answer()).status == 200
        assert "expect" not in server.requests[0].names


async def test_no_100_continue_for_what_is_refused() -> None:
    async with front() as gate, await gate.open() as wire:
        await wire.send(
            b"POST /nowhere HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        answer = await wire.answer()
        assert (answer.status, answer.get("connection")) == (404, "close")


async def test_a_chunked_request_body_and_its_trailers() -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.send(
                b"POST /chat/v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"1\r\n{\r\n1\r\n}\r\n0\r\nAuthorization: Bearer late\r\nX-Late: 1\r\n\r\n"
            )
            assert (await wire.answer()).status == 200
        [request] = server.requests
        assert request.body == b"{}"
        assert not {"authorization", "x-late", "transfer-encoding"} & request.names


async def test_bytes_of_a_stream_come_as_they_are_sent() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await served.release.wait()
        writer.write(chunk(b"data: 2\n\n") + LAST_CHUNK)
        await writer.drain()

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.ask("/chat/v1/completions", b'{"stream":true}')
            await wire.until(b"data: 1\n\n")
            assert gate.seats.open == 1
            server.release.set()
            await wire.until(b"data: 2\n\n")
            await wire.until(LAST_CHUNK)
        await gate.ticket_closed()


async def test_a_prefix_of_the_upstream_is_put_before_the_path() -> None:
    async with Served(always(ok(b"{}"))) as server, front() as gate:
        gate.seats.ready("chat", server.port, base_path="/behind/it")
        await gate.ask("/chat/v1/completions?q=1", b"{}")
        assert server.requests[0].first == b"POST /behind/it/v1/completions?q=1 HTTP/1.1"


async def test_an_upgrade_that_nobody_wants_keeps_its_body() -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            for _ in range(2):
                await wire.send(
                    b"POST /chat/v1/completions HTTP/1.1\r\nHost: x\r\n"
                    b"Connection: Upgrade, HTTP2-Settings\r\n"
                    b"Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nContent-Length: 11\r\n\r\n"
                    b'{"n":'
                )
                await wire.send(b'"GET"}')
                assert (await wire.answer()).status == 200
        assert [request.body for request in server.requests] == [b'{"n":"GET"}'] * 2
        assert not {"upgrade", "http2-settings"} & server.requests[0].names


async def test_websockets_are_refused_in_words() -> None:
    async with front() as gate:
        told = await gate.raw(
            b"GET /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n"
        )
        head, _, body = told.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 501 ")
        assert head.count(b"connection: close") == 1
        assert json.loads(body)["error"]["code"] == "websocket_not_supported"


async def test_a_client_that_is_slow_at_its_end_pauses_nobody_elses_answer() -> None:
    body = b"x" * 50_000
    async with (
        Served(always(ok(body))) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        await wire.ask("/chat/v1/completions", CHAT)
        assert (await wire.answer()).body == body
        (connection,) = gate.server.connections
        connection.transport.set_write_buffer_limits(high=0)
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        reading = cast(asyncio.Transport, wire.writer.transport)
        reading.pause_reading()
        await wire.ask("/chat/v1/completions", CHAT)
        async with asyncio.timeout(PATIENCE_S):
            while not connection.flow.write_paused:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert gate.gateway.idle_connections() == {"chat": 1}
        assert (await gate.ask("/chat/v1/completions", CHAT)).body == body  # on the same connection
        assert server.connections == 1
        reading.resume_reading()
        assert (await wire.answer()).body == body


async def test_a_client_that_goes_is_noticed_behind_a_large_body_too() -> None:
    async def silent(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        await served.release.wait()

    body = b'{"prompt":"%b"}' % (b"y" * 100_000)
    async with Served(silent) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.ask("/chat/v1/completions", body)
            await server.until(lambda served: len(served.requests) == 1)
        await gate.ticket_closed()
        assert gate.failed == ["gone"]
