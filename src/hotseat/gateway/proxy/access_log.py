"""The books: one record of each request, made after its response has ended, and the access log.

A record holds names and numbers, never what was asked or answered, and no credential. Lines are
buffered and written together.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from itertools import count

import msgspec

FLUSH_EVERY_S = 0.25
_FLUSH_LINES = 200
_LONGEST_ID = 128
_ID = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:"
GONE = 499
"""The status of a request whose client left before there was an answer (nginx's number for it)."""


class RequestRecord(msgspec.Struct, omit_defaults=True):
    """What became of one request. Times in seconds, sizes in bytes."""

    id: str = ""
    """``X-Request-ID``."""
    key: str = ""
    """The name of the key; empty without one."""
    method: str = ""
    path: str = ""
    """At the model's server (the prefix removed), or of our own; empty for one that leads nowhere."""
    route: str = ""
    model: str = ""
    status: int = 0
    code: str = ""
    """The code of an error of ours."""
    stream: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    tokens_in: int | None = None
    """As the model's server told them; ``None`` where it did not."""
    tokens_out: int | None = None
    waited_s: float = 0.0
    """For the seat."""
    first_byte_s: float | None = None
    """From the request's beginning to the first byte of the answer's body."""
    duration_s: float = 0.0
    failed: str = ""
    """Why the answer is missing or not whole: ``upstream``, ``truncated``, ``gone``."""
    trace: str = ""
    """The ``traceparent`` that the model's server was told; empty without traces."""
    parent: str = ""
    """The caller's span, where it told one."""


_encode = msgspec.json.Encoder().encode
_prefix = f"req-{secrets.token_hex(6)}-"
_numbers = count(1)


def request_id(sent: bytes | None) -> str:
    """The client's own id of the request, where it is a sound one; else a new one."""
    if sent and len(sent) <= _LONGEST_ID and not sent.translate(None, _ID):
        return sent.decode("ascii")
    return _prefix + hex(next(_numbers))[2:]


class AccessLog:
    """Where records go: to the access log and to whoever wants them."""

    def __init__(
        self,
        write: Callable[[bytes], object] | None,
        wall_clock: Callable[[], float],
        on_record: Callable[[RequestRecord], None] | None = None,
    ) -> None:
        """``write`` takes whole JSON lines (``None``: no access log); ``wall_clock()`` is in Unix seconds;
        ``on_record`` is called with the record of every request, whether or not it is logged."""
        self._write = write
        self._wall_clock = wall_clock
        self._lines: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._second = -1
        self._begin = b""
        """Of a line, with places for the milliseconds and the record."""
        self.on_record = on_record

    def enter(self, record: RequestRecord, *, logged: bool) -> None:
        """A request has ended."""
        if self.on_record is not None:
            self.on_record(record)
        if not logged or self._write is None:
            return
        now = self._wall_clock()
        second = int(now)
        if second != self._second:
            self._second = second
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._begin = b'{"time":"%b.%%03dZ","level":"info","event":"request",%%b' % stamp.encode()
        self._lines.append(self._begin % ((now - second) * 1000, _encode(record)[1:]))
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_EVERY_S, self.flush)

    def flush(self) -> None:
        """Write what is held."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if lines and self._write is not None:
            self._write(b"\n".join(lines) + b"\n")
