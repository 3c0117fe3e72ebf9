"""Whatever a client holds has a clock and a bound: connections, unread responses, requests sent ahead."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
import tracemalloc
from pathlib import Path

import pytest

from fakes.gateway import Front, front, settings
from fakes.tls import make_certificate
from fakes.wire import PATIENCE_S, SSE_HEAD, Served, always, chunk, ok, read_message
from hotseat.core.spec import TlsSpec
from hotseat.gateway.http.admission import Admission, Place, network_of
from hotseat.gateway.http.connection_limits import ConnectionLimits, connections_within_descriptor_limit
from hotseat.gateway.http.tls import server_context

pytestmark = pytest.mark.anyio

QUICK = ConnectionLimits(head_s=0.2, body_interval_s=0.2, linger_s=0.2, keep_alive_s=0.2, slow_client_s=0.3)
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b"G",
        b"GET /v1/models",
        b"GET /" + b"a" * 9000,
        b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nX-A: b",
        GET + b"\r\n",
        GET + b"\r\n\r\n",
        GET + b"\r\n" + GET,
        b"GET /v1/models HTTP/1.0\r\n\r\n",
        GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        POST + b"Content-Length: 9\r\n\r\n{",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        POST + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
        b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
    ids=lambda sent: repr(sent[:30] + sent[-12:]),
)
async def test_no_bytes_keep_a_connection_for_ever(sent: bytes) -> None:
    async with front(limits=QUICK) as gate, await gate.open() as wire:
        await wire.send(sent)
        await wire.at_end()
        await gate.deserted()


async def test_one_byte_at_a_time_does_not_move_the_deadline_of_a_head() -> None:
    async with front(limits=QUICK) as gate, await gate.open() as wire:

        async def trickle() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await wire.send(b"\r\n")
                    await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as group:
            trickling = group.create_task(trickle())
            await gate.deserted()
            trickling.cancel()


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's TLS context, and one for clients that trust it."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    make_certificate(cert, key)
    client = ssl.create_default_context(cafile=str(cert))
    return server_context(TlsSpec(cert=str(cert), key=str(key))), client


@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["nothing", "half a hello"])
async def test_a_tls_handshake_has_a_deadline(tmp_path: Path, hello: bytes) -> None:
    tls, _ = contexts(tmp_path)
    async with front(limits=QUICK, tls=tls) as gate, await gate.open() as wire:
        await wire.send(hello)
        await wire.at_end()
        assert len(gate.server.admission) == 0


async def test_a_tls_client_that_sends_an_empty_line_has_a_deadline(tmp_path: Path) -> None:
    tls, client = contexts(tmp_path)
    async with front(limits=QUICK, tls=tls) as gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port, ssl=client)
        writer.write(b"\r\n")
        async with asyncio.timeout(PATIENCE_S):
            assert await reader.read() == b""
        writer.close()


async def test_a_tls_client_that_takes_nothing_is_cut_off(tmp_path: Path) -> None:
    tls, client = contexts(tmp_path)
    async with (
        Served(always(ok(b"x" * 9_000_000))) as server,
        front(ready={"chat": server.port}, limits=QUICK, tls=tls) as gate,
    ):
        with deaf_socket(gate.port) as plain:

            def ask() -> ssl.SSLSocket:
                wrapped = client.wrap_socket(plain, server_hostname="127.0.0.1")
                wrapped.sendall(b"GET /chat/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return wrapped

            wrapped = await asyncio.to_thread(ask)
            await gate.ticket_closed()
            await gate.deserted()
            wrapped.close()


def deaf_socket(port: int) -> socket.socket:
    """A client that takes as little as TCP allows."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    sock.connect(("127.0.0.1", port))
    return sock


async def test_a_client_that_takes_nothing_of_a_response_is_cut_off() -> None:
    """Else two of them keep a model with ``max_in_flight: 2`` for ever."""

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_message(reader)
        writer.write(SSE_HEAD)
        while True:
            writer.write(chunk(b"data: " + b"x" * 60_000 + b"\n\n"))
            await writer.drain()

    async with Served(script) as server, front(ready={"chat": server.port}, limits=QUICK) as gate:
        with deaf_socket(gate.port) as sock:
            sock.sendall(POST + b'Content-Length: 15\r\n\r\n{"stream":true}')
            await gate.seats.asked.wait()
            await gate.ticket_closed()
            await gate.deserted()


