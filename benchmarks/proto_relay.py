"""Minimal relay in Python: uvicorn, a plain ASGI application, no policies.

    python -m benchmarks.proto_relay --port 18093 --upstream-port 18090

The relay shows what Python can do: the difference between hotseat and the relay is the price of hotseat's
policies, and the difference between the relay and nginx is the price of the language.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, cast

import httptools
import uvicorn

_HOP = {b"connection", b"transfer-encoding", b"keep-alive", b"date", b"server"}
_LAST = b""


class Upstream(asyncio.Protocol):
    """Kept connection; ``parts`` receives the head, then the pieces of the body, then ``_LAST``."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self.parts: asyncio.Queue[Any] = asyncio.Queue()
        self.reusable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        self.parts.put_nowait(_LAST)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in _HOP:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.parts.put_nowait((self._parser.get_status_code(), self._headers))
        self._headers = []

    def on_body(self, body: bytes) -> None:
        self.parts.put_nowait(body)

    def on_message_complete(self) -> None:
        self.reusable = self._parser.should_keep_alive()
        self.parts.put_nowait(_LAST)


class Relay:
    """ASGI application that relays every request."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Upstream] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        upstream = self._idle.pop() if self._idle else await self._connect()
        lines = [b"%b %b HTTP/1.1\r\n" % (scope["method"].encode(), scope["raw_path"])]
        lines += [
            b"%b: %b\r\n" % pair
            for pair in scope["headers"]
            if pair[0] not in _HOP and pair[0] != b"content-length"
        ]
        lines.append(b"content-length: %d\r\n\r\n" % len(body))
        upstream.transport.write(b"".join(lines) + body)
        try:
            await self._answer(upstream, send)
        except ConnectionError:
            upstream.transport.abort()
            return
        if upstream.reusable:
            self._idle.append(upstream)
        else:
            upstream.transport.close()

    async def _connect(self) -> Upstream:
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(Upstream, "127.0.0.1", self._port)
        return upstream

    @staticmethod
    async def _answer(upstream: Upstream, send: Any) -> None:
        head = await upstream.parts.get()
        if head is _LAST:
            raise ConnectionError("the upstream closed the connection before it answered")
        status, headers = head
        await send({"type": "http.response.start", "status": status, "headers": headers})
        client = send.__self__  # uvicorn's cycle; nothing else knows at once that the client has disconnected
        while (part := await upstream.parts.get()) is not _LAST:
            if client.disconnected:
                raise ConnectionError("the client has disconnected")
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="benchmarks.proto_relay", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream-port", type=int, required=True)
    args = parser.parse_args()
    uvicorn.run(
        Relay(args.upstream_port),
        host="127.0.0.1",
        port=args.port,
        http="httptools",
        loop="uvloop",
        backlog=4096,
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
