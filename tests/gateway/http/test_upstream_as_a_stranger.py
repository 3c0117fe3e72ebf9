"""A model's server may send anything: clients get a clear error, others do not wait, nothing grows."""

from __future__ import annotations

import asyncio
import json
import tracemalloc

import pytest

from fakes.gateway import front
from fakes.wire import LAST_CHUNK, SSE_HEAD, Served, always, chunk, ok, once, read_message

pytestmark = pytest.mark.anyio

CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
BODY = b'{"model":"chat"}'


@pytest.mark.parametrize(
    "endless",
    [b"2\r\n{}\r\n0\r\nX: ", b"2\r\n{}\r\n0\r\n", b"2\r\n{}\r\n2;x=", b"2\r\n{}\r\n0;x="],
    ids=["trailer", "trailer's name", "extension", "last extension"],
)
async def test_an_endless_trailer_or_extension_is_cut(endless: bytes) -> None:
    """It took 236 MiB, and the time grew with its square."""

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(CHUNKED + endless)
        while True:
            writer.write(b"a" * 65536)
            await writer.drain()

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        tracemalloc.start()
        try:
            answer = await gate.ask("/chat/v1/x", BODY)
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()
        assert not answer.whole
        assert gate.failed == ["upstream"]


async def test_endless_trailers_of_many_fields_are_cut() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(CHUNKED + b"2\r\n{}\r\n0\r\n")
        while True:
            writer.write(b"a: b\r\n" * 10_000)
            await writer.drain()

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        assert not (await gate.ask("/chat/v1/x", BODY)).whole


@pytest.mark.parametrize("status", [600, 777, 999])
async def test_a_status_that_does_not_exist_is_a_bad_gateway(status: int) -> None:
    response = b"HTTP/1.1 %d Odd\r\ncontent-length: 2\r\n\r\n{}" % status
    async with Served(always(response)) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask("/chat/v1/x", BODY)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (502, "upstream_failed")
        assert str(status) in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize("status", [299, 418, 451, 599])
async def test_a_status_that_has_no_name_is_passed_on(status: int) -> None:
    response = b"HTTP/1.1 %d Odd\r\ncontent-length: 2\r\n\r\n{}" % status
    async with Served(always(response)) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask("/chat/v1/x", BODY)).status == status


@pytest.mark.parametrize("status", [99, 0, 1000])
async def test_what_is_no_status_is_a_bad_gateway(status: int) -> None:
    response = b"HTTP/1.1 %d Odd\r\ncontent-length: 2\r\n\r\n{}" % status
    async with Served(once(response)) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask("/chat/v1/x", BODY)).status == 502


async def test_a_flood_of_informational_responses_is_cut() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        while True:
            writer.write(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)
            await writer.drain()

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask("/chat/v1/x", BODY)).status == 502


async def test_a_response_of_thousands_of_fields_is_a_bad_gateway() -> None:
    extra = b"".join(b"openai-%d: y\r\n" % n for n in range(1000))
    async with Served(always(ok(b"{}", extra=extra))) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask("/chat/v1/x", BODY)).status == 502


ACTING = [
    "alt-svc",
    "clear-site-data",
    "strict-transport-security",
    "x-accel-redirect",
    "x-accel-buffering",
    "x-accel-expires",
    "x-accel-limit-rate",
    "x-accel-charset",
    "x-sendfile",
    "x-lighttpd-send-file",
    "x-reproxy-url",
    "set-cookie",
    "set-cookie2",
    "refresh",
    "link",
    "location",
    "content-location",
    "content-security-policy",
    "content-security-policy-report-only",
    "report-to",
    "nel",
    "reporting-endpoints",
    "public-key-pins",
    "expect-ct",
    "permissions-policy",
    "feature-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "cross-origin-embedder-policy",
    "origin-agent-cluster",
    "service-worker-allowed",
    "sourcemap",
    "x-sourcemap",
    "x-frame-options",
    "x-xss-protection",
    "x-content-type-options",
    "x-dns-prefetch-control",
    "x-robots-tag",
    "referrer-policy",
    "accept-ch",
    "critical-ch",
    "accept-signature",
    "authentication-info",
    "www-authenticate",
    "proxy-authenticate",
    "proxy-authentication-info",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "timing-allow-origin",
    "surrogate-control",
    "surrogate-key",
    "cdn-cache-control",
    "cloudflare-cdn-cache-control",
    "x-cache-tags",
    "x-varnish",
    "via",
    "forwarded",
    "x-forwarded-for",
    "server",
    "x-powered-by",
    "priority",
    "keep-alive",
    "upgrade",
    "trailer",
    "te",
    "warning",
    "pragma",
    "tk",
    "dnt",
    "sec-websocket-accept",
    "observe-browsing-topics",
    "set-login",
    "attribution-reporting-register-source",
    "speculation-rules",
    "supports-loading-mode",
    "no-vary-search",
    "x-unknown-tomorrow",
]

