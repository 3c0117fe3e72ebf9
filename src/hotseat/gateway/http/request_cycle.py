"""One client's request and its response, as the gateway sees them.

uvicorn keeps the connection; this is its request-and-response object with a synchronous way to
write, so that bytes go from the model's server to the client inside the parser's callback, without
a task switch. A task is made only for what has to be waited for. Our own pages (an ASGI application)
use the ordinary way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from hotseat.gateway.http import errors

if TYPE_CHECKING:
    from hotseat.gateway.http.connection import Connection

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI 3 application."""

_log = logging.getLogger(__name__)

ROOM_BEFORE_READ = 65536
"""Bytes of a body kept before anybody reads it; the sender waits beyond."""


class BodyTooLarge(Exception):
    """The body is larger than allowed."""


class Source(Protocol):
    """Where the response's bytes come from."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class CycleHandler(Protocol):
    """Who answers requests."""

    def answer(self, client: RequestCycle) -> Coroutine[Any, Any, None] | None:
        """Begin to answer one request, once its header and whatever came with it are here.

        What has to be waited for is returned, and runs in a task that is cancelled when the client goes.
        ``None``: it has been answered, or callbacks see to the rest, and ``client.at_end`` is called if
        the client goes first.
        """


class RequestCycle(RequestResponseCycle):
    """One request, and the way back to the one who sent it.

    All writes are harmless once the client has gone.
    """

    # What uvicorn's class keeps for each instance, as shared first values: most of it never changes.
    scope: Any = None  # made when a page of ours asks for it
    disconnected = False
    more_body = True
    response_started = False
    response_complete = False
    chunked_encoding: bool | None = None
    expected_content_length = 0
    logger = _log
    access_logger = _log
    access_log = False
    default_headers: list[tuple[bytes, bytes]] = []  # noqa: RUF012  # never changed

    task: asyncio.Task[None] | None = None
    """The task that answers, where something has to be waited for."""
    at_end: Callable[[], None] | None = None
    """Called when nobody answers any more: the client has gone, or the task has ended. It may have nothing
    left to do."""
    cancel_on_disconnect = True
    """Whether the task is cancelled when the client goes; ASGI applications get a message instead."""
    source: Source | None = None
    """Paused while the client reads more slowly than the response comes."""
    body_room = ROOM_BEFORE_READ
    body: bytes | bytearray = b""  # type: ignore[assignment]
    """As far as it is here and nobody has taken it."""
    length: bytes | None = None
    """The body's, where the header tells it: digits."""
    bytes_sent = 0
    """Of the response's body."""
    status = 0
    extra = b""
    """Header lines of every answer (CORS, the request's id, what is left of limits)."""

    def __init__(
        self,
        connection: Connection,
        method: bytes,
        target: tuple[bytes, bytes],
        headers: list[tuple[bytes, bytes]],
        *,
        http_1_0: bool,
        keep_alive: bool,
        expect_100_continue: bool,
    ) -> None:
        self.connection = connection
        self.transport = connection.transport
        self.flow = connection.flow
        self.message_event = connection.message_event
        self.on_response = connection.on_response_complete
        self.method = method
        self.path, self.query = target
        """As they were sent, never decoded; the query with its question mark, or empty."""
        self.headers = headers
        """Names in lower case."""
        self.http_1_0 = http_1_0
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expect_100_continue
        self._held: list[bytes] = []

    # The request

    def add(self, data: bytes) -> None:
        """A piece of the body has come."""
        if not self.body:
            self.body = data  # most bodies come in one piece
            return
        if isinstance(self.body, bytes):
            self.body = bytearray(self.body)
        self.body += data

    def take(self, limit: int) -> bytes:
        """What is here of the body. Raises ``BodyTooLarge``."""
        whole, self.body = self.body, b""
        if len(whole) > limit:
            raise BodyTooLarge
        return bytes(whole)

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
        return self.take(limit)

    # The response

    def start(self, status: int, headers: bytes, length: bytes | None) -> None:
        """Begin the response. It goes out with ``flush``, ``finish`` or ``abort``.

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
        elif self.http_1_0:
            self.chunked_encoding = False
            self.keep_alive = False
        else:
            self.chunked_encoding = True
            framing = b"transfer-encoding: chunked\r\n"
        closing = b"" if self.keep_alive else b"connection: close\r\n"
        self._held += (STATUS_LINE[status], headers, self.extra, framing, closing, b"\r\n")

    def write(self, data: bytes) -> None:
        """Add a piece of the body (not empty). It goes out with ``flush``, ``finish`` or ``abort``."""
        if self.method == b"HEAD":
            return  # what follows the header would be read as the next response
        size = len(data)
        self.bytes_sent += size
        if self.chunked_encoding:
            self._held += (b"%x\r\n" % size, data, b"\r\n")
        else:
            self._held.append(data)

    def flush(self) -> None:
        """Send what is held: what came together goes out together."""
        held = self._held
        if held:
            self._held = []
            if not self.disconnected:
                self.transport.write(b"".join(held))

    def finish(self) -> None:
        """The body is complete."""
        if self.disconnected or self.response_complete:
            return
        if self.chunked_encoding:
            self._held.append(b"0\r\n\r\n")
        self.flush()
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
        self.flush()
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

    def refuse(self, problem: errors.ErrorResponse, *, anthropic: bool = False) -> None:
        """Send an error object."""
        self.body = b""  # nobody reads it any more, and the connection may rest for long
        self.respond(problem.status, errors.header_block(problem), errors.body(problem, anthropic=anthropic))

    def cancel(self) -> None:
        """The client has gone: nobody wants the answer any more."""
        if self.task is None:
            self._end()
        elif self.cancel_on_disconnect:
            self.task.cancel()

    @property
    def is_slow(self) -> bool:
        """Whether more has been written than the client has taken."""
        return self.flow.write_paused

    async def drained(self) -> None:
        """Wait until the client has taken (nearly) all that was written."""
        await self.flow.drain()

    # Who answers

    def begin(self, app: CycleHandler) -> None:
        """Have the application answer; whatever it does, the client gets an answer or an end."""
        try:
            rest = app.answer(self)
        except Exception:
            self._failed()
        else:
            if rest is not None:
                self.go_on(rest)

    def go_on(self, rest: Coroutine[Any, Any, None]) -> None:
        """See to what has to be waited for, in a task."""
        connection = self.connection
        self.message_event.set()  # what came before anybody waited
        # The server state's set holds the task to its end.
        self.task = connection.loop.create_task(self._see_to(rest))
        connection.tasks.add(self.task)
        self.task.add_done_callback(partial(self._task_done, rest))

    async def _see_to(self, rest: Coroutine[Any, Any, None]) -> None:
        try:
            await rest
            if not self.response_complete and not self.disconnected:
                raise RuntimeError("the response was not completed")
        except asyncio.CancelledError:
            self.abort()
            raise
        except Exception:
            self._failed()

    def _failed(self) -> None:
        _log.exception("a request failed inside hotseat")
        if self.response_started:
            self.abort()
        else:
            self.refuse(_OURS)

    def _task_done(self, rest: Coroutine[Any, Any, None], task: asyncio.Task[None]) -> None:
        rest.close()  # a task that was cancelled before it began has not touched it
        self.connection.tasks.discard(task)
        self.task = None
        self.source = None
        self.on_response = _nothing
        self._end()

    def _end(self) -> None:
        at_end, self.at_end = self.at_end, None
        if at_end is not None:
            at_end()

    async def run_control(self, app: ASGIApp, state: dict[str, Any]) -> None:
        """Have an ASGI application answer; ``state`` goes into the scope.

        It learns of the client's end as ASGI says: by a message.
        """
        self.cancel_on_disconnect = False
        lines = [line.partition(b": ") for line in self.extra.split(b"\r\n") if line]
        self.default_headers = [(name, value) for name, _, value in lines]
        length = [] if self.length is None else [(b"content-length", self.length)]
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.0" if self.http_1_0 else "1.1",
            "method": self.method.decode("ascii"),
            "path": self.path.decode("latin-1"),
            "raw_path": self.path,
            "query_string": self.query[1:],
            "root_path": "",
            "headers": self.headers + length,
            "scheme": self.connection.scheme or "http",
            "server": self.connection.server,
            "client": self.connection.client,
            "state": state,
        }
        await app(self.scope, self.receive, self._send)

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.more_body:
                self.keep_alive = False  # the rest of the request would be read as the next one
        else:
            self.bytes_sent += len(message.get("body", b""))
            if self.more_body and not message.get("more_body"):
                self.keep_alive = True  # closed at once the answer might be lost: the connection lingers
        await self.send(message)


_OURS = errors.ErrorResponse(
    status=500,
    code="internal_error",
    type="api_error",
    message="hotseat failed to handle this request; its log says why",
)


def _nothing() -> None:
    """Nobody is told: the request has ended."""
