"""Probing: what counts as ready, and that nothing a server does can hang it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fakes.clock import run_virtual
from hotseat.probing import readiness
from hotseat.probing.readiness import ProbeAnswer, ProbeResult, probe_once, until_ready

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 30))


def says(*answers: bytes, seen: list[bytes] | None = None) -> Serve:
    """A server that gives these answers in turn, the last one ever after, and closes."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(request)
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        writer.close()

    return serve


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts and says nothing, until the client goes."""
    try:
        await reader.read()
    except ConnectionResetError:
        pass
    finally:
        writer.close()


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts and resets."""
    writer.transport.abort()


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


def refused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("serve", "answer", "status"),
    [
        (says(b"HTTP/1.1 200 OK\r\n\r\n"), ProbeAnswer.READY, 200),
        (says(b"HTTP/1.0 204 \r\n\r\n"), ProbeAnswer.READY, 204),
        (says(b"HTTP/1.1 200\r\n\r\n"), ProbeAnswer.READY, 200),
        (says(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), ProbeAnswer.NOT_READY, 503),
        (says(b"HTTP/1.1 302 Found\r\n\r\n"), ProbeAnswer.NOT_READY, 302),
        (says(b"HTTP/1.1 404 Not Found\r\n\r\n"), ProbeAnswer.NOT_READY, 404),
        (says(b"SSH-2.0-OpenSSH\r\n"), ProbeAnswer.BROKEN, None),
        (says(b"HTTP/1.1 2000 OK\r\n"), ProbeAnswer.BROKEN, None),
        (says(b"x" * 100_000), ProbeAnswer.BROKEN, None),
        (says(b""), ProbeAnswer.RESET, None),
        (resets, ProbeAnswer.RESET, None),
        (hangs, ProbeAnswer.SILENT, None),
    ],
)
def test_what_a_probe_finds(serve: Serve, answer: ProbeAnswer, status: int | None) -> None:
    async def story() -> None:
        async with server(serve) as port:
            result = await probe_once("127.0.0.1", port, timeout_s=0.3 if serve is hangs else 20)
            assert (result.answer, result.status) == (answer, status)
            assert result.ready == (answer is ProbeAnswer.READY)

    play(story())


def test_nobody_there_is_a_refusal() -> None:
    async def story() -> None:
        assert (await probe_once("127.0.0.1", refused_port())).answer is ProbeAnswer.REFUSED
        assert (await probe_once("no-such-host.invalid", 80)).answer is ProbeAnswer.REFUSED

    play(story())


def test_the_request_is_plain() -> None:
    async def story() -> None:
        seen: list[bytes] = []
        async with server(says(b"HTTP/1.1 200 OK\r\n\r\n", seen=seen)) as port:
            assert (await probe_once("127.0.0.1", port, "/x", headers={"Authorization": "Bearer k"})).ready
        (request,) = seen
        assert request.startswith(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:")
        assert b"\r\nConnection: close\r\n" in request
        assert b"\r\nAuthorization: Bearer k\r\n" in request

    play(story())


def test_a_connection_to_itself_is_nobody() -> None:
    async def story() -> None:
        # On loopback a port may be connected to itself: what a refused probe gets once in some ten thousand.
        loop = asyncio.get_running_loop()
        with socket.socket() as own:
            own.bind(("127.0.0.1", 0))
            port = own.getsockname()[1]
            own.connect(("127.0.0.1", port))
            own.setblocking(False)
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.create_connection(lambda: protocol, sock=own)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)

            async def connected(*_: object, **__: object) -> tuple[Any, Any]:
                return reader, writer

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(asyncio, "open_connection", connected)
                assert (await probe_once("127.0.0.1", port)).answer is ProbeAnswer.REFUSED

    play(story())


def test_ready_is_seen_when_the_server_comes_up() -> None:
    async def story() -> None:
        with socket.socket() as bound:  # as vLLM does: bound, and not listening yet
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            async with asyncio.TaskGroup() as group:
                probing = group.create_task(until_ready("127.0.0.1", port))
                await asyncio.sleep(0.1)
                assert not probing.done()
                serve = says(b"HTTP/1.1 503 X\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n\r\n")
                listening = await asyncio.start_server(serve, sock=bound.dup())
                await probing
            listening.close()

    play(story())


def test_a_health_that_hangs_ends_when_the_caller_says_so() -> None:
    async def story() -> None:
        async with server(hangs) as port:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await until_ready("127.0.0.1", port, timeout_s=0.1)

    play(story())


class Probes:
    """Answers instead of probes, on virtual time; remembers when each was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: ProbeAnswer) -> None:
        self.answers = list(answers)
        self.times: list[float] = []
        monkeypatch.setattr(readiness, "probe_once", self.probe)

    async def probe(self, *_: object, **__: object) -> ProbeResult:
        self.times.append(round(asyncio.get_running_loop().time(), 6))
        return ProbeResult(self.answers.pop(0))

    def pauses(self) -> list[float]:
        return [round(b - a, 6) for a, b in zip(self.times, self.times[1:], strict=False)]


def test_the_pace_follows_what_the_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    refused, not_ready, broken, ready = (
        ProbeAnswer.REFUSED,
        ProbeAnswer.NOT_READY,
        ProbeAnswer.BROKEN,
        ProbeAnswer.READY,
    )
    answers = [refused] * 3 + [not_ready] * 7 + [refused, broken, ProbeAnswer.RESET, ProbeAnswer.RESET, ready]
    probes = Probes(monkeypatch, *answers)
    run_virtual(until_ready("h", 1))
    slower = [0.02, 0.04, 0.08, 0.16, 0.25, 0.25, 0.25]
    assert probes.pauses() == [0.01] * 3 + slower + [0.01, 0.02, 0.02, 0.02]


def test_a_health_answer_that_is_garbage_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Probes(monkeypatch, ProbeAnswer.REFUSED, *[ProbeAnswer.BROKEN] * 5, ProbeAnswer.READY)
    run_virtual(until_ready("h", 1, "/health"))
    assert [record.getMessage() for record in caplog.records] == [
        "h:1/health gives an answer that is not HTTP: it cannot become ready like that"
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_on_loopback_it_connects_until_something_listens(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = Probes(monkeypatch, ProbeAnswer.REFUSED, ProbeAnswer.NOT_READY, ProbeAnswer.READY)
    closed = iter([True] * 50 + [False] * 3)
    monkeypatch.setattr(readiness, "refuses", lambda own: next(closed))
    run_virtual(until_ready(host, 1))
    assert probes.times == [0.1, 0.102, 0.122]  # only refused connections for 50 times 2 ms


def test_a_refused_connection_shows_that_nothing_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        own = readiness.loopback_address("127.0.0.1", listener.getsockname()[1])
        assert own is not None
        assert readiness.refuses(own)
        listener.listen()
        assert not readiness.refuses(own)
    assert readiness.loopback_address("chat", 8000) is None
    assert readiness.loopback_address("10.0.0.1", 8000) is None


def test_the_event_makes_it_probe_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = Probes(monkeypatch, *[ProbeAnswer.NOT_READY] * 6, ProbeAnswer.READY)

    async def story() -> None:
        probe_now = asyncio.Event()
        probe_now.set()  # set before: no reason to skip a pause
        asyncio.get_running_loop().call_at(0.6, probe_now.set)
        await until_ready("h", 1, probe_now=probe_now)

    run_virtual(story())
    assert probes.times == [0, 0.02, 0.06, 0.14, 0.3, 0.55, 0.6]
