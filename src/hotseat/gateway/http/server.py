"""The server that clients connect to: listens, and shuts down gracefully when told to.

uvicorn's own server is not used, since it takes over signals and wakes up ten times a second; the event
loop's own servers are not, since they accept before anybody can look at the peer's address or count.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from hotseat.core.spec import ListenSpec
from hotseat.gateway.http.admission import Admission, Place, network_of
from hotseat.gateway.http.connection import Connection, ServerState
from hotseat.gateway.http.connection_limits import ConnectionLimits
from hotseat.gateway.http.listener import Listener
from hotseat.gateway.http.request_cycle import CycleHandler, RequestCycle
from hotseat.listening import open_sockets, unix_path

_BACKLOG = 2048


@runtime_checkable
class ConnectionPolicy(Protocol):
    """Settings of connections that a handler may give; without them the defaults hold."""

    def client_of(self, host: str) -> str | None:
        """The client that an address belongs to; ``None`` for a proxy, which stands for many clients."""

    def slow_client_s(self) -> float:
        """Seconds that a client may take nothing of its response at the moment."""

    def answer_reserved(self, client: RequestCycle) -> Any:
        """Answer a request on one of the connections that are kept back for hotseat's own pages."""


class _ReservedHandler:
    """Answers on connections that are kept back for hotseat's own pages."""

    def __init__(self, policy: ConnectionPolicy) -> None:
        self._policy = policy

    def answer(self, client: RequestCycle) -> Any:
        return self._policy.answer_reserved(client)


class Server:
    """A listening server; made by ``serve``."""

    def __init__(self, handler: CycleHandler, limits: ConnectionLimits, tls: ssl.SSLContext | None) -> None:
        self._handler = self._reserved_handler = handler
        client_of: Any = network_of
        self._state = ServerState(limits)
        if isinstance(handler, ConnectionPolicy):
            client_of = handler.client_of
            self._reserved_handler = _ReservedHandler(handler)
            self._state.slow_client_s = handler.slow_client_s
        self._admission = Admission(limits, client_of)
        self._tls = tls
        self._listeners: list[Listener] = []
        self._handshakes: dict[asyncio.Task[None], None] = {}
        """Connections whose TLS handshake is not complete, the oldest first."""
        self._opening: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listening socket."""
        found = (listener.socket.getsockname() for listener in self._listeners)
        return [(name[0], name[1]) for name in found if isinstance(name, tuple)]

    @property
    def socket_files(self) -> list[str]:
        """The paths of the Unix sockets among them."""
        return [path for listener in self._listeners if (path := unix_path(listener.socket))]

    @property
    def connections(self) -> frozenset[Connection]:
        """Open connections."""
        return frozenset(self._state.connections)

    @property
    def admission(self) -> Admission:
        """The places of connections: how many there are, and who has to leave when there are too many."""
        return self._admission

    @property
    def tasks(self) -> frozenset[asyncio.Task[None]]:
        """Tasks of requests that wait for something."""
        return frozenset(self._state.tasks)

    def listen(self, addresses: Sequence[ListenSpec], sockets: Sequence[socket.socket]) -> None:
        """Start to listen on sockets, or else on addresses. Raises ``AddressUnavailable``."""
        for sock in sockets or open_sockets(addresses):
            listener = Listener(sock, self._accept, self._admission.relieve)
            self._listeners.append(listener)
            listener.start(_BACKLOG)

    def _accept(self, sock: socket.socket, host: str) -> None:
        place = self._admission.admit(host)
        if place is None:
            _refuse(sock, plain=self._tls_of(sock) is None)
            return
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = self._tls_of(sock)
        if tls is not None and len(self._handshakes) >= self._state.limits.handshakes:
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.cancel()
        task = asyncio.get_running_loop().create_task(self._open(sock, place))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        if tls is not None:
            self._handshakes[task] = None

    def _tls_of(self, sock: socket.socket) -> ssl.SSLContext | None:
        """A Unix socket is plain: what comes through it has not left the machine."""
        return None if sock.family == socket.AF_UNIX else self._tls

    async def _open(self, sock: socket.socket, place: Place) -> None:
        """Make a connection of an accepted socket."""
        loop, limits = asyncio.get_running_loop(), self._state.limits
        terms: dict[str, Any] = {}
        tls = self._tls_of(sock)
        if tls is not None:  # a connection's own time limits begin only after the handshake
            place.connected = _Handshake(loop.time(), asyncio.current_task())
            terms = {
                "ssl": tls,
                "ssl_handshake_timeout": limits.head_s,
                "ssl_shutdown_timeout": limits.linger_s,
            }
        try:
            await loop.connect_accepted_socket(lambda: self.protocol(place), sock, **terms)
        except (
            OSError,
            asyncio.CancelledError,
        ):  # the loop has closed the socket
            place.leave()
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._handshakes.pop(task, None)

    def protocol(self, place: Place | None = None) -> Connection:
        """Make the asyncio protocol of one more client connection."""
        is_reserved = place is not None and place.is_reserved
        return Connection(self._reserved_handler if is_reserved else self._handler, self._state, place)

    async def stop(self, grace_s: float) -> None:
        """Stop listening, close idle connections, let responses finish for ``grace_s``, cut the rest."""
        state = self._state
        state.draining = True
        paths = self.socket_files
        for listener in self._listeners:
            listener.close()
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        for opening in list(self._handshakes):
            opening.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
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


class _Handshake:
    """A connection whose TLS handshake is not complete."""

    is_evictable = True

    def __init__(self, now: float, task: asyncio.Task[None] | None) -> None:
        self.idle_since = now
        self._task = task

    def evict(self) -> None:
        if self._task is not None:
            self._task.cancel()


_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"x-should-retry: true\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
)
_TOO_MANY_BODY = (
    b'{"error":{"message":"there are too many connections; try again","type":"api_error","param":null,'
    b'"code":"too_many_connections"}}'
)


def _refuse(sock: socket.socket, *, plain: bool) -> None:
    """Close a connection for which there is no place; where there is no TLS, say why if that can be sent."""
    if plain:
        with contextlib.suppress(OSError):  # it has gone already
            sock.send(_TOO_MANY % (len(_TOO_MANY_BODY), _TOO_MANY_BODY))
    sock.close()


async def serve(
    handler: CycleHandler,
    *,
    listen: Sequence[ListenSpec] = (ListenSpec("127.0.0.1", 0),),
    sockets: Sequence[socket.socket] = (),
    limits: ConnectionLimits | None = None,
    tls: ssl.SSLContext | None = None,
) -> Server:
    """Listen on ``sockets``, or else on the addresses, and return the server, which serves until ``stop``.

    Raises ``AddressUnavailable``. Signals are left alone.
    """
    server = Server(handler, limits or ConnectionLimits(), tls)
    server.listen(listen, sockets)
    return server
