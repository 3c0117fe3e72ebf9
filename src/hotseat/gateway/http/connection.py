"""One client's connection: HTTP/1.1 requests are parsed, answered in order, and bounded in size and time.

httptools parses, and uvicorn's ``FlowControl`` keeps the back-pressure. Bounds that uvicorn's own protocol
does not have: the size of a request's head, and the time that a client takes for head and body. A response
sent before its request was complete (413, 404, …) is followed by a bounded drain, so that the client can
read it. An unsupported ``Upgrade`` is ignored without losing the request's body, trailers never count as
headers, and malformed bytes after a valid request do not affect that request's response.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from hotseat.gateway.http import errors
from hotseat.gateway.http.connection_limits import ConnectionLimits
from hotseat.gateway.http.head_cache import CachedHead, learn
from hotseat.gateway.http.headers import Headers
from hotseat.gateway.http.request_cycle import CycleHandler, RequestCycle

_MAX_FRAMING_RATIO = 8
"""Bytes on the wire allowed for each byte of a body: chunks of one byte take six."""

_MAX_PIPELINED = 8
"""Requests of one client that are read while an earlier one is answered. Reading pauses beyond; while it is
paused, a client that disconnects is not noticed."""


class ServerState:
    """State shared by all connections of one server."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.draining = False
        """Whether the server is shutting down: responses finish, and connections close after them."""
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        """Tasks of requests that have to wait for something."""
        self.empty = asyncio.Event()
        """Set whenever the last connection has closed."""


class ConnectionPhase(Enum):
    """Phase of a connection, named for what is expected from the client next."""

    IDLE = auto()
    """The start of a request; the last one has been read completely (its response may still be running)."""
    HEAD = auto()
    """The rest of a request's head."""
    UPGRADE = auto()
    """Nothing: the parser has met an ``Upgrade``, and the request is about to be parsed again without it."""
    BODY = auto()
    """The rest of a request's body."""
    DISCARDING = auto()
    """Nothing more: what comes is discarded, while earlier requests still get their responses."""
    LINGERING = auto()
    """Nothing more: the last response is out; what comes is discarded until the client closes or a limit is
    reached."""
    CLOSED = auto()


# Looked up once: on the hot path a global is cheaper than an attribute of an Enum class.
_IDLE = ConnectionPhase.IDLE
_HEAD = ConnectionPhase.HEAD
_UPGRADE = ConnectionPhase.UPGRADE
_BODY = ConnectionPhase.BODY
_DISCARDING = ConnectionPhase.DISCARDING
_LINGERING = ConnectionPhase.LINGERING


class _Incoming:
    """Parser state of the request that is being read."""

    __slots__ = ("body_bytes", "content_length", "expects_continue", "framed_bytes", "headers", "url")

    def __init__(self) -> None:
        self.url = b""
        self.headers: Headers = []
        """Names in lower case; without ``Content-Length``, so that a client's requests have equal headers."""
        self.content_length: bytes | None = None
        self.expects_continue = False
        self.body_bytes = 0
        self.framed_bytes = 0
        """Bytes of the body as they came, with what surrounds them (chunk sizes, extensions, trailers)."""


@dataclass(frozen=True, slots=True)
class _KnownRequest:
    """A head that came twice in a row, and what it means."""

    head: CachedHead
    method: bytes
    target: tuple[bytes, bytes]
    headers: Headers


