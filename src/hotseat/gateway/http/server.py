"""The server that clients connect to: listens, and shuts down gracefully when told to.

uvicorn's own server is not used, since it takes over signals and wakes up ten times a second.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from hotseat.gateway.http.connection import Connection, ServerState
from hotseat.gateway.http.connection_limits import ConnectionLimits
from hotseat.gateway.http.request_cycle import CycleHandler

_BACKLOG = 2048


class Server:
    """A listening server; made by ``serve``."""

    def __init__(self, handler: CycleHandler, limits: ConnectionLimits, tls: ssl.SSLContext | None) -> None:
        self._handler = handler
        self._state = ServerState(limits)
        self._tls = tls
        self._listeners: list[asyncio.Server] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listening socket."""
        found = (sock.getsockname() for listener in self._listeners for sock in listener.sockets)
        return [(name[0], name[1]) for name in found]

    @property
    def connections(self) -> frozenset[Connection]:
        """Open connections."""
        return frozenset(self._state.connections)

    @property
    def tasks(self) -> frozenset[asyncio.Task[None]]:
        """Tasks of requests that wait for something."""
        return frozenset(self._state.tasks)

    async def listen(self, *, host: str | None, port: int, sockets: Sequence[socket.socket]) -> None:
        """Start to listen. Raises ``OSError`` when the address is not available."""
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {"ssl": self._tls} if self._tls is not None else {}
        if tls:  # a connection's own time limits begin only after the handshake
            tls["ssl_handshake_timeout"] = self._state.limits.head_s
        if sockets:
            for sock in sockets:
                self._listeners.append(
                    await loop.create_server(self.protocol, sock=sock, backlog=_BACKLOG, **tls)
                )
        else:
            self._listeners.append(
                await loop.create_server(self.protocol, host, port, backlog=_BACKLOG, **tls)
            )

    def protocol(self) -> Connection:
        """Make the asyncio protocol of one more client connection."""
        return Connection(self._handler, self._state)

    async def stop(self, grace_s: float) -> None:
        """Stop listening, close idle connections, let responses finish for ``grace_s``, cut the rest."""
        state = self._state
        state.draining = True
        for listener in self._listeners:
            listener.close()
        for connection in self.connections:
            connection.shutdown()
        try:
            async with asyncio.timeout(grace_s):
                await self.emptied()
        except TimeoutError:
            for connection in self.connections:
                connection.transport.abort()
            await self.emptied()
        tasks = self.tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def emptied(self) -> None:
        """Wait until no connection is open."""
        while self._state.connections:
            self._state.empty.clear()
            await self._state.empty.wait()


async def serve(
    handler: CycleHandler,
    *,
    host: str | None = None,
    port: int = 0,
    sockets: Sequence[socket.socket] = (),
    limits: ConnectionLimits | None = None,
    tls: ssl.SSLContext | None = None,
) -> Server:
    """Listen on ``host``:``port``, or on ``sockets``, and return the server, which serves until ``stop``.

    Raises ``OSError`` when the address is not available. Signals are left alone.
    """
    server = Server(handler, limits or ConnectionLimits(), tls)
    await server.listen(host=host, port=port, sockets=sockets)
    return server
