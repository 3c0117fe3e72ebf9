"""Chooses free TCP ports for the servers that hotseat starts."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 20_000


def candidates() -> range:
    """Return the ports to choose from: below the kernel's ephemeral range, where there are enough.

    A server binds its port long after it was chosen. A port of the ephemeral range could by then be the
    source port of a connection; and a probe that is refused again and again would at last be given the very
    port that it tries to reach, and be connected to itself.
    """
    try:
        low, high = (int(word) for word in EPHEMERAL_RANGE.read_text().split())
    except (OSError, ValueError):
        low, high = 32_768, 60_999
    if low - LOWEST >= 1_000:
        return range(LOWEST, low)
    if 65_536 - high > 1_000:
        return range(high + 1, 65_536)
    return range(LOWEST, 65_536)


def free_port(host: str, taken: Collection[int]) -> int:
    """Return a port of ``host`` that nothing listens on and that is not in ``taken``.

    Raises ``OSError`` where the host is not an address of this machine or no port is free.
    """
    ports = candidates()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    problem = OSError(f"no free port on {host}")
    for port in random.sample(ports, min(len(ports), 200)):
        if port in taken:
            continue
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                problem = error
                continue
            return port
    raise problem
