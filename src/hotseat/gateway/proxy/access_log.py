"""The access log: one record for each request, made when its response has ended.

A record holds names and numbers, never what was asked or answered, and no credential. Lines are
buffered and written together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

FLUSH_EVERY_S = 0.25
_FLUSH_LINES = 200
CLIENT_CLOSED_REQUEST = 499
"""The status of a request whose client left before there was an answer (nginx's number for it)."""


class RequestRecord(msgspec.Struct, omit_defaults=True):
    """The outcome of one request. Times in seconds, sizes in bytes."""

    id: str = ""
    """``X-Request-ID``."""
    key: str = ""
    """The name of the key; empty without one."""
    method: str = ""
    path: str = ""
    """At the model's server (the prefix removed), or of hotseat itself; empty where it leads nowhere."""
    route: str = ""
    model: str = ""
    asked: str = ""
    """The model that the client named, where it is unknown and the default model served in its place."""
    status: int = 0
    code: str = ""
    """The code of an error that hotseat answered."""
    stream: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    tokens_in: int | None = None
    """As the model's server reported them; ``None`` where it did not."""
    tokens_out: int | None = None
    waited_s: float = 0.0
    """For the lease."""
    first_byte_s: float | None = None
    """From the request's beginning to the first byte of the answer's body."""
    duration_s: float = 0.0
    failed: str = ""
    """Why the answer is missing or not whole: ``upstream``, ``truncated``, ``gone``, ``internal``."""
    trace: str = ""
    """The ``traceparent`` that was sent to the model's server; empty without traces."""
    parent: str = ""
    """The client's span, where it sent one."""


_encode = msgspec.json.Encoder().encode


class AccessLog:
    """Passes the records of requests on: to one subscriber, and as JSON lines to the log."""

    def __init__(
        self,
        write: Callable[[bytes], object] | None,
        wall_clock: Callable[[], float],
        on_record: Callable[[RequestRecord], None] | None = None,
    ) -> None:
        """``write`` takes whole JSON lines (``None``: no access log); ``wall_clock()`` is in Unix seconds;
        ``on_record`` is called with the record of every request, logged or not.
        """
        self._write = write
        self._wall_clock = wall_clock
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._second = -1
        """The second that ``_line_start`` was made for."""
        self._line_start = b""
        """A line's beginning, with placeholders for the milliseconds and for the record."""
        self._on_record = self._subscriber = on_record

    def watch(self, watcher: Callable[[RequestRecord], None] | None) -> None:
        """Have the records told to one more, or (``None``) to the subscriber alone again."""
        subscriber = self._subscriber
        if watcher is None or subscriber is None:
            self._on_record = subscriber if watcher is None else watcher
            return

        def tell_both(record: RequestRecord) -> None:
            subscriber(record)
            watcher(record)

        self._on_record = tell_both

    def enter(self, record: RequestRecord, *, logged: bool) -> None:
        """Take the record of a request that has ended; ``logged``: it gets a line."""
        if self._on_record is not None:
            self._on_record(record)
        if not logged or self._write is None:
            return
        now = self._wall_clock()
        second = int(now)
        if second != self._second:
            self._second = second
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._line_start = b'{"time":"%b.%%03dZ","level":"info","event":"request",%%b' % stamp.encode()
        self._lines.append(self._line_start % ((now - second) * 1000, _encode(record)[1:]))
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_EVERY_S, self.flush)

    def flush(self) -> None:
        """Write the buffered lines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines and self._write is not None:
            self._write(b"\n".join(lines) + b"\n")
