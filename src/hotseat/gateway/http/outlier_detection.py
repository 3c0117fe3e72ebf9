"""Outlier detection: what responses tell of the run that sends them.

A run that is silent, answers errors or cuts responses short is reported. A single sign has its health
checked at once; signs that repeat, with no good response in between, count as proof even where the health
check passes.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Protocol

MAX_TIMEOUTS = 2
"""This many requests in a row without a first byte: the run hangs, whatever its health check says."""
MAX_ERRORS = 5
"""This many responses of status 500 in a row: the same."""

_ABORT_MARKS = (b'"finish_reason":"abort"', b'"finish_reason": "abort"')
_ERROR_MARKS = (b'data: {"error"', b'data: {"type":"error"', b'data: {"type": "error"')
_DEAD_MARKS = (b"EngineCore encountered an issue", b"EngineDeadError")
"""vLLM's messages when its engine has died; clients get the first without the error's name."""


class ResponseEnd(Enum):
    """End of a response, judged by its last bytes."""

    GOOD = auto()
    ABORTED = auto()
    """The server gave up on the request, and says so only in ``finish_reason``."""
    FAILED = auto()
    """The server reported an error of its own."""
    DEAD = auto()
    """The server reported that its engine has died."""


def classify_end(status: int, tail: bytes) -> ResponseEnd:
    """Judge the end of a response by its status and its last bytes.

    Generated text cannot look like these marks: in JSON a quote inside a string is escaped.
    """
    if status < 500 and b'"error"' not in tail and b'"abort"' not in tail:
        return ResponseEnd.GOOD
    if status >= 500:
        if _contains(tail, _DEAD_MARKS):
            return ResponseEnd.DEAD
        return ResponseEnd.FAILED if status == 500 else ResponseEnd.GOOD
    if _contains(tail, _ERROR_MARKS):
        return ResponseEnd.DEAD if _contains(tail, _DEAD_MARKS) else ResponseEnd.FAILED
    return ResponseEnd.ABORTED if _contains(tail, _ABORT_MARKS) else ResponseEnd.GOOD


def _contains(tail: bytes, marks: tuple[bytes, ...]) -> bool:
    return any(mark in tail for mark in marks)


class FirstByteWaiter(Protocol):
    """A request that waits for the first byte of its response."""

    def on_first_byte_timeout(self, timeout_s: float) -> None:
        """Act on a first byte that did not come within ``timeout_s``."""


class OutlierDetector:
    """Watches the responses of one run: those whose first byte is awaited, and how the last ones ended."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[FirstByteWaiter, tuple[float, float]] = {}
        """By request: its deadline in the loop's time, and its timeout in seconds."""
        self._timer: asyncio.TimerHandle | None = None
        self._timeouts = 0
        self._errors = 0

    def watch(self, request: FirstByteWaiter, timeout_s: float) -> None:
        """Wait for a request's first byte, and tell the request when it does not come in time.

        One timer serves all requests: it is set for the oldest.
        """
        self._waiting[request] = (self._loop.time() + timeout_s, timeout_s)
        if self._timer is None:
            self._timer = self._loop.call_later(timeout_s, self._check_deadlines)

    def unwatch(self, request: FirstByteWaiter) -> None:
        """Stop waiting: the first byte has come, or the request has ended."""
        self._waiting.pop(request, None)

    def _check_deadlines(self) -> None:
        self._timer = None
        now = self._loop.time()
        for request, (deadline, timeout_s) in list(self._waiting.items()):
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._check_deadlines)
                return
            del self._waiting[request]
            request.on_first_byte_timeout(timeout_s)

    def record_success(self) -> None:
        """Count a good response: it wipes out the failures before it."""
        self._timeouts = self._errors = 0

    def record_timeout(self) -> bool:
        """Count a first byte that did not come in time; returns whether that is proof of a hanging run."""
        self._timeouts += 1
        return self._timeouts >= MAX_TIMEOUTS

    def record_error(self, end: ResponseEnd) -> bool:
        """Count a failed response; returns whether that is proof of a broken run."""
        self._errors += 1
        return end is ResponseEnd.DEAD or self._errors >= MAX_ERRORS

    def close(self) -> None:
        """Stop watching: the run has ended, and its requests are told elsewhere."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