async def test_a_client_that_reads_slowly_but_steadily_is_not_cut_off() -> None:
    size = 1_000_000
    limits = ConnectionLimits(slow_client_s=0.3, slow_client_bytes_per_s=1024)
    async with (
        Served(always(ok(b"x" * size))) as server,
        front(ready={"chat": server.port}, limits=limits) as gate,
    ):
        with deaf_socket(gate.port) as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            ask = b"GET /chat/v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            await loop.sock_sendall(sock, ask)
            got = 0
            while piece := await loop.sock_recv(sock, 2000):
                got += len(piece)
                if got < 120_000:
                    await asyncio.sleep(0.01)
        assert got > size


async def test_less_patience_with_a_slow_client_while_others_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotseat.gateway.gateway.CONTENDED_SLOW_CLIENT_S", 0.1)
    limits = ConnectionLimits(slow_client_s=1.0)
    async with (
        Served(always(ok(b"x" * 9_000_000))) as server,
        front(ready={"chat": server.port}, limits=limits) as gate,
    ):
        assert gate.gateway.slow_client_s() > 1.0
        with deaf_socket(gate.port) as sock:
            sock.sendall(b"GET /chat/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await gate.seats.asked.wait()
            gate.seats.waiting_models.add("coder")
            async with await gate.open() as other:
                await other.ask("/coder/v1/x", b"{}")
                await gate.ticket_closed()
                assert gate.gateway.slow_client_s() == 0.1


@pytest.mark.parametrize("last", [b"Connection: close\r\n\r\n", b"\r\n"], ids=["closing", "kept alive"])
async def test_a_finished_response_that_is_not_taken_is_not_kept_for_ever(last: bytes) -> None:
    async with (
        Served(always(ok(b"x" * 9_000_000))) as server,
        front(ready={"chat": server.port}, limits=QUICK) as gate,
    ):
        with deaf_socket(gate.port) as sock:
            sock.sendall(b"GET /chat/v1/x HTTP/1.1\r\nHost: localhost\r\n" + last)
            await gate.seats.asked.wait()
            await gate.deserted()
        assert gate.seats.open == 0


PIPELINED = {
    "refused": b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "models": GET + b"\r\n",
    "options": b"OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "pages": b"GET /admin/at-once HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bad json": POST + b"Content-Length: 1\r\n\r\n{",
    "too large": POST + b"Content-Length: 2001\r\n\r\n" + b"x" * 2001,
    "forwarded": b"GET /chat/v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", PIPELINED.values(), ids=PIPELINED.keys())
async def test_answers_that_are_not_read_do_not_pile_up(request_bytes: bytes) -> None:
    """The next request begins when the last answer has left: else some 7 MiB a second, without a key."""
    async with (
        Served(always(ok(b"x" * 400))) as server,
        front(settings(body_limit_bytes=2000), ready={"chat": server.port}) as gate,
    ):
        with deaf_socket(gate.port) as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            burst = request_bytes * (200_000 // len(request_bytes))
            tracemalloc.start()
            try:
                with contextlib.suppress(TimeoutError, ConnectionError):
                    async with asyncio.timeout(0.7):
                        for _ in range(150):
                            await loop.sock_sendall(sock, burst)
                assert tracemalloc.get_traced_memory()[1] < 3_000_000
            finally:
                tracemalloc.stop()


async def test_requests_that_were_sent_far_ahead_are_all_answered() -> None:
    count = 3000
    async with front() as gate, await gate.open() as wire:
        async with asyncio.TaskGroup() as group:
            group.create_task(wire.send((GET + b"\r\n") * count))
            for _ in range(count):
                assert (await wire.answer()).status == 200
        (connection,) = gate.server.connections
        assert connection.pipelined == 0


async def test_what_all_clients_send_ahead_is_bounded() -> None:
    limits = ConnectionLimits(unparsed_bytes=1000)
    async with front(limits=limits) as gate, await gate.open() as wire:
        await wire.send((GET + b"\r\n") * 3000)
        told = await wire.at_end()
        assert 8 <= told.count(b"HTTP/1.1 200 OK") < 3000
        assert told.count(b"connection: close") == 1


async def test_the_pieces_of_a_request_may_be_split_anywhere() -> None:
    body = b'{"a":"\\r\\n\\r\\n"}\r\n\r\n'
    one = POST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\n\r\n"
    whole = one + b"\r\n" + chunked + one + chunked
    async with Served(always(ok(b"{}"))) as server, front(ready={"chat": server.port}) as gate:
        for size in (1, 2, 3, 5, 7, 11, 64):
            async with await gate.open() as wire:
                for at in range(0, len(whole), size):
                    await wire.send(whole[at : at + size])
                    await asyncio.sleep(0)
                for _ in range(4):
                    assert (await wire.answer()).status == 200
        assert [message.body for message in server.requests] == [body, b"\r\n\r\n{}"] * 2 * 7


BAD_LINES = [
    b"GET /v1/models HTTP/0.9\r\n\r\n",
    b"GET /v1/models HTTP/2.0\r\n\r\n",
    b"GET  /v1/models HTTP/1.1\r\n\r\n",
    b"GET /v1/models  HTTP/1.1\r\n\r\n",
    b"GET /v1/models HTTP/1.1 \r\n\r\n",
    b" GET /v1/models HTTP/1.1\r\n\r\n",
    b"GET\t/v1/models HTTP/1.1\r\n\r\n",
    b"GET /v1/models\tHTTP/1.1\r\n\r\n",
    b"GET /v1/models HTTP/1.1\n\n",
    b"GET /v1/models\r\n\r\n",
    b"GET /v1/models http/1.1\r\n\r\n",
    b"GET /v1/models HTTP/1.2\r\n\r\n",
    b"GET /v1/models HTTP/01.1\r\n\r\n",
]


@pytest.mark.parametrize("line", BAD_LINES)
@pytest.mark.parametrize(
    "before", [b"", b"\r\n", GET + b"\r\n"], ids=["first", "after an empty line", "pipelined"]
)
@pytest.mark.parametrize("size", [1, 1000])
async def test_a_request_line_that_is_not_exactly_one_is_malformed(
    line: bytes, before: bytes, size: int
) -> None:
    whole = before + line.replace(b"\r\n\r\n", b"\r\nHost: localhost\r\n\r\n")
    async with front() as gate, await gate.open() as wire:
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(whole), size):
                await wire.send(whole[at : at + size])
                await asyncio.sleep(0)
        told = await wire.at_end()
    statuses = [int(part.split(b" ")[0]) for part in told.split(b"HTTP/1.1 ")[1:]]
    assert statuses in ([200, 400], [200]) if before.startswith(b"GET") else statuses == [400]


async def test_a_header_of_many_fields_is_refused() -> None:
    async with front() as gate:
        told = await gate.raw(GET + b"".join(b"X-%d: y\r\n" % n for n in range(300)) + b"\r\n")
        assert told.startswith(b"HTTP/1.1 431 ")


# The number of connections


async def held(gate: Front, count: int) -> list[socket.socket]:
    """Connections of strangers that send nothing; all have been accepted."""
    admission = gate.server.admission
    came = len(admission) + admission.refused
    socks = [socket.create_connection(("127.0.0.1", gate.port)) for _ in range(count)]
    async with asyncio.timeout(PATIENCE_S):
        while len(admission) + admission.refused < came + count:  # noqa: ASYNC110
            await asyncio.sleep(0)
    return socks


async def test_strangers_that_hold_connections_do_not_keep_the_owner_out() -> None:
    limits = ConnectionLimits(max_connections=20, max_connections_per_client=20)
    async with (
        Served(always(ok(b"{}"))) as server,
        front(ready={"chat": server.port}, limits=limits) as gate,
        await gate.open() as wire,
    ):
        await wire.ask("/chat/v1/x", b"{}")
        assert (await wire.answer()).status == 200
        socks = await held(gate, 60)
        assert len(gate.server.admission) <= 20
        assert (await gate.ask("/chat/v1/x", b"{}")).status == 200
        await wire.ask("/chat/v1/x", b"{}")  # it is no stranger, so it was not closed
        assert (await wire.answer()).status == 200
        for sock in socks:
            sock.close()


async def test_strangers_in_the_tls_handshake_do_not_keep_the_owner_out(tmp_path: Path) -> None:
    tls, client = contexts(tmp_path)
    limits = ConnectionLimits(max_connections=20, max_connections_per_client=20, handshakes=10)
    async with front(limits=limits, tls=tls) as gate:
        socks = await held(gate, 60)
        assert len(gate.server.admission) <= 20
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port, ssl=client)
        writer.write(GET + b"\r\n")
        async with asyncio.timeout(PATIENCE_S):
            assert (await read_message(reader)).status == 200
        writer.close()
        for sock in socks:
            sock.close()


async def test_hotseats_own_pages_are_answered_when_all_connections_are_busy() -> None:
    limits = ConnectionLimits(max_connections=3, max_connections_per_client=100, reserved_connections=2)
    async with front(limits=limits) as gate:
        gate.seats.waiting_models.add("chat")
        wires = [await gate.open() for _ in range(3)]
        for wire in wires:
            await wire.ask("/chat/v1/x", b"{}")
        async with asyncio.timeout(PATIENCE_S):
            while len(gate.seats.tickets) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0)
        answer = await gate.ask("/chat/v1/x", b"{}")
        assert (answer.status, answer.get("retry-after")) == (503, "1")
        assert (await gate.ask("/admin/at-once")).status == 200
        for wire in wires:
            wire.close()


