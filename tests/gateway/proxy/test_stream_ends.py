"""Streams as clients see them: when their headers come, what comes between events, and how they end."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager

import anthropic
import openai
import pytest

from fakes.gateway import Front, front, model, settings
from fakes.wire import LAST_CHUNK, PATIENCE_S, SSE_HEAD, Script, Served, Wire, chunk, ok, once
from hotseat.core.access_spec import PolicySpec
from hotseat.core.errors import Code, Refusal
from hotseat.core.spec import RouteSpec, Settings
from hotseat.gateway.proxy import forward
from hotseat.gateway.proxy.event_alignment import MAX_HELD_BYTES

pytestmark = pytest.mark.anyio

STREAM = b'{"model":"chat","stream":true}'
AT_ONCE = settings(hold_headers_s=0.0)
CHAT = "/chat/v1/chat/completions"
RESPONSES = "/chat/v1/responses"
MESSAGES = "/chat/v1/messages"
STYLES = [CHAT, "/chat/v1/completions", RESPONSES, MESSAGES]
EVERY_S = 0.01
TIMEOUT_REFUSAL = Refusal(code=Code.START_TIMEOUT, message="too long", model="chat")
NEVER_REFUSAL = Refusal(code=Code.MODEL_FAILED, message="unknown flag", model="chat", should_retry=False)


@pytest.fixture(autouse=True)
def reasons_come_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run ends in these tests: nothing is lost by not waiting for the news."""
    monkeypatch.setattr(forward, "REASON_S", 0.01)


def events(stream: bytes) -> list[tuple[str, str]]:
    """The events that a browser's ``EventSource`` would dispatch: type and data."""
    found: list[tuple[str, str]] = []
    kind, data = "message", []
    for line in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        field, _, value = line.partition(":")
        if not line:
            if data:
                found.append((kind, "\n".join(data)))
            kind, data = "message", []
        elif field == "data":
            data.append(value.removeprefix(" "))
        elif field == "event":
            kind = value.removeprefix(" ")
    return found


def error_message(path: str, stream: bytes) -> str:
    """What the stream's last event says is wrong, in its API's shape."""
    kind, data = events(stream)[-1]
    told = json.loads(data)
    if "/responses" in path:
        assert (kind, told["type"]) == ("response.failed", "response.failed")
        assert told["response"]["status"] == "failed"
        return str(told["response"]["error"]["message"])
    assert kind == ("error" if "/messages" in path else "message")
    return str(told["error"]["message"])


async def waits(gate: Front) -> None:
    """Wait until a request waits for its model."""
    async with asyncio.timeout(PATIENCE_S):
        await gate.seats.asked.wait()
        await gate.seats.tickets[-1].waiting.wait()


async def cold(gate: Front, wire: Wire, path: str, body: bytes = STREAM, **more: str) -> None:
    """Ask for a stream of a model that has to start first."""
    gate.seats.waiting_models.add("chat")
    headers = (("Content-Type", "application/json"), *((k.replace("_", "-"), v) for k, v in more.items()))
    await wire.ask(path, body, headers=headers)
    await waits(gate)


def grant(gate: Front, port: int) -> None:
    gate.seats.ready("chat", port)
    gate.seats.tickets[-1].grant()


# A cold stream: headers go out early only where the answer will be an event stream


@pytest.mark.parametrize(
    "path",
    [
        "/chat/v1/audio/speech",
        "/chat/v1/audio/transcriptions",
        "/chat/v1/images/generations",
        "/chat/v1/embeddings",
        "/chat/v1/nonsense",
        "/chat/extra/lines",
        "/extra/lines",
    ],
)
@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        (b"audio/mpeg", b"\xff\xfb\x00ID3"),
        (b"application/x-ndjson", b'{"a":1}\n{"a":2}\n'),
        (b"application/json", b'{"text":"hello"}'),
        (b"text/event-stream", b"data: 1\n\n"),
    ],
)
async def test_a_cold_stream_that_may_be_anything_arrives_as_its_server_sent_it(
    path: str, content_type: bytes, content: bytes
) -> None:
    config = settings(model("chat", allow_paths=("/extra/**",)), hold_headers_s=0.0)
    async with (
        Served(once(ok(content, content_type))) as server,
        front(config, comment_every_s=EVERY_S) as gate,
        await gate.open() as wire,
    ):
        await cold(gate, wire, path)
        await asyncio.sleep(3 * EVERY_S)  # nothing is said meanwhile
        grant(gate, server.port)
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, content)
        assert answer.get("content-type") == content_type.decode()


