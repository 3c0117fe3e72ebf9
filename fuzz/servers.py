"""Bytes of a model's server: each request gets one end, a real status, and fields that are allowed."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from fuzz.wires import LOOP, Wire
from hotseat.core.views import Upstream
from hotseat.gateway.http.upstream import (
    ConnectionPool,
    UpstreamConnection,
    UpstreamFailure,
    UpstreamPhase,
    _use_of,
)

_ROUNDS = 20
_SOCKET, _OTHER_END = socket.socketpair()
"""Nothing is sent here: the pool looks whether a connection has closed."""


class Receiver:
    """Takes one response, and counts its ends."""

    def __init__(self) -> None:
        self.status = 0
        self.lines = b""
        self.ends = 0

    def on_head(self, status: int, headers: bytes, length: bytes | None, content_type: bytes) -> None:
        assert not self.ends
        self.status, self.lines = status, headers

    def on_data(self, data: bytes) -> None:
        assert self.status
        assert not self.ends

    def on_complete_response(self, status: int, headers: bytes, content_type: bytes, body: bytes) -> None:
        self.on_head(status, headers, b"%d" % len(body), content_type)

    def on_read_complete(self) -> None:
        assert not self.ends

    def on_end(self) -> None:
        self.ends += 1

    def on_failure(self, failure: UpstreamFailure) -> None:
        self.ends += 1


def one(data: bytes) -> None:
    """What a server sends, in reads of a size that the first byte says."""
    if data:
        LOOP.run_until_complete(_respond(data[1:], 1 + data[0]))


async def _respond(data: bytes, size: int) -> None:
    pool = ConnectionPool(Upstream(model="m", run=1, host="127.0.0.1", port=1))
    connection, wire = UpstreamConnection(pool), ServerWire()
    connection.connection_made(wire)
    receivers: list[Receiver] = []
    for at in range(0, len(data), size):
        if not receivers or receivers[-1].ends:
            if wire.closing or connection.phase is not UpstreamPhase.IDLE:
                break
            pool.take()
            receivers.append(Receiver())
            connection.send(b"GET / HTTP/1.1\r\n\r\n", receivers[-1], method_is_head=False)
        connection.data_received(data[at : at + size])
        for _ in range(_ROUNDS if wire.paused else 0):
            await asyncio.sleep(0)
        if wire.closing:
            break
    connection.connection_lost(None)
    for receiver in receivers:
        assert receiver.ends == 1
        assert receiver.status == 0 or 200 <= receiver.status <= 599, receiver.status
        for line in receiver.lines.split(b"\r\n")[:-1]:
            name = line.partition(b":")[0]
            assert _use_of(name) != 1, name  # none that is dropped
    pool.close()


class ServerWire(Wire):
    """The transport to the server."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return _SOCKET if name == "socket" else default

    def write(self, data: Any) -> None:
        assert not self.closing


_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
SEEDS = [
    b"\x00" + _HEAD + b"content-length: 2\r\n\r\n{}" * 2,
    b"\xff" + _HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nset-cookie: a\r\n\r\n",
    b"\x10" + _HEAD + b"transfer-encoding: chunked\r\n\r\n1;x=y\r\n{\r\n0;z\r\n\r\n" + _HEAD + b"\r\n",
    b"\x40HTTP/1.1 102 Processing\r\n\r\n" + _HEAD + b"content-length: 0\r\n\r\n",
    b"\x40HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n",
    b"\x40HTTP/1.1 204 No\r\ncontent-length: 5\r\nalt-svc: h3\r\nx-accel-redirect: /\r\n\r\n",
    b"\x40HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
]
WORDS = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"content-length: 2\r\n",
    b"transfer-encoding: chunked\r\n",
    b"connection: close\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"2\r\n{}\r\n",
    b"location: /\r\n",
    b"openai-version: 1\r\n",
]
