"""One client's request and its response.

Writes are synchronous, so that bytes go from the model's server to the client inside the parser's callback,
without a task switch. A task is made only for what has to be waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from hotseat.gateway.http import errors
from hotseat.gateway.http.headers import Headers

_log = logging.getLogger(__name__)

BODY_ROOM_BYTES = 65536
"""Bytes of a body that are buffered before the handler reads it; beyond, reading from the client pauses."""


_COPIED_BYTES = 1024 * 1024


class BodyTooLarge(Exception):
    """The body is larger than allowed."""


class Source(Protocol):
    """Source of the response's bytes, which can be paused."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class ClientConnection(Protocol):
    """Protocol of the connection that a request came on (``gateway.http.connection``)."""

    loop: asyncio.AbstractEventLoop
    tasks: set[asyncio.Task[None]]
    """Holds the tasks of requests to their end."""
    transport: asyncio.Transport
    flow: FlowControl
    message_event: asyncio.Event
    """Set when something came for the request that is being read, or the client has disconnected."""
    scheme: str
    client: tuple[str, int] | None
    """The peer's address and port, as the socket tells them."""
    server: tuple[str, int | None] | None
    """Our own address and port."""
    client_context: Any
    """What the access layer worked out about the last request's client, kept for the next one."""

    @property
    def pipelined(self) -> int:
        """Requests that came behind this one."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the socket has closed."""

    def pause_writing(self) -> None:
        """Take note that the client is slow."""

    def resume_writing(self) -> None:
        """Take note that the client has caught up."""

    def prove(self) -> None:
        """Note that a request of this connection was authorized."""

    def close(self) -> None:
        """Close once the client has taken what was written, within limits."""

    def linger(self) -> None:
        """Discard the rest of the request, within limits, then close."""

    def on_response_complete(self) -> None:
        """Go on to the next request."""


class CycleHandler(Protocol):
    """The application that answers requests."""

    def answer(self, client: RequestCycle) -> Coroutine[Any, Any, None] | None:
        """Begin to answer one request, once its head and whatever came with it have been read.

        Returns what has to be waited for: a coroutine, to be run in a task that is cancelled when the client
        disconnects. ``None``: the response is complete, or callbacks will complete it, and
        ``client.on_close`` is called if the client disconnects first.
        """


