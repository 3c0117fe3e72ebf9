"""What requests tell of the run that they use: that it is silent, answers errors, or cuts answers short.

A single sign has the run's health checked at once; signs that repeat with nothing good between them
are believed even where the health check passes.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Protocol

SILENCES = 2
"""So many requests in a row without a first byte: the run hangs, whatever its health check says."""
ERRORS = 5
"""So many answers of status 500 in a row: the same."""

_ABORTS = (b'"finish_reason":"abort"', b'"finish_reason": "abort"')
_ERRORS = (b'data: {"error"', b'data: {"type":"error"', b'data: {"type": "error"')
_DEAD = (b"EngineCore encountered an issue", b"EngineDeadError")
"""vLLM's words for its engine's death; clients are told them without the error's name."""


class ResponseEnd(Enum):
    """How an answer ended, judged by its last bytes."""

    GOOD = auto()
    ABORTED = auto()
    """Cut short in silence: the server gave up on the request and says so in one word."""
    FAILED = auto()
    """An error of the server's own."""
    DEAD = auto()
    """The server says that it cannot go on."""


def classify_end(status: int, tail: bytes) -> ResponseEnd:
    """The end of an answer. In JSON a quote inside a text is escaped, so no text looks like these."""
    if status < 500 and b'"error"' not in tail and b'"abort"' not in tail:
        return ResponseEnd.GOOD
    if status >= 500:
        return (
            ResponseEnd.DEAD
            if _any(_DEAD, tail)
            else ResponseEnd.FAILED
            if status == 500
            else ResponseEnd.GOOD
        )
    if _any(_ERRORS, tail):
        return ResponseEnd.DEAD if _any(_DEAD, tail) else ResponseEnd.FAILED
    return ResponseEnd.ABORTED if _any(_ABORTS, tail) else ResponseEnd.GOOD


def _any(signs: tuple[bytes, ...], tail: bytes) -> bool:
    return any(sign in tail for sign in signs)


class SilentUpstream(Protocol):
    """A request that waits for the first byte of its response."""

    def out_of_patience(self, limit_s: float) -> None:
        """It did not come."""


class OutlierDetector:
    """The requests that wait for a first byte of one run, and what went wrong lately."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._awaited: dict[SilentUpstream, tuple[float, float]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._silences = 0
        self._errors = 0

    def await_first_byte(self, who: SilentUpstream, limit_s: float) -> None:
        """Tell ``who`` if it waits longer than this. One timer serves all: it looks at the oldest."""
        self._awaited[who] = (self._loop.time() + limit_s, limit_s)
        if self._timer is None:
            self._timer = self._loop.call_later(limit_s, self._look)

    def first_byte(self, who: SilentUpstream) -> None:
        """Its first byte has come, or it has given up."""
        self._awaited.pop(who, None)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        for who, (deadline, limit_s) in list(self._awaited.items()):
            if deadline > now:
                self._timer = self._loop.call_at(deadline, self._look)
                return
            del self._awaited[who]
            who.out_of_patience(limit_s)

    def good(self) -> None:
        """An answer came as it should."""
        self._silences = self._errors = 0

    def silence(self) -> bool:
        """A first byte did not come in time; whether that is proof enough."""
        self._silences += 1
        return self._silences >= SILENCES

    def error(self, end: ResponseEnd) -> bool:
        """An answer failed; whether that is proof enough."""
        self._errors += 1
        return end is ResponseEnd.DEAD or self._errors >= ERRORS

    def close(self) -> None:
        """The run has gone; those who wait are told by other ways."""
        self._awaited.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
