"""Does a server answer now? Probed adaptively, so that the first request loses a few milliseconds only.

vLLM refuses connections while it loads, which costs next to nothing to ask, so we ask often; a published
container port accepts and resets; llama.cpp answers 503. Only a 2xx answer is ready. Every probe has its
own timeout: a health endpoint that accepts and never answers must not hang anything.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

LOOPBACK_PAUSE_S = 0.002
"""Between two looks whether anybody listens on a port of this machine."""
REFUSED_PAUSE_S = 0.01
RESET_PAUSE_S = 0.02
"""A published port of a container accepts before its server listens, and resets at once."""
SLOWEST_PAUSE_S = 0.25
PROBE_TIMEOUT_S = 2.0
HEAD_LIMIT_BYTES = 16 * 1024
_LOCAL_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Errors that say nothing of the server: we ran out of descriptors, ports or memory."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r|\n)")


class ProbeAnswer(StrEnum):
    """What came of a probe."""

    READY = "ready"
    REFUSED = "refused"
    """Nobody listens, or the host is not known (yet)."""
    RESET = "reset"
    """Connected, and cut before a byte came."""
    BROKEN = "broken"
    """Connected, and no HTTP answer but something else."""
    SILENT = "silent"
    """Connected, and no answer in time."""
    NOT_READY = "not ready"
    """Another status than 2xx."""
    NOT_ASKED = "not asked"
    """We lack what it takes to ask (descriptors, ports, memory)."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One probe."""

    answer: ProbeAnswer
    status: int | None = None
    took_s: float = 0.0

    @property
    def ready(self) -> bool:
        """It answers."""
        return self.answer is ProbeAnswer.READY

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
    answer, status = ProbeAnswer.REFUSED, None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port, limit=HEAD_LIMIT_BYTES)
            try:
                answer = ProbeAnswer.SILENT
                # Of refused tries on loopback one may meet its own source port and be connected to itself.
                if writer.get_extra_info("sockname") == writer.get_extra_info("peername"):
                    return ProbeResult(ProbeAnswer.REFUSED, None, time.monotonic() - began)
                writer.write(_request(host, port, path, headers or {}))
                line = await reader.readline()
            finally:
                writer.transport.abort()  # a probe owes nobody a graceful end
        answer, status = _judge(line) if line else (ProbeAnswer.RESET, None)
    except TimeoutError:
        pass
    except ValueError:  # a line without an end
        answer = ProbeAnswer.BROKEN
    except OSError as error:
        if error.errno in _LOCAL_ERRORS:
            answer = ProbeAnswer.NOT_ASKED
        else:
            answer = ProbeAnswer.REFUSED if answer is ProbeAnswer.REFUSED else ProbeAnswer.RESET
    return ProbeResult(answer, status, time.monotonic() - began)


def _own_address(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]] | None:
    """The address as a socket takes it, if it is one of this machine's loopback."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return (family, (host, port)) if address.is_loopback else None


def _refuses(own: tuple[socket.AddressFamily, tuple[str, int]]) -> bool:
    """Whether nobody listens there; in doubt no. On loopback the answer is there when the call returns."""
    family, address = own
    try:
        with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            found = probe.connect_ex(address)
            if found == errno.EINPROGRESS:
                found = probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            return found == errno.ECONNREFUSED
    except OSError:
        return False


def _judge(line: bytes) -> tuple[ProbeAnswer, int | None]:
    match = _STATUS.match(line)
    if match is None:
        return ProbeAnswer.BROKEN, None
    status = int(match[1])
    return (ProbeAnswer.READY if 200 <= status < 300 else ProbeAnswer.NOT_READY), status


def _request(host: str, port: int, path: str, headers: Mapping[str, str]) -> bytes:
    name = f"[{host}]" if ":" in host else host
    lines = [f"GET {path} HTTP/1.1", f"Host: {name}:{port}", "Accept: */*", "Connection: close"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def until_ready(
    host: str,
    port: int,
    path: str = "/health",
    probe_now: asyncio.Event | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = PROBE_TIMEOUT_S,
) -> None:
    """Return as soon as the server answers 2xx; the caller bounds the whole by cancelling.

    Asks every 10 ms (on this machine 2 ms) while the connection is refused, every 20 ms while it is reset,
    and from then on ever more seldom, at least every 250 ms. Setting ``probe_now`` (at a log
    line, an event) makes it probe at once; the event is cleared again.
    """
    pause_s = REFUSED_PAUSE_S
    own = _own_address(host, port)
    while True:
        if probe_now is not None:
            probe_now.clear()
        if own is not None and _refuses(own):
            answer = ProbeAnswer.REFUSED
        else:
            result = await probe_once(host, port, path, headers=headers, timeout_s=timeout_s)
            if result.ready:
                return
            answer = result.answer
        if answer is ProbeAnswer.REFUSED:
            pause_s = REFUSED_PAUSE_S if own is None else LOOPBACK_PAUSE_S
        elif answer is ProbeAnswer.RESET:
            pause_s = RESET_PAUSE_S
        else:
            pause_s = min(max(2 * pause_s, 2 * REFUSED_PAUSE_S), SLOWEST_PAUSE_S)
        if probe_now is None:
            await asyncio.sleep(pause_s)
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await probe_now.wait()
