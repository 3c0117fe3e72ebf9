"""ASGI applications behind the connection: what they send, and bugs that end as a 500 or a cut connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fakes.wire import Message, Wire
from hotseat.gateway.http.asgi import run_app
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.http.server import serve

pytestmark = pytest.mark.anyio

Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]


class Handler:
    """Has one ASGI application answer all requests."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def answer(self, client: RequestCycle) -> None:
        client.extra_headers = b"x-request-id: one\r\n"
        await run_app(self._app, client, {"role": "admin"})


def sends(*messages: dict[str, Any]) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return app


def start(status: int = 200, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


@asynccontextmanager
async def served(app: App) -> AsyncIterator[Wire]:
    """A client connected to a server of this application."""
    server = await serve(Handler(app))
    try:
        async with await Wire.open(server.addresses[0][1]) as wire:
            yield wire
    finally:
        await server.stop(0)


async def answer(app: App, method: str = "GET") -> Message:
    async with served(app) as wire:
        await wire.ask("/", method=method)
        return await wire.answer(no_body=method == "HEAD")


async def test_a_body_in_pieces_is_chunked_and_the_connection_is_kept() -> None:
    async with served(sends(start(200, (b"X-A", b"b")), body(b"one", more=True), body(b"two"))) as wire:
        for _ in range(2):
            await wire.ask("/")
            told = await wire.answer()
            assert (told.status, told.body, told.get("transfer-encoding")) == (200, b"onetwo", "chunked")
            assert (told.get("x-a"), told.get("x-request-id")) == ("b", "one")


async def test_the_head_is_sent_before_the_body_is_known() -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        await send(start())
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        assert await receive() == {"type": "http.disconnect"}

    async with served(app) as wire:
        await wire.ask("/")
        assert (await wire.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_length_is_kept_and_a_head_request_gets_no_body() -> None:
    app = sends(start(200, (b"content-length", b"3")), body(b"one"))
    assert (await answer(app)).body == b"one"
    told = await answer(app, "HEAD")
    assert (told.status, told.get("content-length")) == (200, "3")


async def test_a_body_is_received_with_100_continue_and_the_scope_says_what_was_asked() -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Send) -> None:
        received = b""
        while True:
            message = await receive()
            received += message["body"]
            if not message["more_body"]:
                break
        seen.append((scope["method"], scope["path"], scope["query_string"], scope["state"], received))
        await send(start(204))
        await send(body(b""))

    async with served(app) as wire:
        head = b"POST /a%20b?c=d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        await wire.send(head)
        await wire.until(b"HTTP/1.1 100 Continue\r\n\r\n")
        await wire.send(b"{}")
        assert (await wire.answer()).status == 204
    assert seen == [("POST", "/a%20b", b"c=d", {"role": "admin"}, b"{}")]


async def test_a_client_of_http_1_0_gets_no_chunks() -> None:
    async with served(sends(start(), body(b"one", more=True), body(b"two"))) as wire:
        await wire.send(b"GET / HTTP/1.0\r\n\r\n")
        told = await wire.at_end()
        assert told.endswith(b"connection: close\r\n\r\nonetwo")
        assert b"transfer-encoding" not in told


async def test_an_application_may_close_the_connection() -> None:
    async with served(sends(start(200, (b"Connection", b"close")), body(b"x"))) as wire:
        await wire.ask("/")
        told = await wire.answer()
        assert (told.get("connection"), told.body) == ("close", b"x")
        assert await wire.at_end() == b""


@pytest.mark.parametrize(
    "app",
    [
        sends(body(b"too early")),
        sends(),
        sends(start(200, (b"bad name", b"x"))),
        sends(start(200, (b"x-a", b"b\r\nx-injected: c"))),
    ],
    ids=["body-first", "nothing", "name", "injection"],
)
async def test_a_response_that_cannot_begin_is_a_500(app: App) -> None:
    told = await answer(app)
    assert told.status == 500
    assert told.get("x-injected") is None


@pytest.mark.parametrize(
    "app",
    [
        sends(start(), body(b"x", more=True), start()),
        sends(start(), body(b"x", more=True)),
        sends(start(200, (b"content-length", b"3")), body(b"xx")),
        sends(start(200, (b"content-length", b"3")), body(b"x", more=True), body(b"xxx")),
    ],
    ids=["two-starts", "no-end", "short", "long"],
)
async def test_a_response_that_goes_wrong_is_cut(app: App) -> None:
    assert not (await answer(app)).whole


async def test_nothing_follows_a_204() -> None:
    async with served(sends(start(204), body(b"x"))) as wire:
        await wire.ask("/")
        assert (await wire.at_end()).endswith(b"\r\n\r\n")


async def test_messages_after_the_end_are_refused() -> None:
    raised: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def app(scope: Any, receive: Any, send: Send) -> None:
        await send(start())
        await send(body(b"x"))
        try:
            await send(body(b"y"))
        except RuntimeError as error:
            raised.set_result(str(error))

    assert (await answer(app)).body == b"x"
    assert await raised == "unexpected ASGI message 'http.response.body': the response is complete"


async def test_a_late_receiver_takes_nothing_of_the_next_request() -> None:
    """An application may still wait for the client's disconnect when the next request comes."""
    waiting: list[asyncio.Task[Any]] = []

    async def app(scope: Any, receive: Any, send: Send) -> None:
        asked = await receive()
        await send(start())
        waiting.append(asyncio.get_running_loop().create_task(receive()))
        await asyncio.sleep(0)
        await send(body(asked["body"]))

    async with served(app) as wire:
        for n in range(4):  # at once: the second request is there when the first one's response ends
            await wire.ask("/", b"%d" % n)
        for n in range(4):
            async with asyncio.timeout(10):
                assert (await wire.answer()).body == b"%d" % n
    assert [one["type"] for one in await asyncio.gather(*waiting)] == ["http.disconnect"] * 4
