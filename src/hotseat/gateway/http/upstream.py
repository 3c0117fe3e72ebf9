"""Connections to the models' servers: HTTP/1.1 on httptools' response parser, kept alive and reused.

One pool belongs to one run of a model and is dropped with it. A response is passed on as it arrives,
inside the parser's callbacks; nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import logging
import re
import select
from collections import deque
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, Protocol

import httptools

from hotseat.core.views import Upstream
from hotseat.gateway.http.head_cache import CachedHead, learn
from hotseat.gateway.http.outlier_detection import OutlierDetector

_log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
"""Of a response's head, together with those of 1xx responses before it; and of what surrounds the data of a
chunked body in one go (chunk extensions, trailers)."""
MAX_FIELDS = 256
"""Header fields of one response."""
_PARSED_AT_ONCE = 64 * 1024
"""Bytes of a chunked body that are parsed before the loop turns to others: there may be 43,000 chunks in one
read."""
_PROVEN_S = 0.1
"""How long a connection must have outlived a response without a length before the next request is sent on it,
until one has: llama.cpp's server announces that it keeps such connections, and closes them at once. A request
that has been written to one may not be sent again."""
CONNECT_TIMEOUT_S = 5.0
MAX_IDLE = 64
"""Idle connections that are kept for each run."""
MAX_IDLE_S = 4.0
"""A connection that was idle for longer is not reused. Servers close theirs after five seconds (uvicorn,
llama.cpp, Node): a request must not meet that close half-way, since a POST may not be sent twice."""

_PASS = 0
_DROP = 1
_LENGTH = 2
_TYPE = 3
_ENCODING = 4
_KEEP_ALIVE = 5
_LOCATION = 6
"""Passed on with the statuses that have one; the handler sees to where it leads."""

_READABLE = select.POLLIN | select.POLLRDHUP
_KEEP_ALIVE_TIMEOUT = re.compile(rb"(?:^|[,;\s])timeout\s*=\s*\"?(\d{1,9})", re.IGNORECASE)

_FIELDS = {
    b"content-length": _LENGTH,
    b"content-type": _TYPE,
    b"transfer-encoding": _ENCODING,
    **dict.fromkeys(
        (
            # What describes the body (RFC 9110 §8, §14).
            b"accept-ranges",
            b"content-disposition",
            b"content-encoding",
            b"content-language",
            b"content-range",
            b"etag",
            b"last-modified",
            # Whether it may be kept (RFC 9111).
            b"age",
            b"cache-control",
            b"expires",
            b"vary",
            # What a client may do next, and how long the server took.
            b"allow",
            b"date",
            b"deprecation",
            b"retry-after",
            b"server-timing",
            b"sunset",
            b"x-should-retry",
            # The server's own name for a request.
            b"request-id",
        ),
        _PASS,
    ),
    b"keep-alive": _KEEP_ALIVE,
    b"location": _LOCATION,
}
"""What is done with a response's header field. One that is not listed acts on the client or on a proxy in
front (``Set-Cookie``, ``Alt-Svc``, ``Clear-Site-Data``, ``X-Accel-Redirect``, …), or nobody knows what it
does: it is dropped, and so are ``X-Request-ID`` and CORS, which the gateway decides on itself."""

_PREFIXES = (b"openai-", b"anthropic-", b"x-ratelimit-", b"ratelimit-")
"""Beginnings of names of further fields that are passed on: those of the APIs."""


def _use_of(name: bytes) -> int:
    """Return what is done with a header field of this name (lower case)."""
    return _FIELDS.get(name, _PASS if name.startswith(_PREFIXES) else _DROP)


class UpstreamFailure(Exception):
    """The model's server did not answer as it should; the message may be shown to clients."""

    def __init__(
        self, message: str, *, unreachable: bool = False, unanswered: bool = False, timed_out: bool = False
    ) -> None:
        super().__init__(message)
        self.message = message
        self.unreachable = unreachable
        """No connection could be made: nothing was sent."""
        self.unanswered = unanswered
        """A reused connection closed before a byte of the response. The server may have read the request."""
        self.timed_out = timed_out
        """No byte of the response came in time."""


class ResponseHandler(Protocol):
    """The receiver of one response. Its methods are called from the parser, and must not block."""

    def on_head(self, status: int, headers: bytes, length: bytes | None, content_type: bytes) -> None:
        """Take the final status, and the header lines to pass on, without framing."""

    def on_data(self, data: bytes) -> None:
        """Take a piece of the body."""

    def on_complete_response(self, status: int, headers: bytes, content_type: bytes, body: bytes) -> None:
        """Take head and body at once, where both came in one read; ``on_end`` follows."""

    def on_read_complete(self) -> None:
        """Send on what came: everything in one read has been handed over, and more will come."""

    def on_end(self) -> None:
        """Take note that the response is complete."""

    def on_failure(self, failure: UpstreamFailure) -> None:
        """Take note that the response will not be complete."""


