"""Connections to the models' servers: HTTP/1.1 on httptools' response parser, kept alive and reused.

One pool belongs to one run of a model and is dropped with it. A response is handed on as it comes,
inside the parser's callbacks; nothing of it is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, NamedTuple, Protocol

import httptools

from hotseat.core.views import Upstream
from hotseat.gateway.http.head_cache import CachedHead, learn
from hotseat.gateway.http.outlier_detection import OutlierDetector

_log = logging.getLogger(__name__)

HEAD_LIMIT_BYTES = 64 * 1024
"""Of a response's header, those of 1xx responses before it included."""
CONNECT_TIMEOUT_S = 5.0
IDLE_MOST = 64
"""Connections that rest, for each run."""
IDLE_S = 30.0
"""A connection that rested longer is not used again."""

_PASS = 0
_DROP = 1
_LENGTH = 2
_TYPE = 3
_ENCODING = 4

_FIELDS = {
    b"content-length": _LENGTH,
    b"content-type": _TYPE,
    b"transfer-encoding": _ENCODING,
    # Hop by hop (RFC 9110 §7.6.1).
    b"connection": _DROP,
    b"keep-alive": _DROP,
    b"proxy-connection": _DROP,
    b"proxy-authenticate": _DROP,
    b"te": _DROP,
    b"trailer": _DROP,
    b"upgrade": _DROP,
    # Our own words about the request.
    b"x-request-id": _DROP,
    # A server's cookies would be set for all models; who may read an answer is the gateway's word
    # (vLLM allows every origin unless told otherwise).
    b"set-cookie": _DROP,
    b"access-control-allow-origin": _DROP,
    b"access-control-allow-credentials": _DROP,
    b"access-control-allow-methods": _DROP,
    b"access-control-allow-headers": _DROP,
    b"access-control-expose-headers": _DROP,
    b"access-control-max-age": _DROP,
}


class UpstreamFailure(Exception):
    """The model's server did not answer as it should, in words that a client may read."""

    def __init__(
        self, words: str, *, unreachable: bool = False, stale: bool = False, silent: bool = False
    ) -> None:
        super().__init__(words)
        self.words = words
        self.unreachable = unreachable
        """No connection could be made: nothing was sent."""
        self.stale = stale
        """A reused connection ended before a byte of the response: the request may be sent again."""
        self.silent = silent
        """Nothing came in time."""


class ResponseHandler(Protocol):
    """Where a response goes. Called from the parser; must not wait."""

    def on_head(self, status: int, headers: bytes, length: bytes | None, content_type: bytes) -> None:
        """The final status and the header lines to pass on, without framing."""

    def on_data(self, data: bytes) -> None: ...

    def on_whole(self, status: int, headers: bytes, content_type: bytes, body: bytes) -> None:
        """Head and body at once, where both came in one piece; ``on_end`` follows."""

    def on_read(self) -> None:
        """All that came in one piece has been handed on; more will come."""

    def on_end(self) -> None: ...

    def on_failure(self, failure: UpstreamFailure) -> None: ...


class CachedResponseHead(NamedTuple):
    """A response's head that came before, and what it says."""

    head: CachedHead
    status: int
    fields: bytes
    type: bytes


