"""The server that faces the clients: listens, and ends in an orderly way when it is told to.

uvicorn's protocol does the work; its own server is not used, since it takes signals and wakes ten
times a second.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Any

from uvicorn.config import Config

from hotseat.gateway.http.connection import Connection, ConnectionLimits, ConnectionState
from hotseat.gateway.http.request_cycle import CycleHandler

_BACKLOG = 2048


class Server:
    """A listening server; made by ``serve``."""

    def __init__(
        self, application: CycleHandler, limits: ConnectionLimits, tls: ssl.SSLContext | None
    ) -> None:
        self._config = Config(
            app=application,  # type: ignore[arg-type]  # our connections hand it a Client, not a scope
            interface="asgi3",
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
        )
        self._config.load()
        self._state = ConnectionState(limits)
        self._tls = tls
        self._listeners: list[asyncio.Server] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens: host and port."""
        found = (sock.getsockname() for listener in self._listeners for sock in listener.sockets)
        return [(name[0], name[1]) for name in found]

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._state.connections)

    async def listen(self, *, host: str | None, port: int, sockets: Sequence[socket.socket]) -> None:
        """Start to listen. Raises ``OSError`` when the address cannot be had."""
        loop = asyncio.get_running_loop()
        tls: dict[str, Any] = {"ssl": self._tls} if self._tls is not None else {}
        if tls:  # what a stranger may take for it; our own clocks run only afterwards
            tls["ssl_handshake_timeout"] = self._state.limits.head_s
        if sockets:
            for sock in sockets:
                self._listeners.append(
                    await loop.create_server(self._connect, sock=sock, backlog=_BACKLOG, **tls)
                )
        else:
            self._listeners.append(
                await loop.create_server(self._connect, host, port, backlog=_BACKLOG, **tls)
            )

    def _connect(self) -> Connection:
        return Connection(self._config, self._state, {})

    async def stop(self, grace_s: float) -> None:
        """Listen no more, close what rests, let running responses finish for ``grace_s``, cut the rest."""
        state = self._state
        state.closing = True
        for listener in self._listeners:
            listener.close()
        for connection in list(state.connections):
            connection.shutdown()
        try:
            async with asyncio.timeout(grace_s):
                await self.emptied()
        except TimeoutError:
            for connection in list(state.connections):
                connection.transport.abort()
            await self.emptied()
        tasks = list(state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def emptied(self) -> None:
        """Wait until no connection is open."""
        while self._state.connections:
            self._state.empty.clear()
            await self._state.empty.wait()


async def serve(
    application: CycleHandler,
    *,
    host: str | None = None,
    port: int = 0,
    sockets: Sequence[socket.socket] = (),
    limits: ConnectionLimits | None = None,
    tls: ssl.SSLContext | None = None,
) -> Server:
    """Listen on ``host``:``port``, or on ``sockets``, and return the server, which serves until ``stop``.

    Raises ``OSError`` when the address cannot be had. No signal is touched.
    """
    server = Server(application, limits or ConnectionLimits(), tls)
    await server.listen(host=host, port=port, sockets=sockets)
    return server
