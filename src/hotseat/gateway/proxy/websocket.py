"""WebSockets to a model's server: the handshake is relayed, and then bytes in both directions.

The lease is held until either side closes. Frames pass untouched (pings, pongs and compression are between
the client and the server); they are followed only so far that a closing frame can be put between two of them.
A slow side makes the other one wait, as with streams.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from urllib.parse import quote, unquote_plus

from hotseat.core.errors import Reason
from hotseat.core.views import Upstream
from hotseat.gateway.access.client_context import KEY_PROTOCOL
from hotseat.gateway.http import errors
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.http.upstream import CONNECT_TIMEOUT_S, MAX_HEAD_BYTES, UpstreamFailure
from hotseat.gateway.proxy.access_log import RequestRecord
from hotseat.gateway.proxy.lease import Lease, LeaseRefused, Ticket
from hotseat.gateway.proxy.services import GatewayServices
from hotseat.gateway.routing import Route

IDLE_S = 600.0
"""A WebSocket on which nothing came in either direction for so long is closed."""
HANDSHAKE_S = 30.0
"""How long a server may take to answer the handshake."""
MAX_WEBSOCKETS = 256
"""Open at one time."""

GOING_AWAY = 1001
SERVER_ERROR = 1011
SERVICE_RESTART = 1012
_PASSED_FIELDS = (b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol")


async def serve(
    cycle: RequestCycle,
    services: GatewayServices,
    route: Route,
    *,
    priority: int,
    key: str,
    target: bytes,
    headers: bytes,
    began_at: float,
    record: RequestRecord,
) -> None:
    """Serve one WebSocket to its end: the lease, the handshake, the relay.

    ``target``: path and query at the server; ``headers``: the lines of the handshake that the server gets.
    Raises ``RequestRefused`` while the client can still be told.
    """
    if len(services.websockets) >= MAX_WEBSOCKETS:
        raise errors.RequestRefused(_TOO_MANY)
    services.websockets.add(cycle)
    ticket: Ticket | None = None
    try:
        ticket = services.leases.ask(route.model, priority=priority, key=key)
        while ticket.lease is None:
            await ticket.wait()
        record.waited_s = round(monotonic() - began_at, 4)
        await _relay(cycle, services, route, ticket.lease, target, headers)
    except LeaseRefused as refused:
        loading = None if ticket is None else ticket.loading()
        raise errors.RequestRefused(errors.from_refusal(refused.refusal, loading)) from None
    except UpstreamFailure as failure:
        status = 503 if failure.unreachable else 504 if failure.timed_out else 502
        raise errors.RequestRefused(errors.unreachable(route.model, failure.message, status=status)) from None
    finally:
        services.websockets.discard(cycle)
        if ticket is not None:
            ticket.close()


async def _relay(
    cycle: RequestCycle, services: GatewayServices, route: Route, lease: Lease, target: bytes, headers: bytes
) -> None:
    """Open the WebSocket at the server and relay it. Raises ``RequestRefused``, ``UpstreamFailure``."""
    pool = services.upstreams.pool(lease.upstream)
    request = (b"GET ", pool.base_path, target, pool.request_line_end, route.authorization, headers, b"\r\n")
    handshake = await shake_hands(lease.upstream, b"".join(request))
    if handshake.status != 101 or cycle.connection.pipelined or cycle.disconnected:
        handshake.end.transport.abort()
        raise errors.RequestRefused(refused_by_server(handshake))
    tunnel = switch(cycle, handshake)
    lease.on_break(tunnel.on_break)
    try:
        await tunnel.run(handshake.rest)
    finally:
        lease.on_break(None)


_TOO_MANY = errors.ErrorResponse(
    status=503,
    code="too_many_websockets",
    type="api_error",
    message=f"{MAX_WEBSOCKETS} WebSockets are open already",
    retry_after_s=5,
    should_retry=True,
)


class FrameTracker:
    """Follows the frames of one direction, to know where one ends (RFC 6455 §5.2)."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    @property
    def is_between_frames(self) -> bool:
        """Whether the last frame is complete."""
        return not self._head and not self._left

    def feed(self, data: bytes) -> None:
        """Take a piece of what was sent."""
        at, size = 0, len(data)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
                continue
            self._head += data[at : at + 1]
            at += 1
            head = self._head
            if len(head) < 2:
                continue
            length = head[1] & 0x7F
            extended = {126: 2, 127: 8}.get(length, 0)
            if len(head) < 2 + extended + (4 if head[1] & 0x80 else 0):
                continue
            self._left = int.from_bytes(head[2 : 2 + extended]) if extended else length
            self._head = b""