class RequestCycle:
    """One request, and the response to it.

    All writes are harmless once the client has disconnected.
    """

    # Slots: reading a default from the class would cost several times as much, for each chunk.
    __slots__ = (
        "_chunked",
        "_length_promised",
        "_unsent",
        "body",
        "body_room",
        "bytes_sent",
        "cancel_on_disconnect",
        "connection",
        "disconnected",
        "extra_headers",
        "flow",
        "headers",
        "http_1_0",
        "keep_alive",
        "length",
        "method",
        "more_body",
        "on_close",
        "on_drain",
        "path",
        "query",
        "response_complete",
        "response_started",
        "source",
        "status",
        "task",
        "transport",
        "waiting_for_100_continue",
    )

    def __init__(
        self,
        connection: ClientConnection,
        method: bytes,
        target: tuple[bytes, bytes],
        headers: Headers,
        keep_alive: bool,
    ) -> None:
        """``target``: the raw path, and the query with its question mark or empty; neither is decoded."""
        self.connection = connection
        self.transport = connection.transport
        self.flow = connection.flow

        # The request
        self.method = method
        self.path, self.query = target
        self.headers = headers
        """Names in lower case; without ``Content-Length``."""
        self.http_1_0 = False
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = False
        self.length: bytes | None = None
        """``Content-Length``, in digits; ``None`` for a chunked body or none."""
        self.body: bytes | bytearray = b""
        """What has been received of the body and not been taken yet."""
        self.more_body = True
        """Whether the body is still incomplete."""
        self.body_room = BODY_ROOM_BYTES
        """Bytes of the body that may be buffered before reading from the client pauses."""

        # The response
        self.response_started = False
        self.response_complete = False
        self.disconnected = False
        """The client is gone, or was cut off: nothing more can be sent."""
        self.status = 0
        """0 before there is a response."""
        self.extra_headers = b""
        """Header lines of every response (CORS, the request's id, remaining rate limits)."""
        self.bytes_sent = 0
        """Size of the body so far."""
        self.source: Source | None = None
        """Paused while the client reads more slowly than the response arrives."""
        self._chunked = False
        self._length_promised = 0
        """``Content-Length``; 0 where there is none."""
        self._unsent: list[bytes] = []

        # The handling
        self.task: asyncio.Task[None] | None = None
        """The task that answers, where something has to be waited for."""
        self.on_close: Callable[[], None] | None = None
        """Called once when the request is over without the handler's doing: the client has disconnected, or
        the task has ended. There may be nothing left to do by then."""
        self.on_drain: Callable[[], None] | None = None
        """Called when the server shuts down, for a response that has no end of its own."""
        self.cancel_on_disconnect = True
        """Whether the task is cancelled when the client disconnects; ASGI applications get a message."""

    def __repr__(self) -> str:
        if self.response_complete:
            state = f"{self.status} complete"
        elif self.disconnected:
            state = "disconnected"
        elif self.response_started:
            state = f"{self.status} started"
        else:
            state = "reading the body" if self.more_body else "waiting for a response"
        return f"<RequestCycle {self.method.decode('latin-1')} {self.path.decode('latin-1')} {state}>"

    # The request

    def add(self, data: bytes) -> None:
        """Buffer a piece of the body."""
        if not self.body:
            self.body = data  # most bodies come in one piece
            return
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        self.body += data

    def take(self, limit: int) -> bytes:
        """Take what is buffered of the body. Raises ``BodyTooLarge`` beyond ``limit`` bytes."""
        body, self.body = self.body, b""
        if len(body) > limit:
            raise BodyTooLarge
        # A large one is not copied: it serves as well as it is.
        return cast("bytes", body) if len(body) > _COPIED_BYTES else bytes(body)

    async def read(self, limit: int, on_growth: Callable[[int], None] | None = None) -> bytes:
        """Wait for the whole body and take it. Raises ``BodyTooLarge`` beyond ``limit`` bytes.

        ``on_growth(size)`` is called with what has arrived so far, and may raise to refuse more.
        """
        if self.more_body:
            self.send_100_continue()
        self.body_room = limit
        message_event = self.connection.message_event
        while self.more_body and len(self.body) <= limit:
            message_event.clear()
            self.flow.resume_reading()
            await message_event.wait()
            if on_growth is not None:
                on_growth(len(self.body))
        if on_growth is not None:
            on_growth(len(self.body))
        return self.take(limit)

    def send_100_continue(self) -> None:
        """Have the client send the body, if it waits to be told so."""
        if self.waiting_for_100_continue:
            self.waiting_for_100_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # The response

    def start(self, status: int, headers: bytes, length: bytes | None) -> None:
        """Begin the response. The head is sent with ``flush``, ``finish`` or ``abort``.

        ``headers``: complete lines, without framing. ``length``: the body's, where it is known.
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
            self._length_promised = int(length)
            framing = b"content-length: %b\r\n" % length
        elif status in (204, 304) or self.method == b"HEAD":
            pass
        elif self.http_1_0:
            self.keep_alive = False
        else:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        closing = b"" if self.keep_alive else b"connection: close\r\n"
        self._unsent += (STATUS_LINE[status], headers, self.extra_headers, framing, closing, b"\r\n")

    def write(self, data: bytes) -> None:
        """Add a piece of the body (not empty). It is sent with ``flush``, ``finish`` or ``abort``."""
        if self.method == b"HEAD":
            return  # what follows the head would be read as the next response
        size = len(data)
        self.bytes_sent += size
        if self._chunked:
            self._unsent += (b"%x\r\n" % size, data, b"\r\n")
        else:
            self._unsent.append(data)

    def flush(self) -> None:
        """Send all that was added since the last time, in one write."""
        unsent = self._unsent
        if unsent:
            self._unsent = []
            if not self.disconnected:
                self.transport.write(b"".join(unsent))

    def finish(self) -> None:
        """Complete the response."""
        if self.disconnected or self.response_complete:
            return
        if self._chunked:
            self._unsent.append(b"0\r\n\r\n")
        self.flush()
        self.response_complete = True
        if self.more_body:
            self.connection.linger()
        elif not self.keep_alive:
            self.connection.close()
        self.connection.on_response_complete()

    def abort(self) -> None:
        """Cut the connection, so that the client sees that the response is incomplete."""
        if self.disconnected:
            return
        self.flush()
        self.disconnected = True
        if self._chunked or self._length_promised:
            self.connection.close()  # what was sent still arrives, and is seen to be short
        else:
            self.transport.abort()

    def respond(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a complete response."""
        self.start(status, headers, b"%d" % len(body))
        if body:
            self.write(body)
        self.finish()

    def refuse(self, problem: errors.ErrorResponse, *, anthropic: bool = False) -> None:
        """Send an error object as the response."""
        self.body = b""  # not needed any more, and the connection may stay idle for long
        self.respond(problem.status, errors.header_block(problem), errors.body(problem, anthropic=anthropic))

    @property
    def is_slow(self) -> bool:
        """Whether more has been written than the client's socket takes."""
        return self.flow.write_paused

    async def drain(self) -> None:
        """Wait until the client has taken (nearly) all that was written."""
        await self.flow.drain()

    # Handling

    def begin(self, handler: CycleHandler) -> None:
        """Have the handler answer; whatever it does, the client gets a response or a closed connection."""
        try:
            rest = handler.answer(self)
        except Exception:
            self._fail()
        else:
            if rest is not None:
                self.run_in_task(rest)

    def run_in_task(self, rest: Coroutine[Any, Any, None]) -> None:
        """Run what has to be waited for in a task, which ends the request one way or the other."""
        connection = self.connection
        connection.message_event.set()  # for what came before anyone waited for it
        self.task = connection.loop.create_task(self._run(rest))
        connection.tasks.add(self.task)
        self.task.add_done_callback(partial(self._on_task_done, rest))

    def cancel(self) -> None:
        """Stop answering: the client has disconnected."""
        if self.task is None:
            self._call_on_close()
        elif self.cancel_on_disconnect:
            self.task.cancel()

    async def _run(self, rest: Coroutine[Any, Any, None]) -> None:
        try:
            await rest
            if not self.response_complete and not self.disconnected:
                raise RuntimeError("the response was not completed")
        except asyncio.CancelledError:
            self.abort()
            raise
        except Exception:
            self._fail()

    def _fail(self) -> None:
        _log.exception("a request failed because of an error in hotseat")
        if self.response_started:
            self.abort()
        else:
            self.refuse(_INTERNAL_ERROR)

    def _on_task_done(self, rest: Coroutine[Any, Any, None], task: asyncio.Task[None]) -> None:
        rest.close()  # a task that was cancelled before its first step has not touched it
        self.connection.tasks.discard(task)
        self.task = None
        self.source = None
        self._call_on_close()

    def _call_on_close(self) -> None:
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()


_INTERNAL_ERROR = errors.ErrorResponse(
    status=500,
    code="internal_error",
    type="api_error",
    message="hotseat failed to handle this request; its log says why",
)