@dataclass(frozen=True, slots=True)
class CachedResponseHead:
    """A response's head that came before, and what it means."""

    head: CachedHead
    status: int
    header_lines: bytes
    content_type: bytes


class UpstreamPhase(Enum):
    """Phase of a connection to a server, named for what is expected next."""

    IDLE = auto()
    """A request to send."""
    AWAITING_RESPONSE = auto()
    """The first byte of the response."""
    HEAD = auto()
    """The rest of the response's head, or of a 1xx response before it."""
    BODY = auto()
    """The rest of the response's body."""
    CLOSED = auto()


# Looked up once: on the hot path a global is cheaper than an attribute of an Enum class.
_IDLE = UpstreamPhase.IDLE
_AWAITING_RESPONSE = UpstreamPhase.AWAITING_RESPONSE
_HEAD = UpstreamPhase.HEAD
_BODY = UpstreamPhase.BODY
_CLOSED = UpstreamPhase.CLOSED


class UpstreamConnection(asyncio.Protocol):
    """One connection to one run, which serves one request at a time."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.idle_since = 0.0
        self.ended_stream = False
        """Whether the last response had no length."""
        """When the last response was complete, in the loop's time."""
        self._pool = pool
        self.loop = pool.loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._phase = _IDLE
        self._reading_paused = False
        self._is_reused = False
        self._poll: select.poll | None = None
        """Tells whether something can be read from the socket; made when the connection is first reused."""

        # Of the current response
        self._handler: ResponseHandler | None = None
        self._method_is_head = False
        self._first_read = b""
        """The read that the response began with, while the parser looks at it."""
        self._head_bytes = 0
        self._framing_bytes = 0
        """Of a chunked body, since there was a piece of data."""
        self._unparsed = b""
        """What was read of a chunked body and is parsed next."""
        self._field_count = 0
        self._header_lines: list[bytes] = []
        self._length: bytes | None = None
        self._content_type = b""
        self._is_chunked = False
        self._keep_alive = False

    def __repr__(self) -> str:
        upstream = self._pool.upstream
        paused = ", reading paused" if self._reading_paused else ""
        return f"<UpstreamConnection {upstream.host}:{upstream.port} {self._phase.name}{paused}>"

    @property
    def is_chunked(self) -> bool:
        """Whether the response has no length, but chunks."""
        return self._is_chunked

    @property
    def phase(self) -> UpstreamPhase:
        """Phase, named for what is expected from the server next."""
        return self._phase

    def is_reusable(self, now: float) -> bool:
        """Whether a request can be sent on this idle connection: its server keeps it open, and is silent.

        The socket itself is asked: the server may have closed it since the event loop last looked, and a
        request that was written may not be written again.
        """
        transport = self._transport
        if transport is None or transport.is_closing() or now - self.idle_since >= self._pool.max_idle_s:
            return False
        poll = self._poll
        if poll is None:
            poll = self._poll = select.poll()
            poll.register(transport.get_extra_info("socket").fileno(), _READABLE)
        return not poll.poll(0)

    @property
    def reading_paused(self) -> bool:
        """Whether the server has to wait because the client is slow."""
        return self._reading_paused

    def send(self, request: bytes, handler: ResponseHandler, *, method_is_head: bool) -> None:
        """Send one request; ``handler`` gets the response, and exactly one ``on_end`` or ``on_failure``."""
        assert self._transport is not None
        self._handler = handler
        self._method_is_head = method_is_head
        self._phase = _AWAITING_RESPONSE
        self._head_bytes = 0
        self._transport.write(request)

    def abandon(self) -> None:
        """Close the connection at once: the response is not wanted any more, and the server is to notice."""
        self._handler = None
        self._abort()

    def fail(self, message: str, *, timed_out: bool = False) -> None:
        """End the response with a failure that was found outside of the connection."""
        self._fail(UpstreamFailure(message, timed_out=timed_out))

    def pause_reading(self) -> None:
        """Let the server wait: the client is slow."""
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Let the server go on: the client has caught up."""
        if self._reading_paused and self._transport is not None:
            self._reading_paused = False
            if self._unparsed:
                self.loop.call_soon(self._parse_rest)
            else:
                self._transport.resume_reading()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if len(data) > _PARSED_AT_ONCE and self._is_chunked:
            self._postpone(data)
            return
        if self._phase is _BODY:
            if self._is_chunked:
                self._framing_bytes += len(data)
        else:
            if self._phase is _AWAITING_RESPONSE:
                if self._receive_known(data):
                    return
                self._phase = _HEAD
                self._first_read = data
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(UpstreamFailure("its server switched to another protocol"))
        except httptools.HttpParserError as error:
            if self._handler is not None and isinstance(error, httptools.HttpParserCallbackError):
                _log.warning("the response of a model's server could not be handled", exc_info=error)
            self._fail(UpstreamFailure("its server sent a malformed response"))
        else:
            if self._phase is _BODY:
                if self._framing_bytes > MAX_HEAD_BYTES + _PARSED_AT_ONCE:
                    self._fail(UpstreamFailure("its server sent a malformed response"))
                elif self._handler is not None:
                    self._handler.on_read_complete()
            elif self._phase is _HEAD and self._head_bytes > MAX_HEAD_BYTES:
                self._fail(UpstreamFailure("its server sent a header that is too large"))
        self._first_read = b""

    def _postpone(self, data: bytes) -> None:
        """Parse the beginning of a large read of a chunked body, and let others have their turn."""
        self._unparsed = data[_PARSED_AT_ONCE:]
        if self._transport is not None:
            self._transport.pause_reading()
        self.loop.call_soon(self._parse_rest)
        self.data_received(data[:_PARSED_AT_ONCE])

    def _parse_rest(self) -> None:
        """Go on with what was kept, unless the client is slow: then later."""
        if self._reading_paused or not self._unparsed or self._phase is _CLOSED:
            return
        rest, self._unparsed = self._unparsed, b""
        self.data_received(rest)
        if not self._unparsed and not self._reading_paused and self._transport is not None:
            self._transport.resume_reading()

    def _receive_known(self, data: bytes) -> bool:
        """Take a complete response whose head came before; false where the parser has to read it."""
        known, handler = self._pool.known_head, self._handler
        if known is None or handler is None or self._method_is_head:
            return False
        body_at = known.head.body_at(data)
        if not body_at:
            return False
        try:
            handler.on_complete_response(known.status, known.header_lines, known.content_type, data[body_at:])
        except Exception as error:
            _log.warning("the response of a model's server could not be handled", exc_info=error)
            self._fail(UpstreamFailure("its server sent a malformed response"))
        else:
            self._response_complete(keep_alive=True)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._unparsed and self._phase is _BODY and self._handler is not None:
            rest, self._unparsed, self._is_chunked = self._unparsed, b"", False
            self.data_received(rest)  # it came before the end, and is parsed in one go
            self._is_chunked = True
        phase, self._phase = self._phase, _CLOSED
        self._pool.remove(self)
        # Refers back to the connection: without it the connection is freed at once, not by the collector.
        self._parser = None  # type: ignore[assignment]
        handler = self._handler
        if handler is None:
            return
        if phase is _BODY and exc is None and self._length is None and not self._is_chunked:
            self._handler = None
            handler.on_end()  # a response without a length ends with its connection
        elif phase is _AWAITING_RESPONSE:
            self._fail(UpstreamFailure("its server closed the connection", unanswered=self._is_reused))
        elif phase is _HEAD:
            self._fail(UpstreamFailure("its server closed the connection before it had answered"))
        else:
            self._fail(UpstreamFailure("its server closed the connection in the middle of the answer"))

    def _fail(self, failure: UpstreamFailure) -> None:
        handler, self._handler = self._handler, None
        self._abort()
        if handler is not None:
            handler.on_failure(failure)

    def _abort(self) -> None:
        self._phase = _CLOSED
        if self._transport is not None:
            self._transport.abort()

    # The parser's callbacks

    def on_message_begin(self) -> None:
        if self._handler is None:
            raise ValueError("a response without a request")
        self._header_lines = []
        self._field_count = 0
        self._length = None
        self._content_type = b""
        self._is_chunked = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase is _BODY:
            return  # a trailer
        name = name.lower()
        self._field_count += 1
        if self._field_count > MAX_FIELDS:
            raise ValueError("too many header fields")
        use = _use_of(name)
        if use == _PASS:
            self._header_lines += (name, b": ", value, b"\r\n")
        elif use == _LENGTH:
            self._length = value
        elif use == _TYPE:
            self._content_type = value
            self._header_lines += (name, b": ", value, b"\r\n")
        elif use == _ENCODING:
            self._is_chunked = True
        elif use == _LOCATION and 200 < self._parser.get_status_code() < 400:
            self._header_lines += (name, b": ", value, b"\r\n")
        elif use == _KEEP_ALIVE and (timeout := _KEEP_ALIVE_TIMEOUT.search(value)) is not None:
            # A second for the way: the server counts from when it had sent the response.
            self._pool.max_idle_s = min(MAX_IDLE_S, int(timeout[1]) - 1)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        handler = self._handler
        if status < 200 or handler is None:
            return
        if status > 599:  # there is no such class of statuses, and nothing to make of it (RFC 9110 §15)
            self._fail(UpstreamFailure(f"its server answered with status {status}, which does not exist"))
            return
        if status == 204:
            self._length = None  # a response without content has none (RFC 9110 §8.6)
        self._phase = _BODY
        self._keep_alive = self._parser.should_keep_alive()
        handler.on_head(status, b"".join(self._header_lines), self._length, self._content_type)
        if self._method_is_head and self._handler is not None:
            # The parser would wait for a body that never comes: the connection ends with this response.
            self._handler = None
            handler.on_end()
            self._abort()

    def on_body(self, body: bytes) -> None:
        self._framing_bytes = 0
        if self._handler is not None:
            self._handler.on_data(body)

    def on_message_complete(self) -> None:
        if self._phase is not _BODY:
            return  # a 1xx response: the final one follows
        if (
            self._first_read
            and self._length is not None
            and self._keep_alive
            and not self._method_is_head
            and self._parser.get_status_code() == 200
        ):
            head = learn(self._first_read, self._length)
            if head is not None:
                lines = b"".join(self._header_lines)
                self._pool.known_head = CachedResponseHead(head, 200, lines, self._content_type)
        self._response_complete(keep_alive=self._keep_alive)

    def _response_complete(self, *, keep_alive: bool) -> None:
        handler, self._handler = self._handler, None
        if handler is None or self._transport is None:
            return
        if keep_alive and not self._unparsed and not self._transport.get_write_buffer_size():
            self._phase = _IDLE
            self.resume_reading()
            self._is_reused = True
            self._pool.release(self)
        else:
            self._abort()
        handler.on_end()


class ConnectionPool:
    """The connections to one run; idle ones are kept for the next requests."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
        self.request_line_end = f" HTTP/1.1\r\nhost: {host}:{upstream.port}\r\n".encode()
        """The end of the request line, and the ``Host`` field."""
        self.base_path = upstream.base_path.encode()
        self.outliers = OutlierDetector()
        self.known_head: CachedResponseHead | None = None
        """The head of the last complete response; usually the next one's differs in its length only."""
        self.max_idle_s = MAX_IDLE_S
        """How long a connection may have been idle to be reused; less where the server says so."""
        self.loop = asyncio.get_running_loop()
        self._survive_streams = False
        """Whether the server has kept a connection open after a response without a length."""
        self._idle: deque[UpstreamConnection] = deque()
        """Least recently used first."""
        self._closed = False

    def __repr__(self) -> str:
        upstream = self.upstream
        closed = ", closed" if self._closed else ""
        return f"<ConnectionPool {upstream.model} run {upstream.run}: {len(self._idle)} idle{closed}>"

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """Take the most recently used idle connection that is still usable, if there is one."""
        unproven: list[UpstreamConnection] = []
        taken = None
        while self._idle and taken is None:
            connection = self._idle.pop()
            now = self.loop.time()
            if not connection.is_reusable(now):
                connection.abandon()
            elif (
                connection.ended_stream
                and not self._survive_streams
                and now - connection.idle_since < _PROVEN_S
            ):
                unproven.append(connection)
            else:
                self._survive_streams |= connection.ended_stream
                taken = connection
        if unproven:
            self._idle.extend(reversed(unproven))
        return taken

    def _is_unproven(self, connection: UpstreamConnection, now: float) -> bool:
        """Whether the server may be about to close this connection, on which a stream has just ended."""
        return (
            connection.ended_stream and not self._survive_streams and now - connection.idle_since < _PROVEN_S
        )

    async def connect(self) -> UpstreamConnection:
        """Open a new connection. Raises ``UpstreamFailure``."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await self.loop.create_connection(
                    lambda: UpstreamConnection(self), self.upstream.host, self.upstream.port
                )
        except TimeoutError:
            raise UpstreamFailure("its server does not accept connections", unreachable=True) from None
        except OSError:
            raise UpstreamFailure("its server cannot be reached", unreachable=True) from None
        ask = self.upstream.impostor
        if ask is not None and (who := ask()) is not None:  # some 30 µs, for new connections alone
            connection.abandon()
            _log.error("model %s: %s; nothing was sent there", self.upstream.model, who)
            raise UpstreamFailure("another program listens in its server's place", unreachable=True)
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Take back a connection whose response is complete, to reuse it or to close it."""
        if self._closed or len(self._idle) >= MAX_IDLE:
            connection.abandon()
            return
        connection.idle_since = self.loop.time()
        connection.ended_stream = connection.is_chunked
        self._idle.append(connection)

    def remove(self, connection: UpstreamConnection) -> None:
        """Forget a connection that has closed."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close idle connections now, and those in use when their responses end."""
        self._closed = True
        self.outliers.close()
        while self._idle:
            self._idle.pop().abandon()


