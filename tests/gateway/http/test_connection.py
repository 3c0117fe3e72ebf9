"""Client connections: limits, request smuggling, slow clients, and a graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import ssl
import tracemalloc
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from fakes.gateway import Front, front, settings
from fakes.tls import make_certificate
from fakes.wire import LAST_CHUNK, PATIENCE_S, SSE_HEAD, Served, always, chunk, ok, read_message
from hotseat.gateway.http.connection import Connection, ConnectionPhase
from hotseat.gateway.http.connection_limits import ConnectionLimits
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.http.upstream import UpstreamConnection

pytestmark = pytest.mark.anyio

PLAIN = b'{"model":"chat"}'


def status_of(told: bytes) -> int:
    return int(told.split(b" ", 2)[1])


def error_code(told: bytes) -> str:
    code = json.loads(told.partition(b"\r\n\r\n")[2])["error"]["code"]
    assert isinstance(code, str)
    return code


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 6_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000,
        b"GET /" + b"a" * 40_000,
    ],
    ids=["path", "path-alone", "value", "many", "endless-value", "endless-path"],
)
async def test_a_header_that_is_too_large(head: bytes) -> None:
    async with front() as gate:
        told = await gate.raw(head)
        last = told[told.rindex(b"HTTP/1.1 ") :]
        assert (status_of(last), error_code(last)) == (431, "header_too_large")


@pytest.mark.parametrize(
    "endless",
    [
        b"2\r\n{}\r\n0\r\nX: %b",
        b"2\r\n{}\r\n0\r\n%b",
        b"2;%b",
        b"2\r\n{}\r\n0;x=%b",
    ],
    ids=["trailer", "trailers-name", "extension", "last-extension"],
)
async def test_the_framing_of_a_body_is_bounded(endless: bytes) -> None:
    """The parser keeps what it has of a trailer: 146 MiB in ten seconds, before this was bounded."""
    async with front() as gate, await gate.open() as wire:
        head = b"POST /chat/v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await wire.send(head + endless % (b"a" * 1000))
        tracemalloc.start()
        try:
            with contextlib.suppress(ConnectionError):
                for _ in range(300):
                    await wire.send(b"a" * 65536)
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()
        answer = await wire.answer()
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (431, "header_too_large")
        assert gate.seats.tickets == []


async def test_chunks_of_one_byte_and_trailers_are_taken() -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        head = b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        body = b'{"a":"' + b"x" * 60_000 + b'"}'
        async with await gate.open() as wire:
            await wire.send(head + b"\r\n")
            pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
            for at in range(0, len(pieces), 5_000):
                await wire.send(pieces[at : at + 5_000])
            await wire.send(b"0\r\nX-Sum: " + b"1" * 20_000 + b"\r\n\r\n")
            assert (await wire.answer()).status == 200
        assert server.requests[0].body == body


async def test_a_large_header_within_the_bound_is_taken() -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        answer = await gate.ask("/chat/v1/x", headers=(("X-Large", "y" * 30_000),))
        assert answer.status == 200
        assert server.requests[0].get("x-large") == "y" * 30_000


SMUGGLING = {
    "two-lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "length-and-chunked": b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-and-length": b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "chunked-not-last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "odd-encoding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "space-before-colon": b"Content-Length : 2\r\n\r\n{}",
    "signed-length": b"Content-Length: +2\r\n\r\n{}",
    "negative-length": b"Content-Length: -2\r\n\r\n{}",
    "list-length": b"Content-Length: 2, 2\r\n\r\n{}",
    "huge-length": b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "hex-length": b"Content-Length: 0x2\r\n\r\n{}",
    "folded": b"X-A: b\r\n folded: c\r\nContent-Length: 2\r\n\r\n{}",
    "nul": b"X-A: b\x00c\r\nContent-Length: 2\r\n\r\n{}",
    "bare-cr": b"X-A: b\rContent-Length: 2\r\n\r\n{}",
    "bad-chunk-size": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "huge-chunk-size": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "chunk-too-long": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}GET /v1/models\r\n0\r\n\r\n",
    "no-name": b": b\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("shape", SMUGGLING.values(), ids=SMUGGLING.keys())
async def test_shapes_that_two_parsers_might_read_differently(shape: bytes) -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        told = await gate.raw(b"POST /chat/v1/completions HTTP/1.1\r\nHost: x\r\n" + shape)
        assert (status_of(told), error_code(told)) == (400, "malformed_request")
        assert told.count(b"HTTP/1.1 ") == 1
        assert server.requests == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v1/models HTTP/3.0\r\n\r\n",
        b"FETCH /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/mo\x00dels HTTP/1.1\r\n\r\n",
        b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_malformed_and_unsupported_requests(request_bytes: bytes) -> None:
    async with front() as gate:
        told = await gate.raw(request_bytes)
        assert (status_of(told), error_code(told)) == (400, "malformed_request")


@pytest.mark.parametrize("name", ["content-type", "host", "authorization", "origin"])
async def test_fields_that_must_not_repeat(name: str) -> None:
    async with front() as gate:
        answer = await gate.ask("/chat/v1/x", PLAIN, headers=((name, "a"), (name.upper(), "b")))
        assert answer.status == 400


@pytest.mark.parametrize(
    "bad",
    [
        b"\x00\x01 nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"POST /chat/v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["nonsense", "too-large", "bad-body"],
)
async def test_bad_bytes_behind_good_requests_do_not_spoil_their_answers(bad: bytes) -> None:
    async with Served(always(ok(b'{"good":1}'))) as server, front(ready={"chat": server.port}) as gate:
        good = b"POST /chat/v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
        told = await gate.raw(good * 3 + bad)
        assert told.endswith(b'{"good":1}')
        assert told.count(b"HTTP/1.1 200 OK") == told.count(b"HTTP/1.1") == 3


@pytest.mark.parametrize("declared", [True, False], ids=["length", "chunked"])
async def test_a_body_that_is_too_large_is_refused_and_the_answer_can_be_read(declared: bool) -> None:
    size = 3_000_000
    head = b"POST /chat/v1/completions HTTP/1.1\r\nHost: x\r\n"
    async with front(settings(body_limit_bytes=100_000)) as gate, await gate.open() as wire:
        if declared:
            await wire.send(head + b"Content-Length: %d\r\n\r\n" % size)
            for _ in range(size // 10_000):
                await wire.send(b"x" * 10_000)
        else:
            await wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(size // 10_000):
                await wire.send(chunk(b"x" * 10_000))
            await wire.send(LAST_CHUNK)
        answer = await wire.answer()
        assert (answer.status, answer.get("connection")) == (413, "close")
        assert json.loads(answer.body)["error"]["code"] == "body_too_large"
        assert await wire.at_end() == b""
        assert gate.seats.tickets == []


async def test_a_client_that_sends_first_and_reads_later_can_read_the_413() -> None:
    def blocking(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as sock:
            sock.sendall(b"POST /chat/v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n")
            for _ in range(2000):
                sock.sendall(b"x" * 10_000)
            return sock.recv(12)

    async with front(settings(body_limit_bytes=1000)) as gate:
        assert await asyncio.to_thread(blocking, gate.port) == b"HTTP/1.1 413"


async def test_what_is_discarded_of_a_refused_body_is_bounded() -> None:
    limits = ConnectionLimits(linger_bytes=1_000_000)
    async with front(settings(body_limit_bytes=1000), limits=limits) as gate, await gate.open() as wire:
        await wire.send(b"POST /chat/v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                while True:  # ends because the gateway closes
                    await wire.send(b"x" * 65536)
        await gate.deserted()


async def test_a_body_of_exactly_the_limit_is_taken() -> None:
    body = b'{"a":"' + b"x" * (200_000 - 8) + b'"}'
    async with Served(always(ok(b"{}"))) as server:
        config = settings(body_limit_bytes=200_000)
        async with front(config, ready={"chat": server.port}) as gate:
            assert (await gate.ask("/chat/v1/x", body)).status == 200
            assert server.requests[0].body == body
            assert (await gate.ask("/chat/v1/x", body + b" ")).status == 413


async def test_no_body_is_kept_while_its_answer_runs() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await served.release.wait()

    async with (
        Served(script) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        tracemalloc.start()
        try:
            await wire.ask("/chat/v1/x", b'{"stream":true,"a":"' + b"x" * 5_000_000 + b'"}')
            await wire.until(b"data: 1\n\n")
            assert tracemalloc.get_traced_memory()[0] < 1_000_000
        finally:
            tracemalloc.stop()
            server.release.set()


# Slow clients


async def test_a_header_that_comes_too_slowly() -> None:
    async with front(limits=ConnectionLimits(head_s=0.05)) as gate:
        told = await gate.raw(b"GET /v1/models HTTP/1.1\r\nHo")
        assert (status_of(told), error_code(told)) == (408, "request_timeout")


async def test_a_second_header_that_comes_too_slowly() -> None:
    async with front(limits=ConnectionLimits(head_s=0.05)) as gate, await gate.open() as wire:
        await wire.ask("/v1/models")
        assert (await wire.answer()).status == 200
        await wire.send(b"GET")
        assert (await wire.answer()).status == 408


async def test_a_connection_that_sends_nothing_is_closed() -> None:
    async with front(limits=ConnectionLimits(head_s=0.05)) as gate:
        assert await gate.raw(b"") == b""


@pytest.mark.system("openssl")
async def test_a_tls_handshake_has_a_time_limit(tmp_path: Path) -> None:
    make_certificate(tmp_path / "cert.pem", tmp_path / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    async with front(limits=ConnectionLimits(head_s=0.05), tls=context) as gate:
        for half in (b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
            assert await gate.raw(half) == b""


async def test_a_connection_that_is_idle_too_long_is_closed() -> None:
    async with front(limits=ConnectionLimits(keep_alive_s=0.05)) as gate, await gate.open() as wire:
        await wire.ask("/v1/models")
        assert (await wire.answer()).status == 200
        assert await wire.at_end() == b""


async def test_a_body_that_comes_too_slowly() -> None:
    async with front(limits=ConnectionLimits(body_interval_s=0.05)) as gate:
        told = await gate.raw(b"POST /chat/v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n{")
        assert (status_of(told), error_code(told)) == (408, "request_timeout")
        assert gate.seats.tickets == []


async def test_space_around_a_value_is_no_part_of_it() -> None:
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        sent = (("X-Request-ID", " \t one \t "), ("X-A", "b  "))
        answer = await gate.ask("/chat/v1/x", b"{}", headers=sent, host="localhost ")
        assert (answer.status, answer.get("x-request-id")) == (200, "one")
        assert (b"x-a", b"b") in server.requests[0].fields


async def test_nothing_is_kept_of_a_request_that_goes_bad_before_it_was_begun() -> None:
    """A task that is cancelled before its first step must leave the set of tasks all the same."""
    async with front() as gate:
        head = b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        for bad in (b"2 \r\n{}\r\n0\r\n\r\n", b"zz\r\n", b"2\r\n{}x"):
            assert status_of(await gate.raw(head + bad)) == 400
        await gate.deserted()
        assert gate.server.tasks == set()


async def test_a_long_response_is_not_cut_by_the_clients_time_limits() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        await asyncio.sleep(0.3)  # several of the intervals below
        writer.write(ok(b"{}"))
        await writer.drain()

    limits = ConnectionLimits(head_s=0.05, body_interval_s=0.05, keep_alive_s=0.05)
    async with Served(script) as server, front(ready={"chat": server.port}, limits=limits) as gate:
        assert (await gate.ask("/chat/v1/x", PLAIN)).status == 200


# The end


@pytest.mark.parametrize("behind", [b"", b"whole", b"half a head", b"half a body", b"bad"])
async def test_a_client_that_disconnects_is_noticed_whatever_it_sent_ahead(behind: bytes) -> None:
    one = b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    ahead = {
        b"": b"",
        b"whole": 3 * one,
        b"half a head": one[:9],
        b"half a body": one + one[:-1],
        b"bad": b"\x00" * 9 + one,
    }[behind]
    async with front() as gate:
        gate.seats.waiting_models.add("chat")
        async with await gate.open() as wire:
            await wire.send(one)
            await gate.seats.asked.wait()
            await wire.send(ahead)
            if behind == b"bad":
                await discarding(gate)
                await wire.send(one)
        await gate.ticket_closed()
        assert len(gate.seats.tickets) == 1


async def discarding(gate: Front) -> None:
    """Wait until the gateway discards what its only client sends."""
    (connection,) = gate.server.connections
    async with asyncio.timeout(PATIENCE_S):
        while connection.phase is not ConnectionPhase.DISCARDING:  # noqa: ASYNC110
            await asyncio.sleep(0)


class WatchedLimits(ConnectionLimits):
    """Tells when the pace of a body is checked: only then is ``body_bytes_per_s`` read."""

    checked: asyncio.Event

    def __getattribute__(self, name: str) -> Any:
        if name == "body_bytes_per_s":
            WatchedLimits.checked.set()
        return super().__getattribute__(name)


async def test_a_body_that_waits_for_its_turn_is_not_too_slow() -> None:
    checked = WatchedLimits.checked = asyncio.Event()
    limits = WatchedLimits(body_interval_s=0.01)
    async with (
        Served(always(ok(b"{}"))) as server,
        front(ready={"chat": server.port}, limits=limits) as gate,
        await gate.open() as wire,
    ):
        gate.seats.waiting_models.add("chat")
        head = b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        await wire.send(head + b"\r\n{}" + head + b"Expect: 100-continue\r\n\r\n")
        await checked.wait()
        gate.seats.waiting_models.clear()
        gate.seats.tickets[0].grant()
        assert (await wire.answer()).status == 200
        await wire.until(b"HTTP/1.1 100 Continue\r\n\r\n")
        await wire.send(b"{}")
        assert (await wire.answer()).status == 200


async def test_malformed_bytes_during_shutdown_do_not_spoil_a_running_response() -> None:
    head = b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        gate.seats.waiting_models.add("chat")
        async with asyncio.TaskGroup() as tasks, await gate.open() as wire:
            await wire.ask("/chat/v1/x", PLAIN)
            await gate.seats.asked.wait()
            await wire.send(head + b"9")
            (connection,) = gate.server.connections
            async with asyncio.timeout(PATIENCE_S):
                while not connection.pipelined:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            tasks.create_task(gate.server.stop(PATIENCE_S))
            await asyncio.sleep(0)
            await wire.send(b"no size\r\n")
            await discarding(gate)
            gate.seats.tickets[0].grant()
            assert (await wire.answer()).status == 200


async def test_no_refused_body_is_kept_while_the_connection_is_idle() -> None:
    body = b'{"prompt":"%b"}' % (b"y" * 100_000)
    async with front() as gate, await gate.open() as wire:
        tracemalloc.start()
        try:
            await wire.ask("/chat/v1/nonsense/../x", body)
            assert (await wire.answer()).status == 404
            (connection,) = gate.server.connections
            assert (connection.phase, connection.active) == (ConnectionPhase.IDLE, None)
            assert tracemalloc.get_traced_memory()[0] < 90_000
        finally:
            tracemalloc.stop()


async def test_the_start_of_the_next_request_waits_for_its_end() -> None:
    async with (
        Served(always(ok(b"{}"))) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        one = b"POST /chat/v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
        await wire.send(one + one[:5])
        assert (await wire.answer()).status == 200
        await wire.send(one[5:])
        assert (await wire.answer()).status == 200


async def test_a_task_that_is_cancelled_before_it_began_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    run_in_task = RequestCycle.run_in_task

    def run_and_lose(client: RequestCycle, rest: Coroutine[Any, Any, None]) -> None:
        run_in_task(client, rest)
        cast(Connection, client.connection).connection_lost(None)

    monkeypatch.setattr(RequestCycle, "run_in_task", run_and_lose)
    async with front() as gate, await gate.open() as wire:
        gate.seats.waiting_models.add("chat")
        await wire.ask("/chat/v1/completions", PLAIN)
        await wire.at_end()
        await gate.ticket_closed()
        assert gate.failed == ["gone"]
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == []


async def test_a_closed_connection_is_not_left_to_the_garbage_collector() -> None:
    def live() -> int:
        return sum(isinstance(one, Connection | UpstreamConnection) for one in gc.get_objects())

    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        gc.collect()
        gc.disable()
        try:
            async with await gate.open() as wire:
                await wire.ask("/chat/v1/completions", PLAIN)
                await wire.answer()
                assert live() == 2
            await gate.deserted()
            gate.gateway.run_ended("chat", 1)
            async with asyncio.timeout(PATIENCE_S):
                while live():  # noqa: ASYNC110
                    await asyncio.sleep(0)
        finally:
            gc.enable()


async def test_shutdown_waits_for_running_responses_and_closes_idle_connections() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await served.release.wait()
        writer.write(LAST_CHUNK)
        await writer.drain()

    async with (
        Served(script) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as resting,
        await gate.open() as running,
        asyncio.TaskGroup() as group,
    ):
        await resting.ask("/v1/models")
        await resting.answer()
        await running.ask("/chat/v1/x", b'{"stream":true}')
        await running.until(b"data: 1\n\n")
        ending = group.create_task(gate.server.stop(PATIENCE_S))
        assert await resting.at_end() == b""
        with pytest.raises(OSError):
            await gate.open()
        assert not ending.done()
        server.release.set()
        assert (await running.at_end()).endswith(LAST_CHUNK)


async def test_shutdown_cuts_responses_that_do_not_end() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        assert await reader.read() == b""

    async with (
        Served(script) as server,
        front(ready={"chat": server.port}) as gate,
        await gate.open() as wire,
    ):
        await wire.ask("/chat/v1/x", b'{"stream":true}')
        await wire.until(b"data: 1\n\n")
        await gate.server.stop(0.01)
        assert LAST_CHUNK not in await wire.at_end()
        await gate.ticket_closed()
        await server.until(lambda s: s.closed == 1)


async def test_an_internal_error_is_a_500() -> None:
    async with front(ready={"chat": 1}) as gate:
        gate.seats.ask = None  # type: ignore[assignment, method-assign]
        answer = await gate.ask("/chat/v1/x", PLAIN)
        assert (answer.status, json.loads(answer.body)["error"]["code"]) == (500, "internal_error")


async def test_our_own_pages_close_when_they_answer_before_the_body_is_complete() -> None:
    """Otherwise the rest would be read as the next request, and nothing would limit the connection's time."""
    async with front() as gate:
        told = await gate.raw(b"POST /admin/at-once HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        assert told.count(b"HTTP/1.1 ") == 1
        assert b"connection: close" in told.lower()


async def test_nothing_follows_the_header_of_a_head_request() -> None:
    async with front() as gate:
        body = b'{"model":"nobody","stream":true}'
        head = b"HEAD /nobody/v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        told = await gate.raw(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert told.endswith(b"\r\n\r\n")


async def test_nothing_follows_the_header_of_a_refused_head_request_either() -> None:
    async with front() as gate:
        head = b"HEAD /chat/v1/x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        told = await gate.raw(head + b"zz\r\n")
        assert status_of(told) == 400
        assert told.endswith(b"\r\n\r\n")


def test_no_exception_is_kept_to_be_raised_again() -> None:
    """Such an exception would keep every frame that it was raised through, with the request's body."""
    import importlib
    import pkgutil

    import hotseat.gateway

    for module in pkgutil.iter_modules(hotseat.gateway.__path__):
        names = vars(importlib.import_module(f"hotseat.gateway.{module.name}"))
        assert not [name for name, value in names.items() if isinstance(value, BaseException)]
