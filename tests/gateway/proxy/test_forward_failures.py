"""Model servers that fail, in every place where they can, told in both API styles."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from fakes.gateway import Front, front
from fakes.wire import LAST_CHUNK, SSE_HEAD, Message, Served, always, chunk, ok, once
from hotseat.core.errors import Code, Reason, Refusal
from hotseat.gateway.proxy import forward, response_tail

pytestmark = pytest.mark.anyio

STREAM = b'{"model":"chat","stream":true}'
PLAIN = b'{"model":"chat"}'
STYLES = [
    pytest.param("/chat/v1/chat/completions", False, id="openai"),
    pytest.param("/chat/v1/messages", True, id="anthropic"),
]


def error_of(content: bytes, anthropic: bool) -> dict[str, object]:
    """The error inside a body, whose shape is checked."""
    whole = json.loads(content)
    if anthropic:
        assert whole["type"] == "error"
        assert set(whole["error"]) >= {"type", "message"}
    else:
        assert set(whole["error"]) >= {"message", "type", "param", "code"}
    error = whole["error"]
    assert isinstance(error, dict)
    return error


def event_of(content: bytes, anthropic: bool) -> dict[str, object]:
    """The error inside the last event of a stream."""
    last = content.removesuffix(b"\n\n").rsplit(b"\n\n", 1)[-1].split(b"\n")
    assert len(last) == (2 if anthropic else 1)
    if anthropic:
        assert last[0] == b"event: error"
    assert last[-1].startswith(b"data: ")
    return error_of(last[-1].removeprefix(b"data: "), anthropic)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize(("path", "anthropic"), STYLES)
@pytest.mark.parametrize("body", [STREAM, PLAIN])
async def test_a_server_that_cannot_be_reached(
    path: str, anthropic: bool, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "UNREACHABLE_REASON_S", 0.05)
    async with front(ready={"chat": free_port()}) as gate:
        answer = await gate.ask(path, body)
        assert answer.status == 503
        assert (answer.get("retry-after"), answer.get("x-should-retry")) == ("1", "true")
        assert "cannot be reached" in str(error_of(answer.body, anthropic)["message"])
        await gate.ticket_closed()
        assert gate.failed == ["upstream"]


@pytest.mark.parametrize(("path", "anthropic"), STYLES)
@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\ncontent-le",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 70_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3000,
    ],
    ids=["nothing", "half", "only-1xx", "nonsense", "upgrade", "two-lengths", "huge-head", "many-1xx"],
)
async def test_a_server_that_fails_before_its_answer(path: str, anthropic: bool, response: bytes) -> None:
    async with Served(once(response)) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask(path, PLAIN)
        assert answer.status == 502
        assert str(error_of(answer.body, anthropic)["message"]).startswith("model chat: its server ")
        assert server.connections == 1  # a fresh connection's failure is not tried again


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive5",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfive5\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfive5\r\nzz\r\n",
    ],
    ids=["length", "chunked", "bad-chunk"],
)
async def test_a_cut_answer_is_seen_to_be_cut(response: bytes) -> None:
    async with Served(once(response)) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.ask("/chat/v1/embeddings", PLAIN)
            told = await wire.at_end()
        assert told.removesuffix(b"\r\n").endswith(b"five5")
        await gate.ticket_closed()


@pytest.mark.parametrize(("path", "anthropic"), STYLES)
@pytest.mark.parametrize("sent", [b"data: 1\n\n", b""])
async def test_a_stream_that_dies_ends_with_an_error_event(path: str, anthropic: bool, sent: bytes) -> None:
    pieces = SSE_HEAD + (chunk(sent) if sent else b"")
    async with Served(once(pieces)) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask(path, STREAM)
        assert answer.whole
        assert answer.body.startswith(sent)
        before = answer.body[: answer.body.index(b"event: error" if anthropic else b'data: {"error"')]
        assert not before or before.endswith(b"\n\n")
        assert "in the middle" in str(event_of(answer.body, anthropic)["message"])


@pytest.mark.parametrize(("path", "anthropic"), STYLES)
async def test_a_broken_lease_ends_the_stream_with_its_reason(path: str, anthropic: bool) -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await served.release.wait()  # hangs: only the lease's end ends it

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.ask(path, STREAM)
            await wire.until(b"data: 1\n\n")
            lease = gate.seats.tickets[0].lease
            assert lease is not None
            lease.break_it(Reason(summary="out of memory", lines=("secret line",)))
            rest = await wire.until(LAST_CHUNK)
        assert b"its server has ended: out of memory" in rest
        assert b"secret line" not in rest
        await gate.ticket_closed()


@pytest.mark.parametrize(("path", "anthropic"), STYLES)
async def test_what_a_server_says_when_it_is_told_to_stop_is_no_answer(path: str, anthropic: bool) -> None:
    """vLLM ends its answers then as if they were whole; the client must see that they are not."""

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await served.release.wait()
        writer.write(chunk(b"data: [DONE]\n\n") + LAST_CHUNK)

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.ask(path, STREAM)
            await wire.until(b"data: 1\n\n")
            lease = gate.seats.tickets[0].lease
            assert lease is not None
            lease.break_it(Reason(summary="cut off after 60 s of draining", alive=True))
            await asyncio.sleep(0)  # the order to stop goes out next
            server.release.set()
            rest = await wire.until(LAST_CHUNK)
        assert b"its server is being stopped: cut off after 60 s of draining" in rest
        assert b"[DONE]" not in rest
        await gate.ticket_closed()


async def test_a_lease_broken_before_the_answer() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        await served.release.wait()

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.ask("/chat/v1/completions", PLAIN)
            await server.until(lambda s: len(s.requests) == 1)
            lease = gate.seats.tickets[0].lease
            assert lease is not None
            lease.break_it(Reason(summary="exited with code 3"))
            answer = await wire.answer()
        assert answer.status == 502
        assert (
            error_of(answer.body, False)["message"] == "model chat: its server has ended: exited with code 3"
        )


async def test_a_whole_answer_survives_the_end_of_its_run() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        await served.release.wait()
        writer.write(ok(b'{"whole":1}'))
        await writer.drain()

    async with (
        Served(script) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        await wire.ask("/chat/v1/completions", PLAIN)
        await server.until(lambda s: len(s.requests) == 1)
        lease = gate.seats.tickets[0].lease
        assert lease is not None
        lease.break_it(Reason(summary="exited with code 0"))
        server.release.set()
        assert (await wire.answer()).body == b'{"whole":1}'


async def test_a_request_is_not_sent_again_once_a_byte_of_the_answer_came() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(ok(b"{}"))
        await served.take(reader)
        writer.write(b"HTTP/1.1")
        await writer.drain()

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        assert (await gate.ask("/chat/v1/completions", PLAIN)).status == 200
        assert (await gate.ask("/chat/v1/completions", PLAIN)).status == 502
        assert (server.connections, len(server.requests)) == (1, 2)


async def test_the_end_of_one_run_does_not_end_the_try_at_the_next() -> None:
    cut_off = asyncio.Event()

    async def late(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        await cut_off.wait()
        writer.write(ok(b"{}"))

    async with Served(late) as server, front(ready={"chat": free_port()}) as gate, await gate.open() as wire:
        await wire.ask("/chat/v1/chat/completions", PLAIN)
        await gate.seats.asked.wait()
        lease = gate.seats.tickets[0].lease
        assert lease is not None
        await lease.doubted.wait()
        gate.seats.ready("chat", server.port, run=2)
        lease.break_it(Reason(summary="it crashed"))
        asyncio.get_running_loop().call_later(forward.LAST_OUTPUT_S, cut_off.set)  # after the forwarder's own
        assert (await wire.answer()).status == 200


async def test_a_bug_at_the_end_of_an_answer_keeps_no_seat(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(status: int, tail: bytes) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(response_tail, "classify_end", broken)
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        for number in range(3):  # the first head is parsed, the others are known
            assert (await gate.ask("/chat/v1/chat/completions", PLAIN)).status == 200
            await gate.ticket_closed(number)
        assert len(gate.records) == 3
        assert caplog.text.count("RuntimeError: a bug of ours") == 3


async def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    stray = ok(b"{}") + ok(b'{"stray":1}')
    async with Served(always(stray)) as server, front(ready={"chat": server.port}) as gate:
        for _ in range(3):
            assert (await gate.ask("/chat/v1/completions", PLAIN)).body == b"{}"
        assert server.connections == 3


async def test_the_servers_own_errors_pass_as_they_are() -> None:
    response = b'HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\nserver-timing: b\r\n\r\n{"e":1}'
    async with Served(always(response)) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask("/chat/v1/chat/completions", STREAM)
        assert (answer.status, answer.body, answer.get("server-timing")) == (400, b'{"e":1}', "b")


# Refusals

REFUSALS = [
    (Code.MODEL_LOADING, 503, True),
    (Code.MODEL_FAILED, 400, False),
    (Code.MODEL_BACKOFF, 503, True),
    (Code.START_TIMEOUT, 503, True),
    (Code.QUEUE_FULL, 429, True),
    (Code.SHUTTING_DOWN, 503, True),
    (Code.MODEL_NOT_FOUND, 404, True),
]


def check_refusal(answer: Message, code: Code, status: int, retry: bool, anthropic: bool) -> None:
    assert answer.status == status
    error = error_of(answer.body, anthropic)
    assert error["message"] == "said plainly"
    if not anthropic:
        assert (error["code"], error["param"]) == (code.value, "model")
    retry = retry and status != 404
    assert answer.get("x-should-retry") == ("true" if retry else "false")
    told = answer.get("retry-after")
    assert (told is not None) == retry
    if told is not None:
        assert 1 <= int(told) <= 60


@pytest.mark.parametrize(("path", "anthropic"), STYLES)
@pytest.mark.parametrize(("code", "status", "retry"), REFUSALS)
@pytest.mark.parametrize("after_s", [None, 0.01, 7.2, 900.0])
async def test_refusals_at_once(
    path: str, anthropic: bool, code: Code, status: int, retry: bool, after_s: float | None
) -> None:
    async with front() as gate:
        gate.seats.refusals["chat"] = Refusal(
            code=code, message="said plainly", model="chat", retry_after_s=after_s, should_retry=retry
        )
        answer = await gate.ask(path, STREAM)
        check_refusal(answer, code, status, retry, anthropic)
        if after_s == 7.2 and retry and status != 404:
            assert answer.get("retry-after") == "8"
        assert [(one.model, one.code) for one in gate.records] == [("chat", code)]


async def waiting_front(gate: Front) -> None:
    """Wait until one request waits for a seat."""
    async with asyncio.timeout(20):
        await gate.seats.asked.wait()
        await gate.seats.tickets[-1].waiting.wait()


@pytest.mark.parametrize(("path", "anthropic"), STYLES)
async def test_a_start_that_takes_too_long_is_told_with_how_far_it_came(path: str, anthropic: bool) -> None:
    async with front() as gate, await gate.open() as wire:
        gate.seats.waiting_models.add("chat")
        await wire.ask(path, PLAIN)
        await waiting_front(gate)
        gate.seats.tickets[0].refuse(
            Refusal(code=Code.START_TIMEOUT, message="said plainly", model="chat", retry_after_s=3)
        )
        answer = await wire.answer()
        check_refusal(answer, Code.START_TIMEOUT, 503, True, anthropic)
        assert json.loads(answer.body)["loading"] == {
            "model": "chat",
            "phase": "loading weights",
            "elapsed_s": 12,
            "eta_s": 30,
        }
        await gate.ticket_closed()