async def test_the_connections_of_one_address_are_bounded() -> None:
    limits = ConnectionLimits(max_connections=100, max_connections_per_client=5)
    async with front(limits=limits) as gate:
        socks = await held(gate, 9)
        assert len(gate.server.admission) == 5
        for sock in socks:
            sock.close()


async def test_a_process_without_descriptors_serves_again_when_there_are_some() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    loop = asyncio.get_running_loop()
    async with front() as gate, await gate.open() as wire:
        await wire.ask("/v1/models")
        assert (await wire.answer()).status == 200
        waiting = socket.socket()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            waiting.setblocking(False)
            await loop.sock_connect(waiting, ("127.0.0.1", gate.port))
            assert await wire.at_end() == b""  # closed, to make room
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await loop.sock_sendall(waiting, GET + b"\r\n")
        async with asyncio.timeout(PATIENCE_S):
            assert (await loop.sock_recv(waiting, 12)) == b"HTTP/1.1 200"
        waiting.close()


class Stub:
    """A connection of the admission's tests."""

    def __init__(self, idle_since: float, *, busy: bool = False) -> None:
        self.idle_since, self.is_evictable = idle_since, not busy
        self.evicted = False

    def evict(self) -> None:
        self.evicted = True


def admitted(admission: Admission, host: str, stub: Stub, *, known: bool = True) -> Place:
    place = admission.admit(host)
    assert place is not None
    place.connected = stub
    if known:
        place.prove()
    return place