DESCRIBING = [
    "content-language",
    "content-disposition",
    "cache-control",
    "etag",
    "last-modified",
    "expires",
    "vary",
    "retry-after",
    "server-timing",
    "openai-version",
    "openai-processing-ms",
    "anthropic-ratelimit-requests-limit",
    "x-ratelimit-limit-tokens",
    "request-id",
    "x-should-retry",
    "date",
]


async def test_only_fields_that_describe_the_response_are_passed_on() -> None:
    extra = b"".join(b"%b: v-%b\r\n" % (name.encode(), name.encode()) for name in (*ACTING, *DESCRIBING))
    extra = extra.replace(b"upgrade: v-upgrade\r\n", b"")  # the parser would take it for another protocol
    async with Served(always(ok(b"{}", extra=extra))) as server, front(ready={"chat": server.port}) as gate:
        for _ in range(3):  # parsed, and recognized
            answer = await gate.ask("/chat/v1/x", BODY)
            assert answer.names == {"content-type", "content-length", "x-request-id", *DESCRIBING}


async def test_an_empty_response_has_no_length() -> None:
    response = b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"
    async with Served(once(response)) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask("/chat/v1/x", BODY)
        assert (answer.status, answer.get("content-length")) == (204, None)


async def test_others_have_their_turn_while_a_server_sends_chunks_of_one_byte() -> None:
    """One read may hold 43,000 of them."""
    pieces = b"".join(chunk(b"x") for _ in range(200_000))
    async with (
        Served(once(SSE_HEAD + pieces, LAST_CHUNK)) as tiny,
        front(ready={"chat": tiny.port}) as gate,
        await gate.open() as wire,
    ):
        await wire.ask("/chat/v1/x", b'{"stream":true}')
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(wire.answer())
            turns = 0
            while not answer.done():
                await asyncio.sleep(0)
                turns += 1
        assert len(answer.result().body) == 200_000
        assert turns > 200_000 * 6 / 65536


async def test_a_large_chunked_response_arrives_whole_whatever_the_sizes_of_its_reads() -> None:
    data = bytes(range(256)) * 8000
    for size in (1000, 65_530, 300_000):
        pieces = b"".join(chunk(data[at : at + size]) for at in range(0, len(data), size))
        async with (
            Served(always(CHUNKED + pieces + LAST_CHUNK)) as server,
            front(ready={"chat": server.port}) as gate,
            await gate.open() as wire,
        ):
            for _ in range(3):
                await wire.ask("/chat/v1/x", BODY)
                assert (await wire.answer()).body == data


async def test_what_follows_a_response_is_no_response_to_the_next_request() -> None:
    big = CHUNKED + chunk(b"a" * 70_000) + LAST_CHUNK + ok(b'{"forged":1}') * 2000
    good = CHUNKED + chunk(b"b" * 70_000) + LAST_CHUNK

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await served.take(reader)
            writer.write(big if len(served.requests) == 1 else good)
            await writer.drain()

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask("/chat/v1/x", BODY)).body == b"a" * 70_000
        assert (await gate.ask("/chat/v1/x", BODY)).body == b"b" * 70_000
