"""Raw HTTP on sockets: servers that follow a script, and a client that sends exactly the given bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Self

PATIENCE_S = 20.0
"""A time-out that is long enough for any machine: only a bug takes so long."""


@dataclass
class Message:
    """A parsed HTTP message."""

    first: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    whole: bool = True
    """Whether the message is complete; false where the connection closed in the middle of the body."""

    @property
    def status(self) -> int:
        return int(self.first.split()[1])

    def get(self, name: str) -> str | None:
        values = [value for key, value in self.fields if key.lower() == name.lower().encode()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0].decode() if values else None

    @property
    def names(self) -> set[str]:
        return {name.decode().lower() for name, _ in self.fields}


async def read_head(reader: asyncio.StreamReader) -> Message:
    """Read a message up to the end of its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].split(b"\r\n")
    pairs = [line.split(b":", 1) for line in lines]
    return Message(first, [(name, value.strip()) for name, value in pairs])


async def read_message(reader: asyncio.StreamReader, *, no_body: bool = False) -> Message:
    """Read a whole message, whatever its body's framing."""
    message = await read_head(reader)
    is_response = message.first.startswith(b"HTTP/")
    if no_body or (is_response and message.status in (204, 304)):
        return message
    try:
        if message.get("transfer-encoding") == "chunked":
            while True:
                size = int(await reader.readuntil(b"\r\n"), 16)
                data = await reader.readexactly(size + 2)
                assert data[size:] == b"\r\n"
                if not size:
                    break
                message.body += data[:size]
        elif (length := message.get("content-length")) is not None:
            message.body = await reader.readexactly(int(length))
        elif is_response:
            message.body = await reader.read()
    except asyncio.IncompleteReadError as error:
        if not message.get("transfer-encoding"):
            message.body = error.partial
        message.whole = False
    return message


class Wire:
    """The client's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.writer.close()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ask(
        self,
        path: str,
        body: bytes | None = None,
        *,
        method: str | None = None,
        headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),),
        host: str = "localhost",
    ) -> None:
        """Send a request."""
        method = method or ("GET" if body is None else "POST")
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{n}: {v}" for n, v in headers)]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))

    async def answer(self, *, no_body: bool = False) -> Message:
        """Read one response."""
        async with asyncio.timeout(PATIENCE_S):
            return await read_message(self.reader, no_body=no_body)

    async def until(self, mark: bytes) -> bytes:
        """Read up to and including these bytes."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(mark)

    async def at_end(self) -> bytes:
        """Read what is left until the other side closes."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


Script = Callable[["Served", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Served:
    """A server that follows a script on each connection, and records the requests."""

    script: Script
    requests: list[Message] = field(default_factory=list)
    connections: int = 0
    closed: int = 0
    change: asyncio.Condition = field(default_factory=asyncio.Condition)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    """Awaited by scripts that wait for the test."""
    port: int = 0
    _server: asyncio.Server | None = None
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release.set()
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self.until(lambda served: served.closed == served.connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            await self.script(self, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side may close at any time
        finally:
            writer.close()
            self.closed += 1
            async with self.change:
                self.change.notify_all()

    async def take(self, reader: asyncio.StreamReader) -> Message:
        """Read and record one request."""
        message = await read_message(reader)
        self.requests.append(message)
        async with self.change:
            self.change.notify_all()
        return message

    async def until(self, condition: Callable[[Served], bool]) -> None:
        """Wait until the condition is true; checked after each request and each closed connection."""
        async with asyncio.timeout(PATIENCE_S), self.change:
            await self.change.wait_for(lambda: condition(self))


def always(response: bytes) -> Script:
    """Answer every request with the same bytes, on a kept connection."""

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await served.take(reader)
            writer.write(response)
            await writer.drain()

    return script


def once(*pieces: bytes) -> Script:
    """Answer one request with these pieces, each written on its own, and close."""

    async def script(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await served.take(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            for _ in range(3):  # let the other side read it before the next piece is written
                await asyncio.sleep(0)

    return script


def ok(body: bytes, content_type: bytes = b"application/json", extra: bytes = b"") -> bytes:
    """A response of status 200 with a ``Content-Length``."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (
        content_type,
        len(body),
        extra,
        body,
    )


SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