def test_newcomers_leave_before_known_clients_and_idle_ones_before_busy_ones() -> None:
    limits = ConnectionLimits(max_connections=4, max_connections_per_client=4, reserved_connections=0)
    admission = Admission(limits, network_of)
    stubs = [Stub(1.0), Stub(0.5), Stub(0.1, busy=True), Stub(2.0)]
    for stub in stubs[:3]:
        admitted(admission, "10.0.0.1", stub)
    admitted(admission, "10.0.0.2", stubs[3], known=False)
    leaving: list[int] = []
    for number in range(3):
        admitted(admission, f"10.0.1.{number}", Stub(9.0, busy=True))
        leaving += [n for n, stub in enumerate(stubs) if stub.evicted and n not in leaving]
    assert leaving == [3, 1, 0]
    assert admission.admit("10.0.2.1") is None
    assert len(admission) == 4


def test_a_client_with_too_many_connections_loses_its_own() -> None:
    limits = ConnectionLimits(max_connections=100, max_connections_per_client=2)
    admission = Admission(limits, network_of)
    other = Stub(0.0)
    admitted(admission, "10.0.0.9", other, known=False)
    own = [Stub(float(n)) for n in range(3)]
    for n, stub in enumerate(own):
        admitted(admission, f"2001:db8::{n + 1}", stub, known=False)
    assert [stub.evicted for stub in own] == [True, False, False]
    assert not other.evicted


def test_a_trusted_proxy_stands_for_many_clients() -> None:
    limits = ConnectionLimits(max_connections=100, max_connections_per_client=2)
    admission = Admission(limits, lambda host: None)
    for _ in range(50):
        admitted(admission, "10.0.0.1", Stub(0.0))
    assert (len(admission), admission.refused) == (50, 0)


def test_places_are_given_back_once() -> None:
    admission = Admission(ConnectionLimits(max_connections=2), network_of)
    place = admitted(admission, "10.0.0.1", Stub(0.0))
    place.leave()
    place.leave()
    assert (len(admission), admission.newcomers) == (0, {})


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:0:1:2:3:4:5", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_what_counts_as_one_client(host: str, client: str) -> None:
    assert network_of(host) == client


def test_the_number_of_connections_follows_from_the_descriptor_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, most in ((64, 16), (300, 100), (4096, 1998), (1_000_000, 8192)):
        monkeypatch.setattr("resource.getrlimit", lambda _, soft=soft: (soft, soft))
        assert connections_within_descriptor_limit() == most