class ReplicaPool(ConnectionPool):
    """The connections to one replica of a run that has several, and how many of them are in use."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__(upstream)
        self._in_use: set[UpstreamConnection] = set()
        self._connecting = 0

    @property
    def load(self) -> int:
        """Number of requests that use the replica, or are about to."""
        return len(self._in_use) + self._connecting

    def take(self) -> UpstreamConnection | None:
        connection = super().take()
        if connection is not None:
            self._in_use.add(connection)
        return connection

    async def connect(self) -> UpstreamConnection:
        self._connecting += 1
        try:
            connection = await super().connect()
        finally:
            self._connecting -= 1
        self._in_use.add(connection)
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        self._in_use.discard(connection)
        super().release(connection)

    def remove(self, connection: UpstreamConnection) -> None:
        self._in_use.discard(connection)
        super().remove(connection)


class ReplicaPools:
    """The pools of one run's replicas."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self._pools: dict[tuple[str, int], ReplicaPool] = {}
        """Those that were chosen last come last."""
        self._update(upstream)

    def __len__(self) -> int:
        return sum(map(len, self._pools.values()))

    def choose(self, upstream: Upstream) -> ReplicaPool:
        """Return the pool of the replica with the least requests; of alike ones, each in turn."""
        if upstream is not self.upstream:
            self._update(upstream)
        address = min(self._pools, key=lambda one: self._pools[one].load)
        pool = self._pools[address] = self._pools.pop(address)
        return pool

    def close(self) -> None:
        """Close all of them."""
        for pool in self._pools.values():
            pool.close()

    def _update(self, upstream: Upstream) -> None:
        self.upstream = upstream
        wanted = upstream.replicas
        for gone in [address for address in self._pools if address not in wanted]:
            self._pools.pop(gone).close()
        for host, port in wanted:
            if (host, port) not in self._pools:
                one = replace(upstream, host=host, port=port, replicas=())
                self._pools[host, port] = ReplicaPool(one)


