"""Runs an ASGI application, such as hotseat's own pages, for one request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE

from hotseat.gateway.http.request_cycle import RequestCycle

ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI 3 application."""


async def run_app(app: ASGIApp, cycle: RequestCycle, state: dict[str, Any]) -> None:
    """Have the application answer; ``state`` goes into its scope.

    The application is not cancelled when the client disconnects but told so, by ``http.disconnect``.
    """
    cycle.cancel_on_disconnect = False
    await app(_scope(cycle, state), _Receive(cycle), _Send(cycle))


def _scope(cycle: RequestCycle, state: dict[str, Any]) -> dict[str, Any]:
    length = [] if cycle.length is None else [(b"content-length", cycle.length)]
    connection = cycle.connection
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if cycle.http_1_0 else "1.1",
        "method": cycle.method.decode("ascii"),
        "path": cycle.path.decode("latin-1"),
        "raw_path": cycle.path,
        "query_string": cycle.query[1:],
        "root_path": "",
        "headers": cycle.headers + length,
        "scheme": connection.scheme,
        "server": connection.server,
        "client": connection.client,
        "state": state,
    }


class _Receive:
    """The application's ``receive``."""

    def __init__(self, cycle: RequestCycle) -> None:
        self._cycle = cycle
        self._complete = False
        """The application has the whole body."""

    async def __call__(self) -> dict[str, Any]:
        cycle = self._cycle
        if not _is_over(cycle):
            cycle.send_100_continue()
            cycle.flow.resume_reading()
        # The event is the connection's: a receiver of the request before may still wait for it, so it is
        # cleared before a wait and never after one.
        message_event = cycle.connection.message_event
        while not (_is_over(cycle) or cycle.body or not (cycle.more_body or self._complete)):
            message_event.clear()
            await message_event.wait()
        if _is_over(cycle):
            return {"type": "http.disconnect"}
        body, cycle.body = bytes(cycle.body), b""
        self._complete = not cycle.more_body
        return {"type": "http.request", "body": body, "more_body": cycle.more_body}


class _Send:
    """The application's ``send``. Raises ``RuntimeError`` for messages that make no valid response."""

    def __init__(self, cycle: RequestCycle) -> None:
        self._cycle = cycle
        self._length: int | None = None
        """Bytes of the body that are still to come, where ``Content-Length`` says so."""

    async def __call__(self, message: dict[str, Any]) -> None:
        cycle, kind = self._cycle, message["type"]
        if cycle.is_slow and not cycle.disconnected:
            await cycle.drain()
        if cycle.disconnected:
            return
        if cycle.response_complete:
            raise RuntimeError(f"unexpected ASGI message {kind!r}: the response is complete")
        expected = "http.response.body" if cycle.response_started else "http.response.start"
        if kind != expected:
            raise RuntimeError(f"unexpected ASGI message {kind!r}: expected {expected!r}")
        if cycle.response_started:
            self._body(message.get("body", b""), more=message.get("more_body", False))
        else:
            self._start(message["status"], message.get("headers", ()))

    def _start(self, status: int, headers: Any) -> None:
        cycle = self._cycle
        lines: list[bytes] = []
        length: bytes | None = None
        for name, value in headers:
            if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
                raise RuntimeError(f"invalid header field {name!r}")
            name = name.lower()
            if name == b"content-length":
                length = value
            elif name == b"connection":
                if b"close" in (token.strip().lower() for token in value.split(b",")):
                    cycle.keep_alive = False
            elif name != b"transfer-encoding":  # the framing is the connection's own business
                lines.append(b"%b: %b\r\n" % (name, value))
        cycle.start(status, b"".join(lines), length)
        cycle.flush()
        if cycle.method == b"HEAD":
            return  # what the application sends of a body is not written
        if status in (204, 304):
            self._length = 0
        elif length is not None:
            self._length = int(length)

    def _body(self, data: bytes, *, more: bool) -> None:
        cycle = self._cycle
        if self._length is not None:
            self._length -= len(data)
            if self._length < 0:
                raise RuntimeError("the response's body is longer than its Content-Length")
            if self._length and not more:
                raise RuntimeError("the response's body is shorter than its Content-Length")
        if data:
            cycle.write(data)
        if more:
            cycle.flush()
        else:
            cycle.finish()
            cycle.connection.message_event.set()  # whoever waits to receive hears of the end


def _is_over(cycle: RequestCycle) -> bool:
    return cycle.disconnected or cycle.response_complete