def protocols_to_pass(sent: bytes) -> bytes:
    """The subprotocols that the server is offered: without the one that holds the client's key."""
    offered = [protocol.strip() for protocol in sent.split(b",")]
    return b", ".join(protocol for protocol in offered if protocol and not protocol.startswith(KEY_PROTOCOL))


def model_in_query(query: bytes) -> str | None:
    """The model that a query (``?model=…``) names, if it names one."""
    for parameter in query[1:].split(b"&"):
        name, _, value = parameter.partition(b"=")
        if name == b"model":
            return unquote_plus(value.decode("latin-1"))
    return None


def with_model(query: bytes, model: str) -> bytes:
    """The query with another model's name in it; all else stays as it was written."""
    written = b"model=" + quote(model, safe="").encode()
    return b"?" + b"&".join(
        written if parameter.partition(b"=")[0] == b"model" else parameter
        for parameter in query[1:].split(b"&")
    )


class _ServerEnd(asyncio.Protocol):
    """The connection to the model's server."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.received = bytearray()
        """What came before the tunnel was open."""
        self.changed = asyncio.Event()
        self.is_closed = False
        self.tunnel: Tunnel | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.to_client(data)
            return
        self.received += data
        self.changed.set()
        if b"\r\n\r\n" in self.received:
            self.transport.pause_reading()  # until the tunnel is open
        elif len(self.received) > MAX_HEAD_BYTES:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self.changed.set()
        if self.tunnel is not None:
            self.tunnel.end(None)

    def pause_writing(self) -> None:
        if self.tunnel is not None:
            self.tunnel.cycle.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.tunnel is not None and not self.tunnel.cycle.transport.is_closing():
            self.tunnel.cycle.transport.resume_reading()


class _ClientEnd(asyncio.Protocol):
    """Takes the place of the client's HTTP connection; that is still told what concerns the socket."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def data_received(self, data: bytes) -> None:
        self._tunnel.to_server(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.end(None)
        self._tunnel.cycle.connection.connection_lost(exc)

    def pause_writing(self) -> None:
        self._tunnel.cycle.connection.pause_writing()

    def resume_writing(self) -> None:
        self._tunnel.cycle.connection.resume_writing()


class Tunnel:
    """One open WebSocket (a ``Source`` of its client's response)."""

    def __init__(self, cycle: RequestCycle, server: _ServerEnd) -> None:
        self.cycle = cycle
        self._server = server
        self._frames = FrameTracker()
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._used_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def pause_reading(self) -> None:
        """Let the server wait: the client is slow."""
        if not self._server.is_closed:
            self._server.transport.pause_reading()

    def resume_reading(self) -> None:
        """Let the server go on."""
        if not self._server.is_closed:
            self._server.transport.resume_reading()

    def to_client(self, data: bytes) -> None:
        """Pass on what the server sent."""
        self._used_at = self._loop.time()
        self._frames.feed(data)
        self.cycle.bytes_sent += len(data)
        if not self._ended.done():
            self.cycle.transport.write(data)

    def to_server(self, data: bytes) -> None:
        """Pass on what the client sent."""
        self._used_at = self._loop.time()
        if not self._server.is_closed:
            self._server.transport.write(data)

    def end(self, code: int | None) -> None:
        """Close both sides; with a closing frame of this code for the client where one can be sent."""
        if self._ended.done():
            return
        self._ended.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        self._server.tunnel = None
        self._server.transport.close()
        self.cycle.source = None
        self.cycle.response_complete = True
        if code is not None and self._frames.is_between_frames and not self.cycle.transport.is_closing():
            self.cycle.transport.write(b"\x88\x02" + code.to_bytes(2))
        self.cycle.connection.close()

    async def run(self, early: bytes) -> None:
        """Relay until one side closes; ``early``: what the server sent behind its handshake."""
        cycle = self.cycle
        cycle.source, cycle.on_drain = self, lambda: self.end(GOING_AWAY)
        cycle.transport.set_protocol(_ClientEnd(self))
        self._server.tunnel = self
        self._check_idle()
        if early:
            self.to_client(early)
        if self._server.is_closed:
            self.end(SERVER_ERROR)
        elif not cycle.is_slow:
            self.resume_reading()
        try:
            await self._ended
        finally:
            self.end(SERVER_ERROR)

    def on_break(self, reason: Reason) -> None:
        """End: the run has ended or is being stopped."""
        self.end(SERVICE_RESTART if reason.alive else SERVER_ERROR)

    def _check_idle(self) -> None:
        left_s = self._used_at + IDLE_S - self._loop.time()
        if left_s <= 0:
            self.end(GOING_AWAY)
        else:
            self._timer = self._loop.call_later(left_s, self._check_idle)


class Handshake:
    """The answer of a model's server to the handshake."""

    def __init__(self, end: _ServerEnd, head: bytes, rest: bytes) -> None:
        """Raises ``UpstreamFailure`` for a head that is none."""
        self.end = end
        self.rest = rest
        first, *lines = head.split(b"\r\n")
        words = first.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise UpstreamFailure("its server sent a malformed response")
        self.status = int(words[1])
        self.lines = b""
        """Header lines for the client."""
        for line in lines:
            name, _, value = line.partition(b":")
            if name.strip().lower() in _PASSED_FIELDS:
                self.lines += b"%b: %b\r\n" % (name.strip().lower(), value.strip())


async def shake_hands(upstream: Upstream, request: bytes) -> Handshake:
    """Connect to a model's server and send it the handshake. Raises ``UpstreamFailure``."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, end = await loop.create_connection(_ServerEnd, upstream.host, upstream.port)
    except (TimeoutError, OSError):
        raise UpstreamFailure("its server cannot be reached", unreachable=True) from None
    try:
        end.transport.write(request)
        async with asyncio.timeout(HANDSHAKE_S):
            while (at := end.received.find(b"\r\n\r\n")) == -1:
                if end.is_closed:
                    raise UpstreamFailure("its server closed the connection before it had answered")
                end.changed.clear()
                await end.changed.wait()
        return Handshake(end, bytes(end.received[:at]), bytes(end.received[at + 4 :]))
    except TimeoutError:
        end.transport.abort()
        raise UpstreamFailure(f"its server sent nothing for {HANDSHAKE_S:g} s", timed_out=True) from None
    except BaseException:
        end.transport.abort()
        raise


def refused_by_server(handshake: Handshake) -> errors.ErrorResponse:
    """Make the error for a server that answered a handshake without switching to WebSocket."""
    status = handshake.status if 400 <= handshake.status < 600 else 502
    return errors.ErrorResponse(
        status=status,
        code="websocket_refused",
        type="upstream_error",
        message=f"the model's server does not open a WebSocket here: it answered {handshake.status}",
        should_retry=False,
    )


def switch(cycle: RequestCycle, handshake: Handshake) -> Tunnel:
    """Tell the client that its connection is a WebSocket from now on."""
    cycle.response_started, cycle.status = True, 101
    cycle.transport.write(
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n%b%b\r\n"
        % (handshake.lines, cycle.extra_headers)
    )
    return Tunnel(cycle, handshake.end)