@pytest.mark.parametrize("path", [*STYLES, "/chat/completion", "/chat/infill", "/v1/chat/completions"])
async def test_a_cold_stream_of_events_is_told_early(path: str) -> None:
    async with (
        Served(once(SSE_HEAD + chunk(b"data: 1\n\n") + LAST_CHUNK)) as server,
        front(AT_ONCE, comment_every_s=EVERY_S) as gate,
        await gate.open() as wire,
    ):
        await cold(gate, wire, path)
        assert b": hotseat chat: starting" in await wire.until(b": hotseat chat: starting")
        grant(gate, server.port)
        assert b"data: 1\n\n" in await wire.until(LAST_CHUNK)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"chat","stream":"true"}',  # llama.cpp answers with JSON, vLLM with events
        b'{"model":"chat","stream":1}',
        b'{"model":"chat","stream":"on"}',
        b'{"model":"chat","stream":false}',
        b'{"model":"chat","stream":null}',
        b'{"model":"chat"}',
    ],
)
async def test_a_stream_that_some_servers_do_not_take_for_one_is_not_told_early(body: bytes) -> None:
    async with (
        Served(once(ok(b'{"choices":[]}'))) as server,
        front(AT_ONCE, comment_every_s=EVERY_S) as gate,
        await gate.open() as wire,
    ):
        await cold(gate, wire, CHAT, body)
        await asyncio.sleep(3 * EVERY_S)
        grant(gate, server.port)
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, b'{"choices":[]}')


async def test_a_head_request_gets_no_early_headers() -> None:
    async with (
        Served(once(ok(b""))) as server,
        front(AT_ONCE, comment_every_s=EVERY_S, ready={"chat": 1}) as gate,
    ):
        gate.seats.ready("chat", server.port)
        answer = await gate.ask(CHAT, STREAM, method="HEAD")
        assert answer.get("content-type") == "application/json"


@pytest.mark.parametrize("path", [*STYLES, "/chat/v1/audio/speech"])
@pytest.mark.parametrize("accepted", ["gzip", "gzip, deflate, br, zstd", "*"])
async def test_a_server_is_not_asked_to_compress_a_stream(path: str, accepted: str) -> None:
    """A compressing server does as it is asked; a stream that went out early says nothing of gzip."""

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await served.take(reader)).get("accept-encoding") or ""
        body, extra = b"data: 1\n\n", b""
        if "gzip" in asked or "*" in asked:
            body, extra = gzip.compress(body), b"content-encoding: gzip\r\n"
        writer.write(ok(body, b"text/event-stream", extra))

    async with (
        Served(script) as server,
        front(AT_ONCE, comment_every_s=EVERY_S) as gate,
        await gate.open() as wire,
    ):
        await cold(gate, wire, path, accept_encoding=accepted)
        grant(gate, server.port)
        answer = await wire.answer()
        assert answer.get("content-encoding") is None
        assert events(answer.body) == [("message", "1")]


async def test_what_does_not_stream_may_be_compressed() -> None:
    content = gzip.compress(b"{}")
    response = ok(content, extra=b"content-encoding: gzip\r\n")
    async with Served(once(response)) as server, front(ready={"chat": server.port}) as gate:
        headers = (("Accept-Encoding", "gzip"), ("Accept-Encoding", "br"))
        answer = await gate.ask(CHAT, b'{"model":"chat"}', headers=headers)
        assert (answer.body, answer.get("content-encoding")) == (content, "gzip")
        sent = [value for name, value in server.requests[0].fields if name == b"accept-encoding"]
        assert sent == [b"gzip", b"br"]


async def test_a_stream_that_is_compressed_all_the_same_passes_as_it_is() -> None:
    content = gzip.compress(b"data: 1\n\n")
    response = ok(content, b"text/event-stream", b"content-encoding: gzip\r\n")
    async with Served(once(response)) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask(CHAT, STREAM)
        assert (answer.body, answer.get("content-encoding")) == (content, "gzip")


# Signs of life


def thinking(*pieces: bytes) -> Script:
    """Send these pieces, and be silent after each until the test says otherwise."""

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        for piece in pieces:
            writer.write(piece)
            await served.release.wait()
            served.release.clear()
        writer.write(chunk(b"data: last\n\n") + LAST_CHUNK)
        await writer.drain()

    return script


