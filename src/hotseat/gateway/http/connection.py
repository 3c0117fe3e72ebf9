"""One client's connection: HTTP/1.1 requests are parsed, answered in order, and bounded in size and time.

httptools parses, and uvicorn's ``FlowControl`` keeps the back-pressure. Bounds that uvicorn's own protocol
does not have: the size of a request's head, and the time that a client takes for head and body. A response
sent before its request was complete (413, 404, …) is followed by a bounded drain, so that the client can
read it. An unsupported ``Upgrade`` is ignored without losing the request's body, trailers never count as
headers, and malformed bytes after a valid request do not affect that request's response.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import re
import struct
import termios
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from hotseat.gateway.http import errors
from hotseat.gateway.http.admission import Place
from hotseat.gateway.http.connection_limits import ConnectionLimits
from hotseat.gateway.http.head_cache import CachedHead, learn
from hotseat.gateway.http.headers import Headers
from hotseat.gateway.http.request_cycle import CycleHandler, RequestCycle

_MAX_FRAMING_RATIO = 2
"""Bytes on the wire allowed for each byte of a large body."""
_FRAMING_BYTES = 512 * 1024
"""Bytes on the wire allowed in any case, besides: chunks of one byte take six for each byte of the body."""
_PIECE_BYTES = 16 * 1024
"""The largest piece of a head or of a chunked body that the parser gets at once."""
_PARSED_AT_ONCE = 32 * 1024
"""Bytes of heads and chunks that are parsed before the loop turns to other connections."""
_LARGE_READ_BYTES = 64 * 1024
"""After a read of this size others have their turn: the loop reads up to 8 MiB of one socket in a row."""
_DISCARD_PAUSE_S = 0.01
"""Between two reads of what is discarded."""
_WRITING_CHECKS = 6
"""How often it is checked, in the time that a client may take nothing, whether it takes something."""

_REQUEST_LINE = re.compile(rb"[A-Za-z-]+ [^ \r\n]+ HTTP/1\.[01]\r\n")
"""What begins a request; the parser itself takes versions 0.9 and 2.0, and several spaces."""
_END_OF_HEAD = b"\r\n\r\n"

_MAX_PIPELINED = 8
"""Requests of one client that are read while an earlier one is answered. Reading pauses beyond; while it is
paused, a client that disconnects is not noticed."""


class ServerState:
    """State shared by all connections of one server."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.slow_client_s: Callable[[], float] = lambda: math.inf
        """How long a client may take nothing of its response at the moment; bounded by the limits, too."""
        self.unparsed_bytes = 0
        """Bytes that have been read and not been parsed, of all connections."""
        self.draining = False
        """Whether the server is shutting down: responses finish, and connections close after them."""
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        """Tasks of requests that have to wait for something."""
        self.empty = asyncio.Event()
        """Set whenever the last connection has closed."""


class _Flow(FlowControl):
    """Flow control of a connection that does not read on while something read before is not parsed."""

    holds_unparsed = False

    def resume_reading(self) -> None:
        if not self.holds_unparsed:
            super().resume_reading()


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

    __slots__ = (
        "body_bytes",
        "body_left",
        "content_length",
        "expects_continue",
        "framed_bytes",
        "framed_bytes_at_data",
        "headers",
        "url",
    )

    def __init__(self) -> None:
        self.url = b""
        self.headers: Headers = []
        """Names in lower case; without ``Content-Length``, so that a client's requests have equal headers."""
        self.content_length: bytes | None = None
        self.expects_continue = False
        self.body_bytes = 0
        self.body_left = 0
        """Bytes of the body that are still to come, where its length is known."""
        self.framed_bytes = 0
        """Bytes of the body as they came, with what surrounds them (chunk sizes, extensions, trailers)."""
        self.framed_bytes_at_data = 0
        """The same, when a piece of the body itself was last found among them."""


@dataclass(frozen=True, slots=True)
class _KnownRequest:
    """A head that came twice in a row, and what it means."""

    head: CachedHead
    method: bytes
    target: tuple[bytes, bytes]
    headers: Headers


