"""Responses without an end of their own: events, and logs that are followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Pieces = AsyncGenerator[bytes, None]


class OpenStreams:
    """All that are open; they end when the client goes, or when ``close`` says so."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._open)

    def response(self, pieces: Pieces, media_type: str) -> Response:
        """A response that goes on for as long as there are pieces and somebody takes them.

        The next piece is asked for when the one before it is on its way: a client that does not read
        holds up nothing but its own pieces.
        """
        return _Stream(self, pieces, media_type)

    def close(self) -> None:
        """Bring all to their end, and those that come later."""
        self._closed = True
        for limit in list(self._open):
            limit.reschedule(0)

    async def run(self, pieces: Pieces, receive: Receive, send: Send) -> None:
        """Send the pieces until an end."""
        try:
            async with asyncio.timeout(0 if self._closed else None) as limit:
                self._open.add(limit)
                try:
                    await self._pass_on(limit, pieces, receive, send)
                finally:
                    self._open.discard(limit)
        except TimeoutError:
            return

    async def _pass_on(self, limit: asyncio.Timeout, pieces: Pieces, receive: Receive, send: Send) -> None:
        async with aclosing(pieces), asyncio.TaskGroup() as group:
            watching = group.create_task(_until_gone(limit, receive))
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            watching.cancel()


async def _until_gone(limit: asyncio.Timeout, receive: Receive) -> None:
    message: MutableMapping[str, Any] = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
    limit.reschedule(0)


class _Stream(Response):
    """The header, the pieces, the end."""

    def __init__(self, streams: OpenStreams, pieces: Pieces, media_type: str) -> None:
        self._streams, self._pieces = streams, pieces
        self.status_code, self.media_type, self.background = 200, media_type, None
        self.init_headers({"cache-control": "no-store", "x-accel-buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            await self._streams.run(self._pieces, receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
