"""A client's connection: uvicorn's httptools protocol with bounds on what a stranger may send.

Added to uvicorn's: the size of the header and the time that a sender takes for header and body are
bounded; an early answer (413, 404, …) is followed by a bounded drain, so that the client can read
it; an ``Upgrade`` that nobody wants is passed over without losing the request's body; trailers are
not taken for headers; bad bytes behind a good request do not spoil its answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from hotseat.gateway.http import errors
from hotseat.gateway.http.head_cache import CachedHead, learn
from hotseat.gateway.http.request_cycle import RequestCycle

_log = logging.getLogger(__name__)

_MOST_FRAMING = 8
"""Bytes on the wire for each byte of a body: chunks of one byte take six."""

_MOST_AHEAD = 8
"""Requests of one client that are read while an earlier one is answered. While nothing is read, it is not
seen that the client goes."""

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """What a sender may do."""

    head_bytes: int = 32 * 1024
    """Request line and header fields together; more is answered with 431."""
    head_s: float = 20.0
    """From a connection's or a request's first byte to the end of its header."""
    body_interval_s: float = 20.0
    """How often the arrival of a body is looked at."""
    body_bytes_per_s: int = 1024
    """A body that comes more slowly than this, over one interval, is cut."""
    linger_bytes: int = 64 * 1024 * 1024
    """How much of a refused body is read and thrown away before the connection is closed."""
    linger_s: float = 10.0
    """How long that may take."""
    keep_alive_s: float = 75.0
    """How long a connection may rest between two requests."""


class ConnectionState(ServerState):
    """What the connections of one server share."""

    def __init__(self, limits: ConnectionLimits) -> None:
        super().__init__()
        self.limits = limits
        self.closing = False
        self.empty = asyncio.Event()
        """Set whenever the last connection has gone."""


class Connection(HttpToolsProtocol):
    """One client's connection."""

    cycle: RequestCycle
    server_state: ConnectionState
    pipeline: deque[RequestCycle]  # type: ignore[assignment]

    def __init__(self, config: Config, server_state: ConnectionState, app_state: dict[str, Any]) -> None:
        super().__init__(config=config, server_state=server_state, app_state=app_state)
        self._limits = server_state.limits
        self.message_event = asyncio.Event()
        """Something came for the request that is being read, or the client has gone."""
        self._active: RequestCycle | None = None  # the one being answered; self.cycle is the one being read
        self._new: RequestCycle | None = None  # the active one, before anybody was told of it
        self._headers_before: Headers | None = None
        self._known: tuple[CachedHead, bytes, tuple[bytes, bytes], Headers] | None = None
        """A head that came twice, and what it says: method, target, fields."""
        self.sender: Any = None
        """The last request's ``ClientContext``, kept for the next one."""
        self._whole = True  # no request is half read
        self._in_head = True
        self._head_bytes = 0
        self._piece = 0  # size of what came last
        self._body_bytes = self._framed_bytes = 0
        self._upgrading = False
        self._deaf = False  # what comes is thrown away
        self._lingering = False
        self._drained = 0
        self._timer: asyncio.TimerHandle | None = None
        self._resting_since = 0.0

    # Connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(self._limits.head_s, self._head_too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        self._unset_keepalive_if_required()
        for client in (self._active, *self.pipeline):
            if client is not None and not client.response_complete:
                client.disconnected = True
                client.message_event.set()
                client.cancel()
        self.pipeline.clear()
        self._active = self._new = None
        super().connection_lost(exc)
        self.cycle = None  # type: ignore[assignment]  # it knows us, too
        if not self.server_state.connections:
            self.server_state.empty.set()

    def shutdown(self) -> None:
        """Finish what is being answered, and close."""
        self.pipeline.clear()
        if self._active is None or self._active.response_complete:
            self.transport.close()
        else:
            self._active.keep_alive = False

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._active is not None and self._active.source is not None:
            self._active.source.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._active is not None and self._active.source is not None:
            self._active.source.resume_reading()

    def linger(self) -> None:
        """The answer is out and the request is not all in: throw the rest away, for a while, then close."""
        self._lingering = self._deaf = True
        self._cancel_timer()
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._timer = self.loop.call_later(self._limits.linger_s, self.transport.close)

    # Bytes

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._drained += len(data)
            if self._drained > self._limits.linger_bytes:
                if self._lingering:
                    self.transport.close()
                else:
                    self.flow.pause_reading()  # answers to earlier requests are still on their way
            return
        resting = self._whole and not self._head_bytes and self._active is None
        if resting and self._known is not None:
            known, method, target, headers = self._known
            body_at = known.body_at(data)
            if body_at:
                self._begin_known(method, target, headers, data[body_at:])
                return
        self._piece = len(data)
        if self._in_head:
            self._head_bytes += self._piece
        else:
            self._framed_bytes += self._piece
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            too_large = self._in_head and self._head_bytes > self._limits.head_bytes
            self._reject(_TOO_LARGE if too_large else _MALFORMED)
        else:
            if self._in_head and self._head_bytes > self._limits.head_bytes:
                self._reject(_TOO_LARGE)
            elif not self._whole:
                if self._framed_bytes - _MOST_FRAMING * self._body_bytes > self._limits.head_bytes:
                    self._reject(_TOO_MUCH_AROUND)  # the parser keeps a trailer that has no end
                else:
                    self._watch_sender()
            elif self._timer is not None:
                self._cancel_timer()
        # Begun only now, since its body may have come with its header: then nothing has to be waited for.
        new = self._new
        if new is not None:
            self._new = None
            if resting:
                self._learn(new, data)
            new.begin(self.app)

    def _learn(self, client: RequestCycle, data: bytes) -> None:
        """Keep the head of a request that came as a whole, if it came a second time."""
        twice = self._headers_before == client.headers
        self._headers_before = client.headers
        if twice and self._whole and client.length is not None and client.keep_alive and not self.pipeline:
            known = None if self.expect_100_continue else learn(data, client.length)
            if known is not None:
                self._known = known, client.method, (client.path, client.query), client.headers

    def _begin_known(self, method: bytes, target: tuple[bytes, bytes], headers: Headers, body: bytes) -> None:
        """A request whose head came before, with the whole of its body."""
        client = self._active = self.cycle = RequestCycle(
            self,
            method,
            target,
            headers,
            http_1_0=False,
            keep_alive=not self.server_state.closing,
            expect_100_continue=False,
        )
        client.length = b"%d" % len(body)
        client.body = body
        client.more_body = False
        client.begin(self.app)

    def _pass_over_upgrade(self, rest: bytes) -> None:
        """Read the request again without its wish to upgrade.

        The parser believes that no body follows an upgrade; but clients that offer HTTP/2 this way
        (Java's, for one) send a body and expect an ordinary answer.
        """
        lines = [self.parser.get_method(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.headers:
            if name == b"connection":
                tokens = (token.strip() for token in value.split(b","))
                value = b", ".join(token for token in tokens if token.lower() != b"upgrade")
            lines += (name, b": ", value, b"\r\n")
        if self._length is not None:
            lines += (b"content-length: ", self._length, b"\r\n")
        lines.append(b"\r\n")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._in_head, self._head_bytes = True, 0
        self.data_received(b"".join(lines) + rest)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._length: bytes | None = None
        self._whole = self._upgrading = False
        self._in_head = True
        self._body_bytes = self._framed_bytes = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer: nothing that was judged by the header may change now
        name, value = name.lower(), value.rstrip(b" \t")  # (RFC 9110 §5.5; the parser takes the front only)
        if name == b"content-length":  # kept apart, so that headers of requests of one client are equal
            self._length = value
            return
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._head_bytes + self._piece > self._limits.head_bytes:
            # Looked at here as well as in data_received: much may come in one piece.
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self._limits.head_bytes:
                self._head_bytes = size
                raise ValueError("the header is too large")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("CONNECT is not served here")
            self._upgrading = True
            return
        self._in_head = False
        self._cancel_timer()
        http_1_0 = self.parser.get_http_version() == "1.0"
        client = self.cycle = RequestCycle(
            self,
            self.parser.get_method(),
            _split_target(self.url),
            self.headers,
            http_1_0=http_1_0,
            keep_alive=not http_1_0 and not self.server_state.closing and self.parser.should_keep_alive(),
            expect_100_continue=self.expect_100_continue,
        )
        if self._length is not None:
            client.length = self._length
        if self._active is None:
            self._active = self._new = client
        else:  # pipelined: its turn comes when the one before it has been answered
            self.pipeline.appendleft(client)
            if len(self.pipeline) > _MOST_AHEAD:
                self.flow.pause_reading()

    def on_body(self, body: bytes) -> None:
        if self._upgrading:
            return
        client = self.cycle
        self._body_bytes += len(body)
        if client.response_complete:
            return
        client.add(body)
        if len(client.body) > client.body_room:
            self.flow.pause_reading()
        if client.task is not None:
            client.message_event.set()

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._whole = True
        self._in_head = True
        self._head_bytes = 0
        client = self.cycle
        client.more_body = False
        if self.flow.read_paused and not self.pipeline:
            self.flow.resume_reading()  # or it would not be seen that the client goes
        if client.task is not None:
            client.message_event.set()

    # Requests

    def _begin_next(self) -> None:
        """Answer the next one of a pipeline, unless it has gone meanwhile."""
        client, self._new = self._new, None
        if client is not None and not client.disconnected:
            client.begin(self.app)

    def on_response_complete(self) -> None:
        self._active = None
        if self.transport.is_closing() or self._lingering:
            return
        if not self._whole and not self._in_head and not self.pipeline and not self._deaf:
            self.linger()  # answered before it was all here
            return
        if self.pipeline:
            self._active = self._new = self.pipeline.pop()
            self.loop.call_soon(self._begin_next)  # not from here: a thousand of them would nest
            if self.pipeline:
                return
        elif self._deaf or self.server_state.closing:
            self.transport.close()
            return
        elif self._whole:
            # The timer is not touched for each request: when it fires, it looks how long it has been.
            self._resting_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self._limits.keep_alive_s, self._look_at_rest
                )
        if self.flow.read_paused:
            self.flow.resume_reading()

    def _is_idle(self) -> bool:
        return self._active is None and not self.transport.is_closing()

    def _look_at_rest(self) -> None:
        self.timeout_keep_alive_task = None
        if not self._whole or not self._is_idle():
            return  # it rests again when the answer is complete
        left = self._resting_since + self._limits.keep_alive_s - self.loop.time()
        if left <= 0:
            self.transport.close()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(left, self._look_at_rest)

    # Senders that are too slow, too long-winded or wrong

    def _watch_sender(self) -> None:
        if self._timer is not None:
            return
        if self._in_head:
            self._timer = self.loop.call_later(self._limits.head_s, self._head_too_slow)
        else:
            self._timer = self.loop.call_later(
                self._limits.body_interval_s, self._look_at_body, self._body_bytes
            )

    def _head_too_slow(self) -> None:
        self._timer = None
        if self._whole:  # nothing was sent at all
            if self._is_idle():
                self.transport.close()
        elif self._in_head:
            self._reject(_TOO_SLOW)
        else:
            self._watch_sender()

    def _look_at_body(self, before: int) -> None:
        self._timer = None
        if self._whole or self._deaf:
            return
        wanted = self._limits.body_bytes_per_s * self._limits.body_interval_s
        if self.flow.read_paused or self.pipeline or self._body_bytes - before >= wanted:
            self._watch_sender()
        else:
            self._reject(_TOO_SLOW)

    def _reject(self, problem: errors.ErrorResponse) -> None:
        """Answer what cannot be taken for a request, and hear no more from this sender."""
        self._deaf = True
        self._cancel_timer()
        active = self._active
        if active is not None and not active.response_complete:
            if active is not self.cycle or not active.more_body:
                # What stands whole before the bad bytes gets its answer; then we close.
                if self.cycle.more_body and self.pipeline:
                    self.pipeline.popleft()
                last = self.pipeline[0] if self.pipeline else active
                last.keep_alive = False
                return
            active.disconnected = True
            self._new = None
            active.message_event.set()
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

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _split_target(target: bytes) -> tuple[bytes, bytes]:
    """The raw path and the query (with its question mark) of a request's target."""
    if not target.startswith(b"/"):
        parsed = httptools.parse_url(target)  # absolute form: http://host/path
        return parsed.path or b"/", b"?" + parsed.query if parsed.query else b""
    target = target.partition(b"#")[0]
    path, mark, query = target.partition(b"?")
    return path, mark + query


_MALFORMED = errors.ErrorResponse(
    status=400, code="malformed_request", message="this is not a well-formed HTTP request", should_retry=False
)
_TOO_LARGE = errors.ErrorResponse(
    status=431, code="header_too_large", message="the request's header is too large", should_retry=False
)
_TOO_MUCH_AROUND = errors.ErrorResponse(
    status=431,
    code="header_too_large",
    message="what stands around the request's body (chunk extensions, trailers) is too large",
    should_retry=False,
)
_TOO_SLOW = errors.ErrorResponse(status=408, code="request_timeout", message="the request came too slowly")
