"""Free TCP ports for servers that we start."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from pathlib import Path

EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 20_000


def candidates() -> range:
    """Ports below those that the kernel gives to outgoing connections, where there are enough of them.

    A server binds its port long after we chose it. A port of the kernel's own range could by then be
    some connection's source; and our probes, refused again and again, would at last be given the very
    port that they try to reach, and be connected to themselves.
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
    """A port of ``host`` that nobody listens on and that is not in ``taken``.

    Raises ``OSError`` where the host is not ours or no port is to be had.
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