class UpstreamPools:
    """The pools of all runs, by model; a newer run's pool replaces an older one's."""

    def __init__(self) -> None:
        self._pools: dict[str, ConnectionPool] = {}
        self._replicated: dict[str, ReplicaPools] = {}
        """Of models that have several replicas now; these have none in ``_pools``."""

    def __repr__(self) -> str:
        return f"<UpstreamPools {list(self._pools.values())}>"

    def pool(self, upstream: Upstream) -> ConnectionPool:
        """Return the pool of this run, a new one where there is none."""
        pool = self._pools.get(upstream.model)
        if pool is None or pool.upstream is not upstream:
            if pool is not None and pool.upstream == upstream:
                return pool
            if upstream.replicas:
                return self._replica(upstream)
            self.drop(upstream.model)
            pool = self._pools[upstream.model] = ConnectionPool(upstream)
        return pool

    def _replica(self, upstream: Upstream) -> ReplicaPool:
        found = self._replicated.get(upstream.model)
        if found is None or found.upstream.run != upstream.run:
            self.drop(upstream.model)
            found = self._replicated[upstream.model] = ReplicaPools(upstream)
        return found.choose(upstream)

    def drop(self, model: str, run: int | None = None) -> None:
        """Close the pool of a model's run that has ended; ``None``: of whichever run it has."""
        pool = self._pools.get(model)
        if pool is not None and run in (None, pool.upstream.run):
            del self._pools[model]
            pool.close()
        replicas = self._replicated.get(model)
        if replicas is not None and run in (None, replicas.upstream.run):
            del self._replicated[model]
            replicas.close()

    def close(self) -> None:
        """Close all pools."""
        for model in [*self._pools, *self._replicated]:
            self.drop(model)

    def idle(self) -> dict[str, Any]:
        """Count the idle connections of each model."""
        several = {model: len(pools) for model, pools in self._replicated.items()}
        return {model: len(pool) for model, pool in self._pools.items()} | several
