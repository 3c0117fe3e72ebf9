"""Responses without an end of their own: events, and followed logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Chunks = AsyncGenerator[bytes, None]


class OpenStreams:
    """All open streams; each ends when its client disconnects, or with ``close``."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    def response(self, chunks: Chunks, media_type: str) -> Response:
        """A response that sends chunks until there are no more or the client disconnects.

        The next chunk is taken when the one before it has been sent: a client that does not read holds up
        its own stream alone.
        """
        return _Stream(self, chunks, media_type)

    def close(self) -> None:
        """End all streams, and from now on every new one at once."""
        self._closed = True
        for limit in list(self._open):
            limit.reschedule(0)

    async def run(self, chunks: Chunks, receive: Receive, send: Send) -> None:
        """Send chunks until the end of them, the client's disconnect, or ``close``."""
        try:
            async with asyncio.timeout(0 if self._closed else None) as limit:
                self._open.add(limit)
                try:
                    await self._send_all(limit, chunks, receive, send)
                finally:
                    self._open.discard(limit)
        except TimeoutError:
            return

    async def _send_all(self, limit: asyncio.Timeout, chunks: Chunks, receive: Receive, send: Send) -> None:
        async with aclosing(chunks), asyncio.TaskGroup() as group:
            watcher = group.create_task(_until_disconnect(limit, receive))
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            watcher.cancel()


async def _until_disconnect(limit: asyncio.Timeout, receive: Receive) -> None:
    message: MutableMapping[str, Any] = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
    limit.reschedule(0)


class _Stream(Response):
    """A streaming response that ``OpenStreams`` can end in order."""

    def __init__(self, streams: OpenStreams, chunks: Chunks, media_type: str) -> None:
        self._streams, self._chunks = streams, chunks
        self.status_code, self.media_type, self.background = 200, media_type, None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            await self._streams.run(self._chunks, receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
