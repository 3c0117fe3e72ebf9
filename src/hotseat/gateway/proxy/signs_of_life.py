"""Signs of life in a stream whose model is silent: it loads, or reads a long prompt, or thinks.

Comments (``: …``) are ignored by every client, but keep proxies and tunnels on the way from giving up. On
``/v1/responses`` Codex gives up too unless it gets events, so an ``event: keepalive`` goes with the comment,
as OpenAI's own servers send it.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from hotseat.gateway.http.headers import Headers

SPARSE_EVERY_S = 15.0
"""Between two comments for clients that count them."""
_SPARSE_AGENTS = (b"Go-http-client/",)
"""Beginnings of the ``User-Agent`` of clients that mind many comments: go-openai ends a stream with an error
after 300 lines without data."""
_STRICT_AGENTS = (b"OpenAI/", b"AsyncOpenAI/")
"""Those of OpenAI's libraries, whose helpers for streamed responses raise an error for an event that they do
not expect (``keepalive`` before ``response.created``, or at all). They do not give up in silence."""


def user_agent(headers: Headers) -> bytes:
    """The client's ``User-Agent``; empty without one."""
    return next((value for name, value in headers if name == b"user-agent"), b"")


def is_sparse(agent: bytes) -> bool:
    """Whether this client minds many comments."""
    return agent.startswith(_SPARSE_AGENTS)


def takes_keepalive_events(agent: bytes) -> bool:
    """Whether this client may get ``event: keepalive`` in a stream of ``/v1/responses``."""
    return not agent.startswith(_STRICT_AGENTS)


def working_comment(route: str, elapsed_s: float) -> bytes:
    """Say that the model is at work: ``: hotseat chat: ready, waiting for the model, 12 s``."""
    return f": hotseat {route}: ready, waiting for the model, {round(elapsed_s)} s\n\n".encode()


def keepalive_event(sign: bytes, sequence_number: int) -> bytes:
    """Add an ``event: keepalive`` to a comment, for a stream of ``/v1/responses``."""
    return b'%bevent: keepalive\ndata: {"type":"keepalive","sequence_number":%d}\n\n' % (
        sign.removesuffix(b"\n"),
        sequence_number,
    )


class SilentStream(Protocol):
    """A stream that may be silent for long."""

    @property
    def bytes_sent(self) -> int:
        """Bytes that its client was sent so far."""

    def on_silence(self) -> None:
        """Send a sign of life: nothing was sent for a while."""


class _Group:
    """The streams that get signs of life in the same interval."""

    __slots__ = ("sent", "timer")

    def __init__(self) -> None:
        self.sent: dict[SilentStream, int] = {}
        """The bytes that each had been sent at the last look."""
        self.timer: asyncio.TimerHandle | None = None


class SilenceWatch:
    """Finds the streams that are silent. All are looked at together, so that a chunk costs nothing."""

    def __init__(self) -> None:
        self._groups: dict[float, _Group] = {}
        """By interval in seconds."""

    def watch(self, stream: SilentStream, every_s: float) -> None:
        """Call ``on_silence`` whenever the stream was silent for ``every_s`` (to twice that)."""
        group = self._groups.get(every_s)
        if group is None:
            group = self._groups[every_s] = _Group()
        group.sent[stream] = -1
        if group.timer is None:
            group.timer = asyncio.get_running_loop().call_later(every_s, self._look, every_s)

    def unwatch(self, stream: SilentStream, every_s: float) -> None:
        """Stop watching a stream. May be repeated."""
        group = self._groups.get(every_s)
        if group is not None:
            group.sent.pop(stream, None)

    def close(self) -> None:
        """Stop watching all streams."""
        for group in self._groups.values():
            if group.timer is not None:
                group.timer.cancel()
        self._groups.clear()

    def _look(self, every_s: float) -> None:
        group = self._groups[every_s]
        group.timer = None
        for stream, before in list(group.sent.items()):
            if stream.bytes_sent == before:
                stream.on_silence()
            if stream in group.sent:
                group.sent[stream] = stream.bytes_sent
        if group.sent:
            group.timer = asyncio.get_running_loop().call_later(every_s, self._look, every_s)
        else:
            del self._groups[every_s]


def sparse_interval(every_s: float) -> int:
    """Intervals between two comments for a client that minds many."""
    return max(1, math.ceil(SPARSE_EVERY_S / every_s))