class UpstreamConnection(asyncio.Protocol):
    """One connection to one run."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._sink: ResponseHandler | None = None
        self._method_is_head = False
        self._reused = False
        self._heard = False
        self._first = b""  # what came first of a response, while the parser looks at it
        self._in_head = True
        self._informational = False
        self._head_bytes = 0
        self._fields: list[bytes] = []
        self._length: bytes | None = None
        self._type = b""
        self._chunked = False
        self._keep = False
        self._paused = False
        self.idle_since = 0.0

    def send(self, request: bytes, sink: ResponseHandler, *, method_is_head: bool) -> None:
        """Send one request; the response goes to ``sink``, which hears exactly one end or failure."""
        assert self._transport is not None
        self._sink = sink
        self._method_is_head = method_is_head
        self._heard = False
        self._in_head = True
        self._head_bytes = 0
        self._transport.write(request)

    @property
    def usable(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def abandon(self) -> None:
        """Nobody wants the response any more: the server sees the end at once."""
        self._sink = None
        if self._transport is not None:
            self._transport.abort()

    def fail(self, words: str, *, silent: bool = False) -> None:
        """End the response with a failure, for a reason known outside."""
        self._fail(UpstreamFailure(words, silent=silent))

    def pause_reading(self) -> None:
        """The client is slow: let the server wait."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """The client has caught up."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    # asyncio

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._heard:
            self._heard = True
            known = self._pool.known
            if (
                known is not None
                and (body_at := known.head.body_at(data))
                and self._take(known, data[body_at:])
            ):
                return
            self._first = data
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(UpstreamFailure("its server switched to another protocol"))
        except httptools.HttpParserError as error:
            if self._sink is not None and isinstance(error, httptools.HttpParserCallbackError):
                _log.warning("a response could not be taken", exc_info=error)
            self._fail(UpstreamFailure("its server sent a malformed response"))
        else:
            if self._sink is not None and not self._in_head:
                self._sink.on_read()
            elif self._in_head and self._head_bytes > HEAD_LIMIT_BYTES:
                self._fail(UpstreamFailure("its server sent a header that is too large"))
        self._first = b""

    def _take(self, known: CachedResponseHead, body: bytes) -> bool:
        """A whole response whose head came before; false where the parser must see it."""
        sink = self._sink
        if sink is None or self._method_is_head:
            return False
        try:
            sink.on_whole(known.status, known.fields, known.type, body)
        except Exception as error:
            _log.warning("a response could not be taken", exc_info=error)
            self._fail(UpstreamFailure("its server sent a malformed response"))
        else:
            self._complete(keep=True)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        del self._parser  # it knows us, too
        sink = self._sink
        if sink is None:
            return
        if not self._in_head and exc is None and self._length is None and not self._chunked:
            self._sink = None
            sink.on_end()  # a response without a length ends with its connection
        elif not self._heard:
            self._fail(UpstreamFailure("its server closed the connection", stale=self._reused))
        elif self._in_head:
            self._fail(UpstreamFailure("its server closed the connection before it had answered"))
        else:
            self._fail(UpstreamFailure("its server closed the connection in the middle of the answer"))

    def _fail(self, failure: UpstreamFailure) -> None:
        sink, self._sink = self._sink, None
        if self._transport is not None:
            self._transport.abort()
        if sink is not None:
            sink.on_failure(failure)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        if self._sink is None:
            raise ValueError("nobody asked for this response")
        self._fields = []
        self._length = None
        self._type = b""
        self._chunked = False
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer
        name = name.lower()
        use = _FIELDS.get(name, _PASS)
        if use == _PASS:
            self._fields += (name, b": ", value, b"\r\n")
        elif use == _LENGTH:
            self._length = value
        elif use == _TYPE:
            self._type = value
            self._fields += (name, b": ", value, b"\r\n")
        elif use == _ENCODING:
            self._chunked = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._informational = True
            return
        self._informational = self._in_head = False
        self._keep = self._parser.should_keep_alive()
        sink = self._sink
        if sink is None:
            return
        sink.on_head(status, b"".join(self._fields), self._length, self._type)
        if self._method_is_head:
            # The parser would wait for a body that never comes; the connection ends with this answer.
            self._sink = None
            sink.on_end()
            if self._transport is not None:
                self._transport.abort()

    def on_body(self, body: bytes) -> None:
        if self._sink is not None:
            self._sink.on_data(body)

    def on_message_complete(self) -> None:
        if self._informational:
            return
        if self._first and self._length is not None and self._keep and self._parser.get_status_code() == 200:
            head = None if self._method_is_head else learn(self._first, self._length)
            if head is not None:
                self._pool.known = CachedResponseHead(head, 200, b"".join(self._fields), self._type)
        self._complete(keep=self._keep)

    def _complete(self, *, keep: bool) -> None:
        sink, self._sink = self._sink, None
        if sink is None or self._transport is None:
            return
        if keep and not self._transport.get_write_buffer_size():
            self.resume_reading()
            self._reused = True
            self._pool.give(self)
        else:
            self._transport.abort()
        sink.on_end()


class ConnectionPool:
    """The connections to one run."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
        self.lead = f" HTTP/1.1\r\nhost: {host}:{upstream.port}\r\n".encode()
        """The request line's end and the field that follows it."""
        self.base_path = upstream.base_path.encode()
        self.doubts = OutlierDetector()
        self.known: CachedResponseHead | None = None
        """The head of the last whole response; only the length of the next one's will differ."""
        self._loop = asyncio.get_running_loop()
        self._idle: deque[UpstreamConnection] = deque()
        self._closed = False

    def take(self) -> UpstreamConnection | None:
        """A connection that rests, the one used last first."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and self._loop.time() - connection.idle_since < IDLE_S:
                return connection
            connection.abandon()
        return None

    async def connect(self) -> UpstreamConnection:
        """A new connection. Raises ``UpstreamFailure``."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await self._loop.create_connection(
                    lambda: UpstreamConnection(self), self.upstream.host, self.upstream.port
                )
        except TimeoutError:
            raise UpstreamFailure("its server does not accept connections", unreachable=True) from None
        except OSError:
            raise UpstreamFailure("its server cannot be reached", unreachable=True) from None
        return connection

    def give(self, connection: UpstreamConnection) -> None:
        """Take a connection back whose response is complete."""
        if self._closed or len(self._idle) >= IDLE_MOST:
            connection.abandon()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection has ended."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close what rests; what is in use is closed when its response ends."""
        self._closed = True
        self.doubts.close()
        while self._idle:
            self._idle.pop().abandon()

    def __len__(self) -> int:
        return len(self._idle)


class UpstreamPools:
    """The pools of all runs, one for each model: an older run's is dropped when a newer one appears."""

    def __init__(self) -> None:
        self._pools: dict[str, ConnectionPool] = {}

    def pool(self, upstream: Upstream) -> ConnectionPool:
        """The pool of this run."""
        pool = self._pools.get(upstream.model)
        if pool is None or pool.upstream is not upstream:
            if pool is not None and pool.upstream == upstream:
                return pool
            self.drop(upstream.model)
            pool = self._pools[upstream.model] = ConnectionPool(upstream)
        return pool

    def drop(self, model: str, run: int | None = None) -> None:
        """The model's run (or whichever is known) has ended."""
        pool = self._pools.get(model)
        if pool is not None and run in (None, pool.upstream.run):
            del self._pools[model]
            pool.close()

    def close(self) -> None:
        """Close all."""
        for model in list(self._pools):
            self.drop(model)

    def idle(self) -> dict[str, Any]:
        """Connections that rest, by model."""
        return {model: len(pool) for model, pool in self._pools.items()}
