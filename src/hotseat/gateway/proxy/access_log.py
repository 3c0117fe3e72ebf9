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
STRANGERS_LINES_PER_S = 50
"""Lines about requests of strangers that were refused; more of them are counted, and told in one line."""
CLIENT_CLOSED_REQUEST = 499
"""The status of a request whose client left before there was an answer (nginx's number for it)."""


class RequestRecord(msgspec.Struct, omit_defaults=True):
    """The outcome of one request. Times in seconds, sizes in bytes."""

    id: str = ""
    """``X-Request-ID``."""
    server_id: str = ""
    """The request's id at the model's server, where the client sent an id of its own."""
    key: str = ""
    """The name of the key; empty without one."""
    method: str = ""
    path: str = ""
    """At the model's server (the prefix removed), or of hotseat itself; where it leads nowhere, the path that
    was sent without what could be a secret in it, so that a wrong base URL can be found."""
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
        self._strangers_second = -1
        self._strangers_lines = 0
        self._untold = 0
        """Requests of strangers that got no line."""

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
        if record.code and not record.key and 400 <= record.status < 500 and not self._may_tell(second):
            return
        if second != self._second:
            self._second = second
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._line_start = b'{"time":"%b.%%03dZ","level":"info","event":"request",%%b' % stamp.encode()
        self._lines.append(self._line_start % ((now - second) * 1000, _encode(record)[1:]))
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_EVERY_S, self.flush)

    def _may_tell(self, second: int) -> bool:
        """Whether one more refused request of a stranger gets a line: else the disk is theirs to fill."""
        if second != self._strangers_second:
            self._strangers_second, self._strangers_lines = second, 0
        self._strangers_lines += 1
        if self._strangers_lines <= STRANGERS_LINES_PER_S:
            return True
        self._untold += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self.flush)
        return False

    def flush(self) -> None:
        """Write the buffered lines, and how many requests of strangers got none."""
        if self._untold:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._wall_clock()))
            self._lines.append(
                b'{"time":"%b","level":"warning","event":"requests not logged","count":%d}'
                % (stamp.encode(), self._untold)
            )
            self._untold = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines and self._write is not None:
            self._write(b"\n".join(lines) + b"\n")
