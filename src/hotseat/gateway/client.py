"""One client's request and its response, as the gateway sees them.

uvicorn keeps the connection; this is its request-and-response object with a synchronous way to
write, so that bytes go from the model's server to the client inside the parser's callback, without
a task switch. Our own pages (an ASGI application) use the ordinary way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from hotseat.gateway import errors

if TYPE_CHECKING:
    from hotseat.gateway.connection import Connection

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI 3 application."""

_log = logging.getLogger(__name__)

ROOM_BEFORE_READ = 65536
"""Bytes of a body kept before anybody reads it; the sender waits beyond."""
_JOINED = 16384


class BodyTooLarge(Exception):
    """The body is larger than allowed."""


class Source(Protocol):
    """Where the response's bytes come from."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Application(Protocol):
    """Who answers requests."""

    async def answer(self, client: Client) -> None:
        """Answer one request. Cancelled at once when its client goes."""


class Client(RequestResponseCycle):
    """One request, and the way back to the one who sent it.

    All writes are harmless once the client has gone.
    """

    connection: Connection
    method: bytes
    path: bytes
    """As it was sent, never decoded, without the query."""
    query: bytes
    """With its question mark, or empty."""
    headers: list[tuple[bytes, bytes]]
    """Names in lower case."""

    task: asyncio.Task[None] | None = None
    """The task that answers; cancelled when the client goes."""
    source: Source | None = None
    """Paused while the client reads more slowly than the response comes."""
    body_room = ROOM_BEFORE_READ
    bytes_sent = 0
    """Of the response's body."""
    status = 0

    # The request

    async def read(self, limit: int) -> bytes:
        """The whole body, at most ``limit`` bytes. Raises ``BodyTooLarge``."""
        if self.more_body and self.waiting_for_100_continue:
            self.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.body_room = limit
        while self.more_body and len(self.body) <= limit:
            self.message_event.clear()
            self.flow.resume_reading()
            await self.message_event.wait()
        if len(self.body) > limit:
            self.body = bytearray()
            raise BodyTooLarge
        whole = bytes(self.body)
        self.body = bytearray()
        return whole

    # The response

    def start(self, status: int, headers: bytes, length: bytes | None) -> None:
        """Send the status line and headers.

        ``headers``: whole lines, without framing. ``length``: the body's, where it is known.
        """
        if self.disconnected:
            return
        self.response_started = True
        self.waiting_for_100_continue = False
        self.status = status
        if self.more_body:
            self.keep_alive = False  # the rest of the request would be read as the next one
        framing = b""
        if length is not None:
            self.chunked_encoding = False
            self.expected_content_length = int(length)
            framing = b"content-length: %b\r\n" % length
        elif status in (204, 304) or self.method == b"HEAD":
            self.chunked_encoding = False
        elif self.scope["http_version"] == "1.0":
            self.chunked_encoding = False
            self.keep_alive = False
        else:
            self.chunked_encoding = True
            framing = b"transfer-encoding: chunked\r\n"
        closing = b"" if self.keep_alive else b"connection: close\r\n"
        self.transport.write(b"".join((STATUS_LINE[status], headers, framing, closing, b"\r\n")))

    def write(self, data: bytes) -> None:
        """Send a piece of the body (not empty)."""
        if self.disconnected:
            return
        size = len(data)
        self.bytes_sent += size
        if not self.chunked_encoding:
            self.transport.write(data)
        elif size <= _JOINED:
            self.transport.write(b"%x\r\n%b\r\n" % (size, data))
        else:
            self.transport.writelines((b"%x\r\n" % size, data, b"\r\n"))

    def finish(self) -> None:
        """The body is complete."""
        if self.disconnected or self.response_complete:
            return
        if self.chunked_encoding:
            self.transport.write(b"0\r\n\r\n")
        self.response_complete = True
        if self.more_body:
            self.connection.linger()
        elif not self.keep_alive:
            self.transport.close()
        self.on_response()

    def abort(self) -> None:
        """Cut the connection, so that the client sees that the response is not whole."""
        if self.disconnected:
            return
        self.disconnected = True
        if self.chunked_encoding or self.expected_content_length:
            self.transport.close()  # what was sent still arrives, and is seen to be short
        else:
            self.transport.abort()

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole response."""
        self.start(status, headers, b"%d" % len(body))
        if body and self.method != b"HEAD":
            self.write(body)
        self.finish()

    def refuse(self, problem: errors.Problem, *, anthropic: bool = False) -> None:
        """Send an error object."""
        self.respond(problem.status, errors.header_block(problem), errors.body(problem, anthropic=anthropic))

    @property
    def is_slow(self) -> bool:
        """Whether more has been written than the client has taken."""
        return self.flow.write_paused

    async def drained(self) -> None:
        """Wait until the client has taken (nearly) all that was written."""
        await self.flow.drain()

    # The task

    async def run_asgi(self, app: Any) -> None:
        """Have the application answer; whatever it does, the client gets an answer or an end."""
        try:
            await app.answer(self)
            if not self.response_complete and not self.disconnected:
                raise RuntimeError("the response was not completed")
        except asyncio.CancelledError:
            self.abort()
            raise
        except Exception:
            _log.exception("a request failed inside hotseat")
            if self.response_started:
                self.abort()
            else:
                self.refuse(_OURS)
        finally:
            self.task = None
            self.source = None
            self.on_response = _nothing

    async def run_control(self, app: ASGIApp) -> None:
        """Have an ASGI application answer. It learns of the client's end as ASGI says: by a message."""
        self.task = None
        self.scope.update(
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "method": self.method.decode("ascii"),
                "path": self.path.decode("latin-1"),
                "raw_path": self.path,
                "query_string": self.query[1:],
                "root_path": "",
                "headers": self.headers,
                "scheme": self.connection.scheme or "http",
                "server": self.connection.server,
                "client": self.connection.client,
                "state": {},
            }
        )
        await app(self.scope, self.receive, self.send)


_OURS = errors.Problem(
    status=500,
    code="internal_error",
    type="api_error",
    message="hotseat failed to handle this request; its log says why",
)


def _nothing() -> None:
    """Nobody is told: the request has ended."""