@asynccontextmanager
async def thinker(
    *pieces: bytes, config: Settings = AT_ONCE, every_s: float = EVERY_S
) -> AsyncIterator[tuple[Served, Front, Wire]]:
    async with (
        Served(thinking(*pieces)) as server,
        front(config, comment_every_s=every_s, ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        yield server, gate, wire


def agent(name: str) -> tuple[tuple[str, str], ...]:
    return (("Content-Type", "application/json"), ("User-Agent", name))


@pytest.mark.parametrize("path", STYLES)
@pytest.mark.parametrize("before", [b"", SSE_HEAD, SSE_HEAD + chunk(b"data: 1\n\n")])
async def test_a_ready_model_that_thinks_gives_signs_of_life(path: str, before: bytes) -> None:
    late_head = b"" if before else SSE_HEAD
    async with thinker(before, late_head) as (server, _, wire):
        await wire.ask(path, STREAM)
        for _ in range(3):
            await wire.until(b": hotseat chat: ready, waiting for the model, ")
        server.release.set()
        await server.until(lambda s: bool(s.requests))
        server.release.set()
        rest = await wire.until(b"\n\n")
        while b"data: last" not in rest:
            server.release.set()
            rest += await wire.until(b"\n\n")


@pytest.mark.parametrize("path", STYLES)
@pytest.mark.parametrize(
    "half",
    [b"data: {", b'data: {"a":1}', b'data: {"a":1}\n', b"event: x\n", b"data: \xe2\x82", b"data: 1\r\n"],
)
async def test_no_sign_of_life_comes_inside_an_event(path: str, half: bytes) -> None:
    async with thinker(SSE_HEAD + chunk(b"data: 1\n\n" + half)) as (server, _, wire):
        await wire.ask(path, STREAM)
        got = await wire.until(b": hotseat chat: ready")
        assert half not in got
        server.release.set()
        rest = await wire.until(b"data: last")
        assert half in rest
        between = rest[rest.index(half) :]
        assert b"hotseat" not in between
        assert between.replace(b"\r\n12\r\n", b"").replace(b"\r\nc\r\n", b"").startswith(half)


async def test_no_sign_of_life_comes_inside_an_event_that_is_very_large() -> None:
    large = b"data: " + b"x" * (MAX_HELD_BYTES + 1)
    async with thinker(SSE_HEAD + chunk(large), chunk(b"\n\n")) as (server, _, wire):
        await wire.ask(CHAT, STREAM)
        await wire.until(b"x" * (MAX_HELD_BYTES + 1) + b"\r\n")
        await asyncio.sleep(5 * EVERY_S)
        server.release.set()
        rest = await wire.until(b"\n\n\r\n")
        assert rest == chunk(b"\n\n")
        await wire.until(b": hotseat chat: ready")  # and between events again


async def test_codex_gets_events_as_signs_of_life() -> None:
    first = chunk(b'data: {"type":"response.created","sequence_number":4}\n\n')
    async with thinker(SSE_HEAD + first) as (_, __, wire):
        await wire.ask(RESPONSES, STREAM, headers=agent("codex_cli_rs/0.98.0"))
        told = await wire.until(b'"sequence_number":4}\n\n')
        told = await wire.until(b"event: keepalive\ndata: ")
        assert json.loads(await wire.until(b"\n")) == {"type": "keepalive", "sequence_number": 4}
        assert b": hotseat chat: ready" in told


async def test_codex_gets_events_while_its_model_loads() -> None:
    async with front(AT_ONCE, comment_every_s=EVERY_S) as gate, await gate.open() as wire:
        await cold(gate, wire, RESPONSES, user_agent="codex_cli_rs/0.98.0")
        told = await wire.until(b"event: keepalive\ndata: ")
        assert b": hotseat chat: starting, loading weights" in told
        assert json.loads(await wire.until(b"\n")) == {"type": "keepalive", "sequence_number": 0}


@pytest.mark.parametrize("name", ["OpenAI/Python 3.54.0", "AsyncOpenAI/Python 2.1", "OpenAI/JS 6.45.0"])
async def test_openais_libraries_get_comments_alone(name: str) -> None:
    """Their helpers raise an error for an event before ``response.created``."""
    async with thinker(b"") as (_, __, wire):
        await wire.ask(RESPONSES, STREAM, headers=agent(name))
        told = b""
        for _ in range(3):
            told += await wire.until(b": hotseat chat: ready, waiting for the model, ")
        assert b"event:" not in told


async def test_go_clients_that_count_lines_get_few_comments() -> None:
    async with thinker(SSE_HEAD) as (server, _, wire):
        await wire.ask(CHAT, STREAM, headers=agent("Go-http-client/1.1"))
        await wire.until(b"\r\n\r\n")
        await asyncio.sleep(6 * EVERY_S)
        server.release.set()
        assert b"hotseat" not in await wire.until(LAST_CHUNK)


@pytest.mark.parametrize(
    "config",
    [
        settings(hold_headers_s=0.0, comment_every_s=0.0),
        settings(
            hold_headers_s=0.0,
            routes=(
                RouteSpec(name="chat", model="chat", path="/chat", policy=PolicySpec(comment_every_s=0.0)),
            ),
        ),
    ],
    ids=["everywhere", "on-a-route"],
)
async def test_comments_can_be_switched_off(config: Settings) -> None:
    """Then the client waits as one that does not stream: what the server says is what it gets."""
    async with Served(once(ok(b'{"error":{}}'))) as server, front(config) as gate, await gate.open() as wire:
        await cold(gate, wire, CHAT)
        await asyncio.sleep(3 * EVERY_S)
        grant(gate, server.port)
        answer = await wire.answer()
        assert (answer.get("content-type"), answer.body) == ("application/json", b'{"error":{}}')


async def test_a_route_has_its_own_interval() -> None:
    policy = PolicySpec(comment_every_s=EVERY_S)
    config = settings(
        hold_headers_s=0.0,
        comment_every_s=60.0,
        routes=(RouteSpec(name="chat", model="chat", path="/chat", policy=policy),),
    )
    async with (
        Served(thinking(SSE_HEAD)) as server,
        front(config, ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        await wire.ask(CHAT, STREAM)
        await wire.until(b": hotseat chat: ready, waiting for the model, ")


async def test_an_error_after_a_sign_of_life_is_an_event() -> None:
    refusal = b'{"error":{"message":"too long a prompt"}}'
    response = b"HTTP/1.1 400 Bad Request\r\ncontent-length: %d\r\n\r\n%b" % (len(refusal), refusal)

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        await served.release.wait()
        writer.write(response)

    async with (
        Served(script) as server,
        front(AT_ONCE, comment_every_s=EVERY_S, ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        await wire.ask(CHAT, STREAM)
        await wire.until(b": hotseat chat: ready")
        server.release.set()
        assert b'"too long a prompt"' in await wire.until(LAST_CHUNK)


async def test_an_error_that_comes_soon_keeps_its_status() -> None:
    response = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}"
    async with Served(once(response)) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask(CHAT, STREAM)).status == 400


# Ends


@pytest.mark.parametrize("path", STYLES)
@pytest.mark.parametrize(
    "half",
    [
        b'data: {"choices":[{"del',
        b'data: {"choices":[]}',
        b'data: {"choices":[]}\n',
        b'data: {"choices":[]}\r\n',
        b'data: {"choices":[]}\r',
        b"data: caf\xc3",
        b"data: \xf0\x9f\x98",
        b"event: response.output_text.delta\n",
        b"event: content_block_delta\r\ndata: {",
        b"id: 7\n",
        b": comme",
        b"d",
        b"",
    ],
)
@pytest.mark.parametrize("whole", [b"data: {}\n\n", b"data: {}\r\n\r\n", b""])
async def test_a_stream_cut_inside_an_event_ends_with_an_error_that_can_be_read(
    path: str, half: bytes, whole: bytes
) -> None:
    pieces = SSE_HEAD + (chunk(whole + half) if whole + half else b"")
    async with Served(once(pieces)) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask(path, STREAM)
        assert answer.whole
        assert answer.body.startswith(whole)
        assert "in the middle" in error_message(path, answer.body)
        for _, data in events(answer.body):
            json.loads(data)  # no half event


@pytest.mark.parametrize("path", STYLES)
async def test_a_stream_cut_inside_a_very_large_event_is_cut_for_the_client_too(path: str) -> None:
    pieces = SSE_HEAD + chunk(b"data: " + b"x" * (MAX_HELD_BYTES + 1))
    async with Served(once(pieces)) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask(path, STREAM)
        assert not answer.whole
        assert answer.body == b"data: " + b"x" * (MAX_HELD_BYTES + 1)


@pytest.mark.parametrize(
    "end", [b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\n\n", b"data: [DONE]\r\n"]
)
async def test_a_stream_that_ends_without_a_blank_line_arrives_byte_for_byte(end: bytes) -> None:
    pieces = SSE_HEAD + chunk(b"data: 1\n\n") + chunk(end[:5]) + chunk(end[5:]) + LAST_CHUNK
    async with Served(once(pieces)) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask(CHAT, STREAM)).body == b"data: 1\n\n" + end


@pytest.mark.parametrize(
    ("refusal", "code"), [(TIMEOUT_REFUSAL, "server_error"), (NEVER_REFUSAL, "invalid_prompt")]
)
async def test_codex_is_told_what_is_wrong_and_whether_to_try_again(refusal: Refusal, code: str) -> None:
    async with front(AT_ONCE) as gate, await gate.open() as wire:
        await cold(gate, wire, RESPONSES)
        await wire.until(b"\n\n")
        gate.seats.tickets[0].refuse(refusal)
        stream = (await wire.until(LAST_CHUNK)).replace(b"\r\n", b"\n")
    (kind, data), (last_kind, last_data) = events(stream)[-2:]
    error, failed = json.loads(data), json.loads(last_data)
    assert (kind, error["type"], error["message"]) == ("error", "error", refusal.message)
    assert set(error) >= {"type", "code", "message", "param", "sequence_number"}
    assert last_kind == failed["type"] == "response.failed"
    assert failed["response"]["error"] == {"code": code, "message": refusal.message}
    assert failed["sequence_number"] == error["sequence_number"] + 1


async def test_the_numbers_of_a_responses_stream_go_on_in_its_error() -> None:
    sent = b'event: response.created\ndata: {"type":"response.created","sequence_number":7}\n\n'
    async with Served(once(SSE_HEAD + chunk(sent))) as server, front(ready={"chat": server.port}) as gate:
        stream = (await gate.ask(RESPONSES, STREAM)).body
    assert [json.loads(data)["sequence_number"] for _, data in events(stream)] == [7, 8, 9]


async def read_all(stream: AsyncIterable[object], into: list[object]) -> None:
    async for event in stream:
        into.append(event)  # noqa: PERF401  # those before the error count


async def test_openais_library_raises_what_the_stream_said() -> None:
    half = b'data: {"id":"c","object":"chat.completion.chunk","choices":[]}\n\ndata: {"id":"c","cho'
    async with Served(once(SSE_HEAD + chunk(half))) as server, front(ready={"chat": server.port}) as gate:
        url = f"http://127.0.0.1:{gate.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="chat", messages=[{"role": "user", "content": "x"}], stream=True
            )
            got: list[object] = []
            with pytest.raises(openai.APIError, match="in the middle of the answer"):
                await read_all(stream, got)
            assert len(got) == 1


async def test_openais_library_raises_what_a_responses_stream_said() -> None:
    half = b'event: response.output_text.delta\ndata: {"type":"resp'
    async with Served(once(SSE_HEAD + chunk(half))) as server, front(ready={"chat": server.port}) as gate:
        url = f"http://127.0.0.1:{gate.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            created = await client.responses.create(model="chat", input="x", stream=True)
            with pytest.raises(openai.APIError, match="in the middle of the answer"):
                await read_all(created, [])
            async with client.responses.stream(model="chat", input="x") as stream:
                with pytest.raises(openai.APIError, match="in the middle of the answer"):
                    await read_all(stream, [])


async def test_anthropics_library_raises_what_the_stream_said() -> None:
    half = b'event: message_start\ndata: {"type":"message_st'
    async with Served(once(SSE_HEAD + chunk(half))) as server, front(ready={"chat": server.port}) as gate:
        url = f"http://127.0.0.1:{gate.port}"
        async with anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0) as client:
            stream = await client.messages.create(
                model="chat", max_tokens=5, messages=[{"role": "user", "content": "x"}], stream=True
            )
            with pytest.raises(anthropic.APIError, match="in the middle of the answer"):
                await read_all(stream, [])


def test_the_reader_of_these_tests_reads_as_browsers_do() -> None:
    assert events(b"event: a\r\ndata: 1\r\ndata: 2\r\n\r\n: c\n\ndata:3\n\ndata: half") == [
        ("a", "1\n2"),
        ("message", "3"),
    ]
