"""A connection without a socket: bytes go in, and the responses are parsed strictly."""

from __future__ import annotations

import asyncio
from typing import Any

from hotseat.gateway.http.connection import Connection
from hotseat.gateway.http.connection_limits import ConnectionLimits
from hotseat.gateway.http.request_cycle import CycleHandler
from hotseat.gateway.http.server import Server

STATUSES = frozenset({100, 200, 204, 400, 401, 403, 404, 405, 408, 413, 415, 417, 429, 431, 501, 503})
"""Statuses that may be answered. Never 500: that would be a bug."""
REPEATED = 128
MARK = b"\xfe"
_CUTS = (100_000, 1, 2, 3, 7, 16, 64, 1000)
_ROUNDS = 200


class Wire(asyncio.Transport):
    """The transport of one connection; collects what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = self.paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 50_000) if name in ("peername", "sockname") else default

    def write(self, data: Any) -> None:
        assert not self.closing, "written after the end"
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        return

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def packets(data: bytes) -> list[bytes]:
    """Cut an input into reads. The first byte says where, or that each piece between two marks is sent three
    times (a head that is the same as the last one is not parsed again)."""
    if not data:
        return []
    how, rest = data[0], data[1:]
    if how >= REPEATED:
        return [piece for piece in rest.split(MARK) if piece for _ in range(3)]
    cut = _CUTS[how % len(_CUTS)]
    return [rest[at : at + cut] for at in range(0, len(rest), cut)]


class Failures:
    """Collects what the event loop would have logged."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.seen.append(context)


LOOP = asyncio.new_event_loop()


class Talk:
    """Connections to one application."""

    def __init__(self, application: CycleHandler) -> None:
        self._server = Server(application, ConnectionLimits(), None)

    def say(self, pieces: list[bytes]) -> bytes:
        """Send pieces as one client would, and return all that is answered."""
        failures = Failures()
        LOOP.set_exception_handler(failures)
        answer = LOOP.run_until_complete(self._say(pieces))
        assert not failures.seen, failures.seen
        return answer

    async def _say(self, pieces: list[bytes]) -> bytes:
        wire, connection = Wire(), self._server.protocol()
        connection.connection_made(wire)
        for piece in pieces:
            await _settled(connection, wire, until_reading=True)
            if wire.closing or wire.paused:
                break
            connection.data_received(piece)
        await _settled(connection, wire, until_reading=False)
        if not wire.closing:
            connection.eof_received()
        connection.connection_lost(None)
        wire.closing = True
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not self._server.tasks, "a task outlives its connection"
        return bytes(wire.written)


async def _settled(connection: Connection, wire: Wire, *, until_reading: bool) -> None:
    """Let the application go as far as it can with what it has received."""
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)
        if wire.closing or (until_reading and not wire.paused):
            return
        active = connection.active
        if not until_reading and (active is None or active.more_body):
            await asyncio.sleep(0)
            if connection.active is active:
                return


def responses(rest: bytes, methods: list[bytes]) -> list[tuple[int, dict[bytes, bytes], bytes]]:
    """Parse every response strictly; ``methods``: of the requests that they answer, as far as known."""
    found: list[tuple[int, dict[bytes, bytes], bytes]] = []
    finals = 0
    while rest:
        head, end, rest = rest.partition(b"\r\n\r\n")
        assert end, f"a header without an end: {head[:200]!r}"
        first, *lines = head.split(b"\r\n")
        version, status_text, _ = first.split(b" ", 2)
        status = int(status_text)
        assert version == b"HTTP/1.1"
        assert status in STATUSES, first
        fields = {}
        for line in lines:
            name, colon, value = line.partition(b": ")
            assert colon, line
            assert name not in fields or name == b"vary", line
            fields[name] = value
        if status == 100:
            continue
        method = methods[finals] if finals < len(methods) else b""
        finals += 1
        body = b""
        last = fields.get(b"connection") == b"close"
        if last and not rest:
            pass  # the response to a HEAD that was refused before the application saw it
        elif method != b"HEAD" and status != 204:
            body, rest = _body(fields, rest)
        found.append((status, fields, body))
        assert not (last and rest), "something follows the last answer"
    return found


def _body(fields: dict[bytes, bytes], rest: bytes) -> tuple[bytes, bytes]:
    """A response's body, and the bytes that follow it."""
    if fields.get(b"transfer-encoding") != b"chunked":
        size = int(fields[b"content-length"])
        assert len(rest) >= size, "a body is cut short"
        return rest[:size], rest[size:]
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        assert end, "a chunk without its size"
        size = int(line, 16)
        body += rest[:size]
        assert rest[size : size + 2] == b"\r\n", "a chunk without its end"
        rest = rest[size + 2 :]
        if not size:
            return body, rest
