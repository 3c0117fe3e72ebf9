"""The phases of connections, as ``phase`` and ``repr`` show them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import pytest

from fakes.gateway import front
from fakes.wire import LAST_CHUNK, PATIENCE_S, SSE_HEAD, Served, always, chunk, ok
from hotseat.core.views import Upstream
from hotseat.gateway.http.connection import Connection, ConnectionPhase
from hotseat.gateway.http.upstream import UpstreamConnection, UpstreamPhase, UpstreamPools

pytestmark = pytest.mark.anyio

HEAD = b"POST /chat/v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_client_connection_from_accept_to_close() -> None:
    def shown(connection: Connection) -> str:
        return re.sub(r"127\.0\.0\.1:\d+", "PEER", repr(connection))

    async with front() as gate, await gate.open() as wire:
        gate.seats.waiting_models.add("chat")
        await until(lambda: len(gate.server.connections) == 1)
        (connection,) = gate.server.connections
        assert shown(connection) == "<Connection PEER IDLE>"
        await wire.send(HEAD[:9])
        await until(lambda: connection.phase is ConnectionPhase.HEAD)
        await wire.send(HEAD[9:])
        await until(lambda: connection.phase is ConnectionPhase.BODY)
        assert (
            shown(connection)
            == "<Connection PEER BODY, answering <RequestCycle POST /chat/v1/x reading the body>>"
        )
        await wire.send(b"{}" + HEAD)
        await until(lambda: connection.pipelined == 1)
        assert shown(connection) == (
            "<Connection PEER BODY, answering "
            "<RequestCycle POST /chat/v1/x waiting for a response>, 1 pipelined>"
        )
        await wire.send(b"{}" + b"\x00")
        await until(lambda: connection.phase is ConnectionPhase.DISCARDING)
        wire.close()
        await gate.deserted()
        assert shown(connection) == "<Connection PEER CLOSED>"


async def test_a_malformed_request_is_lingered_over() -> None:
    async with front() as gate, await gate.open() as wire:
        await wire.send(b"nonsense")
        assert (await wire.answer()).status == 400
        (connection,) = gate.server.connections
        assert connection.phase is ConnectionPhase.LINGERING


async def test_a_server_connection_from_request_to_reuse() -> None:
    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        await served.release.wait()
        served.release.clear()
        writer.write(SSE_HEAD[:20])
        await served.release.wait()
        served.release.clear()
        writer.write(SSE_HEAD[20:] + chunk(b"data: 1\n\n"))
        await served.release.wait()
        writer.write(LAST_CHUNK)
        await reader.read()

    async with Served(script) as server, front(ready={"chat": server.port}) as gate:
        async with await gate.open() as wire:
            await wire.ask("/chat/v1/x", b'{"stream":true}')
            await server.until(lambda s: len(s.requests) == 1)
            (client,) = [one.active for one in gate.server.connections]
            assert client is not None
            connection = client.source
            assert isinstance(connection, UpstreamConnection)
            where = f"<UpstreamConnection 127.0.0.1:{server.port}"
            assert repr(connection) == f"{where} AWAITING_RESPONSE>"
            connection.pause_reading()
            assert repr(connection) == f"{where} AWAITING_RESPONSE, reading paused>"
            connection.resume_reading()
            server.release.set()
            await until(lambda: connection.phase is UpstreamPhase.HEAD)
            server.release.set()
            await until(lambda: connection.phase is UpstreamPhase.BODY)
            assert repr(client) == "<RequestCycle POST /chat/v1/x 200 started>"
            server.release.set()
            await wire.until(LAST_CHUNK)
            assert repr(client) == "<RequestCycle POST /chat/v1/x 200 complete>"
        assert connection.phase is UpstreamPhase.IDLE
        gate.gateway.run_ended("chat", 1)
        await until(lambda: connection.phase is UpstreamPhase.CLOSED)


async def test_a_pool_from_its_first_connection_to_its_close() -> None:
    async with Served(always(ok(b"{}"))) as server:
        pools = UpstreamPools()
        pool = pools.pool(Upstream(model="chat", run=3, host="127.0.0.1", port=server.port))
        connection = await pool.connect()
        assert repr(pools) == "<UpstreamPools [<ConnectionPool chat run 3: 0 idle>]>"
        pool.release(connection)
        assert repr(pool) == "<ConnectionPool chat run 3: 1 idle>"
        pools.close()
        assert repr(pool) == "<ConnectionPool chat run 3: 0 idle, closed>"
        assert connection.phase is UpstreamPhase.CLOSED
