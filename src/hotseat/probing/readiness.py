"""Readiness probes, at adaptive intervals, so that the first request loses only a few milliseconds.

vLLM refuses connections while it loads, so probes cost next to nothing and are sent often; a published
container port accepts and resets; llama.cpp answers 503. Only a 2xx answer means ready. Every probe has its
own timeout, since a health endpoint may accept and never answer.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import re
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from hotseat.runtimes.base import ListenerProof

_log = logging.getLogger(__name__)

LOOPBACK_PAUSE_S = 0.002
"""Between two attempts to connect to a port of this machine on which nothing listens."""
REFUSED_PAUSE_S = 0.01
RESET_PAUSE_S = 0.02
"""Between two attempts where connections are reset: a published container port before its server listens."""
SLOWEST_PAUSE_S = 0.25
ELSEWHERE_EVERY_S = 0.25
"""Between two looks for the run at other addresses."""
PROBE_TIMEOUT_S = 2.0
HEAD_LIMIT_BYTES = 16 * 1024
_LOCAL_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Errors of this process, not of the server: out of descriptors, ports or memory."""
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: |\r|\n)")


class ProbeAnswer(StrEnum):
    """The outcome of a probe."""

    READY = "ready"
    REFUSED = "refused"
    """Nothing listens, or the host name is not known (yet)."""
    RESET = "reset"
    """Connected, and closed before the first byte."""
    BROKEN = "an answer that is not HTTP"
    """Connected, and the answer was not HTTP."""
    SILENT = "silent"
    """Connected, and no answer within the timeout."""
    NOT_READY = "not ready"
    """A status other than 2xx."""
    FOREIGN = "another process listens there"
    """Connected to a process that is not the run: nothing was sent."""
    NOT_ASKED = "not asked"
    """The probe could not be sent for lack of descriptors, ports or memory."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of one probe."""

    answer: ProbeAnswer
    status: int | None = None
    took_s: float = 0.0
    who: str = ""
    """Who listens there (``FOREIGN``), for people."""

    @property
    def ready(self) -> bool:
        """Whether the server answered 2xx."""
        return self.answer is ProbeAnswer.READY

    def __str__(self) -> str:
        if self.who:
            return self.who
        return f"status {self.status}" if self.status is not None and not self.ready else str(self.answer)


async def probe_once(
    host: str,
    port: int,
    path: str = "/health",
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = PROBE_TIMEOUT_S,
    impostor: Callable[[str], str | None] | None = None,
) -> ProbeResult:
    """Probe once; raises only when cancelled, and takes at most ``timeout_s``.

    ``impostor(host)`` is asked who else listens there before a byte is sent.
    """
    began = time.monotonic()
    answer, status = ProbeAnswer.REFUSED, None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port, limit=HEAD_LIMIT_BYTES)
            try:
                answer = ProbeAnswer.SILENT
                # A connection to a free loopback port may get that port as its source: connected to itself.
                if writer.get_extra_info("sockname") == writer.get_extra_info("peername"):
                    return ProbeResult(ProbeAnswer.REFUSED, None, time.monotonic() - began)
                if impostor is not None and (who := impostor(host)) is not None:
                    return ProbeResult(ProbeAnswer.FOREIGN, None, time.monotonic() - began, who)
                writer.write(_request(host, port, path, headers or {}))
                line = await reader.readline()
            finally:
                writer.transport.abort()  # no graceful close is needed
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


def loopback_address(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]] | None:
    """Return the address as a socket takes it; ``None``: not a loopback address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return (family, (host, port)) if address.is_loopback else None


def refuses(own: tuple[socket.AddressFamily, tuple[str, int]]) -> bool:
    """Whether nothing listens there; false if uncertain. Does not block: loopback answers at once."""
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
    listener: ListenerProof | None = None,
) -> str:
    """Return as soon as the server answers 2xx, with its address; runs until it is cancelled otherwise.

    Probes every 10 ms (on loopback every 2 ms) while the connection is refused, every 20 ms while it is
    reset, and from then on at growing intervals of up to 250 ms. Setting ``probe_now`` (at a log
    line, an event) makes it probe at once; the event is cleared again. With ``listener``, a process that
    is not the run's is sent nothing, and the run is also found at other addresses of this machine. An answer
    that is not HTTP is logged, once.
    """
    pause_s = REFUSED_PAUSE_S
    own = loopback_address(host, port)
    told, looked_at = "", time.monotonic()
    is_garbage_told = False
    while True:
        if probe_now is not None:
            probe_now.clear()
        if own is not None and refuses(own):
            answer = ProbeAnswer.REFUSED
        else:
            impostor = listener.impostor if listener is not None else None
            result = await probe_once(
                host, port, path, headers=headers, timeout_s=timeout_s, impostor=impostor
            )
            if result.ready:
                return host
            answer = result.answer
            if answer is ProbeAnswer.BROKEN and not is_garbage_told:
                is_garbage_told = True
                _log.warning("%s:%s%s gives %s: it cannot become ready like that", host, port, path, answer)
            if result.who not in ("", told):
                told = result.who
                _log.warning("%s; nothing is sent there", told)
        unreached = answer in (ProbeAnswer.REFUSED, ProbeAnswer.FOREIGN)
        if unreached and listener is not None and time.monotonic() - looked_at > ELSEWHERE_EVERY_S:
            looked_at = time.monotonic()
            if (other := listener.elsewhere()) is not None:
                host, own = other, loopback_address(other, port)
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