class Connection(asyncio.Protocol):
    """The server's end of one client connection, from accept to close."""

    def __init__(self, handler: CycleHandler, server: ServerState) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.flow: FlowControl
        self.client: tuple[str, int] | None = None
        """The peer's address and port, as the socket tells them."""
        self.server: tuple[str, int | None] | None = None
        """Our own address and port."""
        self.scheme = "http"
        self.tasks = server.tasks
        self.message_event = asyncio.Event()
        """Set when something came for the request that is being read, or the client has disconnected."""
        self.client_context: Any = None
        """What the access layer worked out about the last request's client, kept for the next one."""

        self._handler = handler
        self._server_state = server
        self._limits = server.limits
        self._phase = _IDLE
        self._timer: asyncio.TimerHandle | None = None
        """Ends a head or a body that comes too slowly, or the lingering."""
        self._keep_alive_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        """When the last response was complete, in the loop's time."""

        self._active: RequestCycle | None = None
        """The request that is being answered."""
        self._unstarted: RequestCycle | None = None
        """The active request, before the handler was told of it."""
        self._latest: RequestCycle | None = None
        """The request that is being read, or was read last."""
        self._pipeline: deque[RequestCycle] = deque()
        """Requests that wait for the active one's response, the newest first."""

        self._parser = self._new_parser()
        self._incoming = _Incoming()
        self._head_bytes = 0
        """Bytes that came since the last request ended, as long as no head is complete."""
        self._read_bytes = 0
        """Size of the last read."""
        self._discarded_bytes = 0
        self._previous_headers: Headers | None = None
        self._known: _KnownRequest | None = None

    def __repr__(self) -> str:
        peer = ":".join(map(str, self.client)) if self.client else "no peer"
        active = f", answering {self._active!r}" if self._active is not None else ""
        pipelined = f", {len(self._pipeline)} pipelined" if self._pipeline else ""
        return f"<Connection {peer} {self._phase.name}{active}{pipelined}>"

    @property
    def phase(self) -> ConnectionPhase:
        """Phase, named for what is expected from the client next."""
        return self._phase

    @property
    def active(self) -> RequestCycle | None:
        """The request that is being answered; ``None`` between requests."""
        return self._active

    @property
    def pipelined(self) -> int:
        """Requests that wait for the active one's response."""
        return len(self._pipeline)

    # The connection's life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._server_state.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.client = get_remote_addr(transport)
        self.server = get_local_addr(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        self._timer = self.loop.call_later(self._limits.head_s, self._check_head)

    def connection_lost(self, exc: Exception | None) -> None:
        server = self._server_state
        server.connections.discard(self)
        self._phase = ConnectionPhase.CLOSED
        self._cancel_timer()
        if self._keep_alive_timer is not None:
            self._keep_alive_timer.cancel()
            self._keep_alive_timer = None
        self.message_event.set()
        for cycle in (self._active, *self._pipeline):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.cancel()
        self._pipeline.clear()
        self.flow.resume_writing()  # whoever waits for the client to read
        if exc is None:
            self.transport.close()
        # Each of these refers back to the connection: without them it is freed at once, not by the collector.
        self._active = self._unstarted = self._latest = None
        self._parser = None  # type: ignore[assignment]
        if not server.connections:
            server.empty.set()

    def shutdown(self) -> None:
        """Finish the response that is running, if there is one, and close."""
        self._pipeline.clear()
        if self._active is None or self._active.response_complete:
            self.transport.close()
        else:
            self._active.keep_alive = False

    def pause_writing(self) -> None:
        self.flow.pause_writing()
        if self._active is not None and self._active.source is not None:
            self._active.source.pause_reading()

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        if self._active is not None and self._active.source is not None:
            self._active.source.resume_reading()

    def linger(self) -> None:
        """Close after the last response, but first discard the rest of the request, within limits.

        Closed at once, the kernel would reset the connection, and the client could lose the response.
        """
        self._phase = _LINGERING
        self._cancel_timer()
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(self._limits.linger_s, self.transport.close)

    # Bytes from the client

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        at_rest = phase is _IDLE and self._active is None and not self._head_bytes
        if at_rest and self._known is not None:
            body_at = self._known.head.body_at(data)
            if body_at:
                self._begin_known(self._known, data[body_at:])
                return
        if phase is _DISCARDING or phase is _LINGERING:
            self._discard(len(data))
            return
        self._read_bytes = len(data)
        if phase is _BODY:
            self._incoming.framed_bytes += self._read_bytes
        else:
            self._head_bytes += self._read_bytes
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._reject(_HEAD_TOO_LARGE if self._head_is_too_large() else _MALFORMED)
        else:
            self._check_bounds()
        # Begun only now, since the body may have come with the head: then there is nothing to wait for.
        cycle = self._unstarted
        if cycle is not None:
            self._unstarted = None
            if at_rest:
                self._learn(cycle, data)
            cycle.begin(self._handler)

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > self._limits.linger_bytes:
            if self._phase is _LINGERING:
                self.transport.close()
            else:
                self.flow.pause_reading()  # responses to earlier requests are still running

    def _head_is_too_large(self) -> bool:
        return self._phase is not _BODY and self._head_bytes > self._limits.head_bytes

    def _check_bounds(self) -> None:
        """Refuse what is too large, and watch the time of what is incomplete, after a read was parsed."""
        if self._head_is_too_large():
            self._reject(_HEAD_TOO_LARGE)
        elif self._phase is not _IDLE:
            incoming = self._incoming
            if incoming.framed_bytes - _MAX_FRAMING_RATIO * incoming.body_bytes > self._limits.head_bytes:
                self._reject(_FRAMING_TOO_LARGE)  # the parser would keep a trailer that never ends
            elif self._timer is None:
                self._watch_client()
        elif self._timer is not None:
            self._cancel_timer()

    def _learn(self, cycle: RequestCycle, data: bytes) -> None:
        """Remember the head of a request that came in one piece, if the one before had equal headers."""
        repeated = self._previous_headers == cycle.headers
        self._previous_headers = cycle.headers
        if (
            not repeated
            or self._phase is not _IDLE
            or cycle.length is None
            or not cycle.keep_alive
            or self._incoming.expects_continue
            or self._pipeline
        ):
            return
        head = learn(data, cycle.length)
        if head is not None:
            self._known = _KnownRequest(head, cycle.method, (cycle.path, cycle.query), cycle.headers)

    def _begin_known(self, known: _KnownRequest, body: bytes) -> None:
        """Begin a request whose head came before, and whose body is complete."""
        cycle = self._active = self._latest = RequestCycle(
            self, known.method, known.target, known.headers, not self._server_state.draining
        )
        cycle.length = b"%d" % len(body)
        cycle.body = body
        cycle.more_body = False
        cycle.begin(self._handler)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Parse the request again without its ``Upgrade``.

        The parser takes it that no body follows an upgrade; but clients that offer HTTP/2 this way (Java's,
        for one) send a body and expect an ordinary response.
        """
        incoming = self._incoming
        lines = [self._parser.get_method(), b" ", incoming.url, b" HTTP/1.1\r\n"]
        for name, value in incoming.headers:
            if name == b"connection":
                tokens = (token.strip() for token in value.split(b","))
                value = b", ".join(token for token in tokens if token.lower() != b"upgrade")
            lines += (name, b": ", value, b"\r\n")
        if incoming.content_length is not None:
            lines += (b"content-length: ", incoming.content_length, b"\r\n")
        lines.append(b"\r\n")
        self._parser = self._new_parser()
        self._phase, self._head_bytes = _HEAD, 0
        self.data_received(b"".join(lines) + rest)

    def _new_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        # A request pipelined behind "Connection: close" is ours to refuse, not a parse error.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    # The parser's callbacks

    def on_message_begin(self) -> None:
        self._incoming = _Incoming()
        self._phase = _HEAD

    def on_url(self, url: bytes) -> None:
        self._incoming.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is not _HEAD:
            return  # a trailer: it must not change what was decided by the headers
        incoming = self._incoming
        name, value = name.lower(), value.rstrip(b" \t")  # RFC 9110 §5.5; the parser strips the front only
        if name == b"content-length":
            incoming.content_length = value
            return
        if name == b"expect" and value.lower() == b"100-continue":
            incoming.expects_continue = True
        incoming.headers.append((name, value))

    def on_headers_complete(self) -> None:
        incoming, parser = self._incoming, self._parser
        if self._head_bytes + self._read_bytes > self._limits.head_bytes:
            # Checked here as well as after the read: one read may hold more than the head.
            size = len(incoming.url) + sum(len(name) + len(value) + 4 for name, value in incoming.headers)
            if size > self._limits.head_bytes:
                self._head_bytes = size
                raise ValueError("the header is too large")
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise ValueError("CONNECT is not supported")
            self._phase = _UPGRADE
            return
        self._phase = _BODY
        self._cancel_timer()
        http_1_0 = parser.get_http_version() == "1.0"
        keep_alive = not http_1_0 and not self._server_state.draining and parser.should_keep_alive()
        cycle = self._latest = RequestCycle(
            self, parser.get_method(), _split_target(incoming.url), incoming.headers, keep_alive
        )
        cycle.http_1_0 = http_1_0
        cycle.waiting_for_100_continue = incoming.expects_continue
        cycle.length = incoming.content_length
        if self._active is None:
            self._active = self._unstarted = cycle
        else:
            self._pipeline.appendleft(cycle)
            if len(self._pipeline) > _MAX_PIPELINED:
                self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        cycle = self._latest
        if cycle is None or self._phase is _UPGRADE:
            return
        self._incoming.body_bytes += len(body)
        if cycle.response_complete:
            return
        cycle.add(body)
        if len(cycle.body) > cycle.body_room:
            self.flow.pause_reading()
        if cycle.task is not None:
            self.message_event.set()

    def on_message_complete(self) -> None:
        cycle = self._latest
        if cycle is None or self._phase is _UPGRADE:
            return
        self._phase = _IDLE
        self._head_bytes = 0
        cycle.more_body = False
        if self.flow.read_paused and not self._pipeline:
            self.flow.resume_reading()  # to notice when the client disconnects
        if cycle.task is not None:
            self.message_event.set()

    # Responses

    def on_response_complete(self) -> None:
        """Go on to the next request, or wait for one, or close."""
        self._active = None
        phase = self._phase
        if phase is _LINGERING or self.transport.is_closing():
            return
        if self._pipeline:
            self._active = self._unstarted = self._pipeline.pop()
            self.loop.call_soon(self._begin_next)  # not from here: a thousand of them would nest
            if self._pipeline:
                return
        elif phase is _BODY:
            self.linger()  # the response went out before the request was complete
            return
        elif phase is _DISCARDING or self._server_state.draining:
            self.transport.close()
            return
        elif phase is _IDLE:
            # The timer is not reset by each request: when it fires, it looks how long the pause has been.
            self._idle_since = self.loop.time()
            if self._keep_alive_timer is None:
                self._keep_alive_timer = self.loop.call_later(
                    self._limits.keep_alive_s, self._check_keep_alive
                )
        if self.flow.read_paused:
            self.flow.resume_reading()

    def _begin_next(self) -> None:
        """Begin the next pipelined request, unless it was dropped in the meantime."""
        cycle, self._unstarted = self._unstarted, None
        if cycle is not None and not cycle.disconnected:
            cycle.begin(self._handler)

    # Time limits

    def _is_idle(self) -> bool:
        return self._phase is _IDLE and self._active is None and not self.transport.is_closing()

    def _check_keep_alive(self) -> None:
        self._keep_alive_timer = None
        if not self._is_idle():
            return  # set again when the response is complete
        left_s = self._idle_since + self._limits.keep_alive_s - self.loop.time()
        if left_s <= 0:
            self.transport.close()
        else:
            self._keep_alive_timer = self.loop.call_later(left_s, self._check_keep_alive)

    def _watch_client(self) -> None:
        """Set the timer for the head or the body that is incomplete."""
        limits = self._limits
        if self._phase is _HEAD:
            self._timer = self.loop.call_later(limits.head_s, self._check_head)
        else:
            self._timer = self.loop.call_later(
                limits.body_interval_s, self._check_body, self._incoming.body_bytes
            )

    def _check_head(self) -> None:
        self._timer = None
        if self._phase is _HEAD:
            self._reject(_TOO_SLOW)
        elif self._is_idle():  # nothing was sent at all
            self.transport.close()

    def _check_body(self, bytes_before: int) -> None:
        self._timer = None
        if self._phase is not _HEAD and self._phase is not _BODY:
            return
        wanted = self._limits.body_bytes_per_s * self._limits.body_interval_s
        received = self._incoming.body_bytes - bytes_before
        if self.flow.read_paused or self._pipeline or received >= wanted:
            self._watch_client()
        else:
            self._reject(_TOO_SLOW)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Requests that cannot be read

    def _reject(self, problem: errors.ErrorResponse) -> None:
        """Answer what is not an acceptable request, and read no more from this client."""
        self._phase = _DISCARDING
        self._cancel_timer()
        active, latest = self._active, self._latest
        if active is not None and latest is not None and not active.response_complete:
            if active is not latest or not active.more_body:
                # Complete requests before the malformed bytes get their responses first.
                if latest.more_body and self._pipeline:
                    self._pipeline.popleft()
                last = self._pipeline[0] if self._pipeline else active
                last.keep_alive = False
                return
            active.disconnected = True
            self._unstarted = None
            self.message_event.set()
            active.cancel()
            if active.response_started:
                self.transport.abort()
                return
        content = errors.body(problem, anthropic=False)
        to_head = active is not None and active.method == b"HEAD"
        self.transport.write(
            b"%b%bcontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (
                STATUS_LINE[problem.status],
                errors.header_block(problem),
                len(content),
                b"" if to_head else content,
            )
        )
        self.linger()


def _split_target(target: bytes) -> tuple[bytes, bytes]:
    """Split a request's target into its raw path and its query (with the question mark)."""
    if not target.startswith(b"/"):
        parsed = httptools.parse_url(target)  # absolute form: http://host/path
        return parsed.path or b"/", b"?" + parsed.query if parsed.query else b""
    target = target.partition(b"#")[0]
    path, mark, query = target.partition(b"?")
    return path, mark + query


_MALFORMED = errors.ErrorResponse(
    status=400, code="malformed_request", message="this is not a well-formed HTTP request", should_retry=False
)
_HEAD_TOO_LARGE = errors.ErrorResponse(
    status=431, code="header_too_large", message="the request's header is too large", should_retry=False
)
_FRAMING_TOO_LARGE = errors.ErrorResponse(
    status=431,
    code="header_too_large",
    message="the chunk extensions or trailers of the request's body are too large",
    should_retry=False,
)
_TOO_SLOW = errors.ErrorResponse(
    status=408, code="request_timeout", message="the request was sent too slowly"
)
