"""Does a server answer now? Probed adaptively, so that the first request loses a few milliseconds only.

vLLM refuses connections while it loads (which costs nothing to ask, so we ask often); a published
container port accepts and resets; llama.cpp answers 503. Only a 2xx answer is ready. Every probe has
its own timeout: a health endpoint that accepts and never answers must not hang anything.
"""

from __future__ import annotations

import asyncio
import errno
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

REFUSED_PAUSE_S = 0.01
SLOWEST_PAUSE_S = 0.25
PROBE_TIMEOUT_S = 2.0
HEAD_LIMIT_BYTES = 16 * 1024
_OUR_TROUBLE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Errors that say nothing of the server: we ran out of descriptors, ports or memory."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r|\n)")


class Answer(StrEnum):
    """What came of a probe."""

    READY = "ready"
    REFUSED = "refused"
    """Nobody listens, or the host is not known (yet)."""
    BROKEN = "broken"
    """Connected, and no HTTP answer: reset, closed, or something else than HTTP."""
    SILENT = "silent"
    """Connected, and no answer in time."""
    NOT_READY = "not ready"
    """Another status than 2xx."""
    NOT_ASKED = "not asked"
    """We lack what it takes to ask (descriptors, ports, memory)."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One probe."""

    answer: Answer
    status: int | None = None
    took_s: float = 0.0

    @property
    def ready(self) -> bool:
        """It answers."""
        return self.answer is Answer.READY

    def __str__(self) -> str:
        return f"status {self.status}" if self.status is not None and not self.ready else str(self.answer)


async def probe_once(
    host: str,
    port: int,
    path: str = "/health",
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = PROBE_TIMEOUT_S,
) -> ProbeResult:
    """Ask once; never raises but when cancelled, and takes at most ``timeout_s``."""
    began = time.monotonic()
    answer, status = Answer.REFUSED, None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port, limit=HEAD_LIMIT_BYTES)
            try:
                answer = Answer.SILENT
                # Of refused tries on loopback one may meet its own source port and be connected to itself.
                if writer.get_extra_info("sockname") == writer.get_extra_info("peername"):
                    return ProbeResult(Answer.REFUSED, None, time.monotonic() - began)
                writer.write(_request(host, port, path, headers or {}))
                line = await reader.readline()
            finally:
                writer.transport.abort()  # a probe owes nobody a graceful end
        answer, status = _judge(line)
    except TimeoutError:
        pass
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in _OUR_TROUBLE:
            answer = Answer.NOT_ASKED
        else:
            answer = Answer.REFUSED if answer is Answer.REFUSED else Answer.BROKEN
    return ProbeResult(answer, status, time.monotonic() - began)


def _judge(line: bytes) -> tuple[Answer, int | None]:
    match = _STATUS.match(line)
    if match is None:
        return Answer.BROKEN, None
    status = int(match[1])
    return (Answer.READY if 200 <= status < 300 else Answer.NOT_READY), status


def _request(host: str, port: int, path: str, headers: Mapping[str, str]) -> bytes:
    name = f"[{host}]" if ":" in host else host
    lines = [f"GET {path} HTTP/1.1", f"Host: {name}:{port}", "Accept: */*", "Connection: close"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def until_ready(
    host: str,
    port: int,
    path: str = "/health",
    poke: asyncio.Event | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = PROBE_TIMEOUT_S,
) -> None:
    """Return as soon as the server answers 2xx; the caller bounds the whole by cancelling.

    Asks every 10 ms while the connection is refused, and from then on ever more seldom, at least every
    250 ms. Setting ``poke`` (a log line, an event) has it ask at once; it is cleared again.
    """
    pause_s = REFUSED_PAUSE_S
    while True:
        if poke is not None:
            poke.clear()
        result = await probe_once(host, port, path, headers=headers, timeout_s=timeout_s)
        if result.ready:
            return
        refused = result.answer is Answer.REFUSED
        pause_s = REFUSED_PAUSE_S if refused else min(2 * pause_s, SLOWEST_PAUSE_S)
        if poke is None:
            await asyncio.sleep(pause_s)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await poke.wait()