class Connection(asyncio.Protocol):
    """The server's end of one client connection, from accept to close."""

    def __init__(self, handler: CycleHandler, server: ServerState, place: Place | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.flow: FlowControl
        self._flow: _Flow
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
        self._place = place
        self._limits = server.limits
        self._phase = _IDLE
        self._timer: asyncio.TimerHandle | None = None
        """Ends a head or a body that comes too slowly, or the lingering."""
        self._keep_alive_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        """When the last response was complete, in the loop's time."""
        self._write_timer: asyncio.TimerHandle | None = None
        """Watches a client that does not take what is written."""
        self._untaken_bytes = 0
        self._taken_at = 0.0
        """When the client last took something, in the loop's time."""

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
        """Size of the last piece that was given to the parser."""
        self._line = b""
        """The beginning of a request line whose end has not come."""
        self._tail = b""
        """The last bytes of a head or a chunked body that is incomplete."""
        self._unparsed = b""
        """What was read and is parsed later."""
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

    @property
    def is_evictable(self) -> bool:
        """Whether the connection could be closed now without cutting off a response."""
        return self._active is None

    @property
    def idle_since(self) -> float:
        """Time of the last use, by the loop's clock."""
        return self._idle_since

    # The connection's life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._server_state.connections.add(self)
        self.transport = transport
        self._idle_since = self.loop.time()
        if self._place is not None:
            if self._place.is_left:
                transport.abort()
            self._place.connected = self
        self.flow = self._flow = _Flow(transport)
        self.client = get_remote_addr(transport)
        self.server = get_local_addr(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        self._timer = self.loop.call_later(self._limits.head_s, self._check_head)

    def connection_lost(self, exc: Exception | None) -> None:
        server = self._server_state
        server.connections.discard(self)
        self._phase = ConnectionPhase.CLOSED
        self._cancel_timer()
        for timer in (self._keep_alive_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._keep_alive_timer = self._write_timer = None
        self._keep_unparsed(b"")
        if self._place is not None:
            self._place.connected = None
            self._place.leave()
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
            self.close()
        else:
            self._active.keep_alive = False
            if self._active.on_drain is not None:
                self._active.on_drain()

    def prove(self) -> None:
        """Note that a request of this connection was authorized: it is kept longer than others."""
        if self._place is not None:
            self._place.prove()

    def evict(self) -> None:
        """Close at once, to make room for another connection."""
        self.transport.abort()

    def close(self) -> None:
        """Close once the client has taken what was written, or takes nothing for too long."""
        self.transport.close()
        self._watch_writing()

    def pause_writing(self) -> None:
        self.flow.pause_writing()
        self._watch_writing()
        if self._active is not None and self._active.source is not None:
            self._active.source.pause_reading()

    def resume_writing(self) -> None:
        self.flow.resume_writing()
        self._taken_at = self.loop.time()
        active = self._active
        if active is not None and active.source is not None:
            active.source.resume_reading()
        if self._unstarted is not None:
            if not self._pipeline:
                self.flow.resume_reading()
            self._begin_next()

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
        self._timer = self.loop.call_later(self._limits.linger_s, self.close)

    # Bytes from the client

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        at_rest = phase is _IDLE and self._active is None and not self._head_bytes
        if at_rest and self._known is not None and not self.flow.write_paused:
            body_at = self._known.head.body_at(data)
            if body_at:
                self._begin_known(self._known, data[body_at:])
                return
        if phase is _DISCARDING or phase is _LINGERING:
            self._discard(len(data))
            return
        if self._unparsed:
            data = self._unparsed + data
            if self._postpone(data):
                return
            self._keep_unparsed(b"")
        self._parse(data)
        # Begun only now, since the body may have come with the head: then there is nothing to wait for.
        cycle = self._unstarted
        if cycle is None:
            return
        if self.flow.write_paused:  # by the last response, which the client has not taken
            self.flow.pause_reading()
            return
        self._unstarted = None
        if at_rest:
            self._learn(cycle, data)
        cycle.begin(self._handler)

    def _parse(self, data: bytes) -> None:
        """Give the parser one read, in pieces that begin where a request begins or are a part of one.

        What has to wait for earlier requests of the client, or for other clients, is kept for later.
        """
        at, size, small = 0, len(data), 0
        while at < size:
            phase = self._phase
            if phase is _DISCARDING or phase is _LINGERING:
                self._discard(size - at)
                return
            left = self._incoming.body_left if phase is _BODY else 0
            if left:
                end = min(size, at + left)
            else:
                sent_ahead = len(self._pipeline) > _MAX_PIPELINED
                if sent_ahead or small > _PARSED_AT_ONCE:
                    if self._postpone(data[at:]):
                        break
                    if sent_ahead:
                        self._discard_rest()
                        return
                end = self._end_of_piece(data, at)
                small += end - at
                if (phase is _IDLE or self._line) and not self._is_request_line(data, at, end):
                    self._reject(_MALFORMED)
                    return
            piece = data if end - at == size else data[at:end]
            self._read_bytes = end - at
            if phase is _BODY:
                self._incoming.framed_bytes += self._read_bytes
            else:
                self._head_bytes += self._read_bytes
            self._tail = piece[-3:] if len(piece) > 2 else (self._tail + piece)[-3:]
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore_upgrade(data[at + upgrade.args[0] :])
                return
            except httptools.HttpParserError:
                self._reject(_HEAD_TOO_LARGE if self._head_is_too_large() else _MALFORMED)
                return
            at = end
        self._check_bounds()

    def _end_of_piece(self, data: bytes, at: int) -> int:
        """Find the end of the next piece: after an empty line, since a request can begin only there."""
        if self._phase is not _IDLE:
            seam = (self._tail + data[at : at + 3]).find(_END_OF_HEAD)
            if seam != -1:
                return at + seam + 4 - len(self._tail)
        most = at + _PIECE_BYTES
        end = data.find(_END_OF_HEAD, at, most)
        return min(len(data), most) if end == -1 else end + 4

    def _is_request_line(self, data: bytes, at: int, end: int) -> bool:
        """Whether what begins at ``at`` is a request line, or may become one."""
        line = self._line
        if not line:  # empty lines before a request are allowed
            while at < end and data[at] in b"\r\n":
                at += 1
            if at == end:
                return True
        if line or data.find(b"\n", at, end) == -1:
            line += data[at:end]
            if b"\n" not in line:
                self._line = line[: self._limits.head_bytes]
                return True
            self._line = b""
            return _REQUEST_LINE.match(line) is not None
        return _REQUEST_LINE.match(data, at) is not None

    def _postpone(self, rest: bytes) -> bool:
        """Keep what was read, to parse it when earlier requests were answered or the loop comes round.

        False where all clients' bytes of this kind are too many already.
        """
        more = len(rest) - len(self._unparsed)
        if self._server_state.unparsed_bytes + more > self._limits.unparsed_bytes:
            return False
        self._keep_unparsed(rest)
        self.flow.pause_reading()
        if len(self._pipeline) <= _MAX_PIPELINED:
            self.loop.call_soon(self._parse_rest)
        return True

    def _discard_rest(self) -> None:
        """Answer what was read, and nothing more: the client sends too far ahead, and may send it again."""
        self._keep_unparsed(b"")
        self._cancel_timer()
        self._phase = _DISCARDING
        if self._pipeline[0].more_body:
            self._pipeline.popleft()
        last = self._pipeline[0] if self._pipeline else self._active
        if last is not None:
            last.keep_alive = False

    def _keep_unparsed(self, rest: bytes) -> None:
        self._server_state.unparsed_bytes += len(rest) - len(self._unparsed)
        self._unparsed = rest
        self._flow.holds_unparsed = bool(rest)

    def _parse_rest(self) -> None:
        """Go on with what was kept, and then with what comes."""
        rest = self._unparsed
        if not rest or self.transport.is_closing():
            return
        self._keep_unparsed(b"")
        self.data_received(rest)
        self._read_on()

    def _discard(self, size: int) -> None:
        self._discarded_bytes += size
        if self._discarded_bytes > self._limits.linger_bytes:
            if self._phase is _LINGERING:
                self.transport.close()
            else:
                self.flow.pause_reading()  # responses to earlier requests are still running
        elif size >= _LARGE_READ_BYTES and not self.flow.read_paused:
            self.flow.pause_reading()
            self.loop.call_later(_DISCARD_PAUSE_S, self._read_on)

    def _read_on(self) -> None:
        """Read again after others had their turn, unless something else has paused it meanwhile."""
        latest = self._latest
        if self.transport.is_closing() or self._phase is ConnectionPhase.CLOSED:
            return
        if self._phase is _BODY and latest is not None and len(latest.body) > latest.body_room:
            return
        if len(self._pipeline) <= _MAX_PIPELINED:
            self.flow.resume_reading()

    def _head_is_too_large(self) -> bool:
        return self._phase is not _BODY and self._head_bytes > self._limits.head_bytes

    def _check_bounds(self) -> None:
        """Refuse what is too large, and watch the time of what is incomplete, after a read was parsed."""
        if self._phase is _DISCARDING or self._phase is _LINGERING:
            return
        if self._head_is_too_large():
            self._reject(_HEAD_TOO_LARGE)
        elif self._phase is not _IDLE:
            incoming = self._incoming
            framed = incoming.framed_bytes
            if (
                framed - _MAX_FRAMING_RATIO * incoming.body_bytes > _FRAMING_BYTES
                or framed - incoming.framed_bytes_at_data > self._limits.head_bytes
            ):
                self._reject(_FRAMING_TOO_LARGE)  # the parser would keep a trailer that never ends
            elif self._timer is None:
                self._watch_client()
            if self._read_bytes >= _LARGE_READ_BYTES and not self.flow.read_paused:
                self.flow.pause_reading()
                self.loop.call_soon(self._read_on)
        elif self._head_bytes and self._active is None:  # empty lines alone: the head is still to come
            if self._timer is None:
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
        if len(incoming.headers) >= self._limits.head_fields:
            self._head_bytes = self._limits.head_bytes + 1
            raise ValueError("the header has too many fields")
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
        if incoming.content_length is not None:
            incoming.body_left = int(incoming.content_length)
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
        incoming = self._incoming
        incoming.body_bytes += len(body)
        incoming.framed_bytes_at_data = incoming.framed_bytes
        if incoming.body_left:
            incoming.body_left -= len(body)
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
            self.close()
            return
        elif phase is _IDLE:
            # The timer is not reset by each request: when it fires, it looks how long the pause has been.
            self._idle_since = self.loop.time()
            if self._keep_alive_timer is None:
                self._keep_alive_timer = self.loop.call_later(
                    self._limits.keep_alive_s, self._check_keep_alive
                )
        if self._unparsed:
            self.loop.call_soon(self._parse_rest)
        elif self.flow.read_paused:
            self.flow.resume_reading()

    def _begin_next(self) -> None:
        """Begin the next request once the client has taken the last response, unless it was dropped."""
        if self.flow.write_paused:
            return  # ``resume_writing`` calls again
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
            self.close()
        else:
            self._keep_alive_timer = self.loop.call_later(left_s, self._check_keep_alive)

    def _watch_client(self) -> None:
        """Set the timer for the head or the body that is incomplete."""
        limits = self._limits
        if self._phase is _HEAD or self._phase is _IDLE:
            self._timer = self.loop.call_later(limits.head_s, self._check_head)
        else:
            self._timer = self.loop.call_later(
                limits.body_interval_s, self._check_body, self._incoming.body_bytes
            )

    def _check_head(self) -> None:
        self._timer = None
        if self._phase is _HEAD:
            self._reject(_TOO_SLOW)
        elif self._is_idle():  # nothing was sent at all, or nothing but empty lines
            self.close()

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

    def _watch_writing(self) -> None:
        """Set the timer for a client that does not take what is written, if there is anything."""
        if self._write_timer is None and (self.flow.write_paused or self.transport.get_write_buffer_size()):
            self._untaken_bytes = self._count_untaken()
            self._taken_at = self.loop.time()
            self._set_write_timer()

    def _set_write_timer(self) -> None:
        after_s = self._limits.slow_client_s / _WRITING_CHECKS
        self._write_timer = self.loop.call_later(after_s, self._check_writing)

    def _check_writing(self) -> None:
        self._write_timer = None
        if not self.flow.write_paused and not self.transport.is_closing():
            return
        limits, now, untaken = self._limits, self.loop.time(), self._count_untaken()
        wanted = limits.slow_client_bytes_per_s * limits.slow_client_s / _WRITING_CHECKS
        if self._untaken_bytes - untaken >= wanted:
            self._taken_at = now
        self._untaken_bytes = untaken
        if now - self._taken_at >= min(limits.slow_client_s, self._server_state.slow_client_s()):
            self.transport.abort()
        else:
            self._set_write_timer()

    def _count_untaken(self) -> int:
        """Bytes that were written, and that the client's side has not confirmed."""
        count: int = self.transport.get_write_buffer_size()
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            # The buffer alone would show progress only when a third of the kernel's buffer is free again.
            with contextlib.suppress(OSError):
                count += struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        return count

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
