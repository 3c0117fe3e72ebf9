"""Bounds on what a client may send, hold and leave unread, and on how long it may take."""

from __future__ import annotations

import resource
from dataclasses import dataclass

_OTHER_DESCRIPTORS = 100
"""Descriptors kept back for everything but clients and their upstream connections: files, pipes, the GPU
reader, the container engine, hotseat's own pages."""
_MOST_CONNECTIONS = 8192
_FEWEST_CONNECTIONS = 16


def connections_within_descriptor_limit() -> int:
    """Return how many clients may be connected under the process' descriptor limit, two descriptors each."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return max(_FEWEST_CONNECTIONS, min(_MOST_CONNECTIONS, (soft - _OTHER_DESCRIPTORS) // 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The limits of one client connection."""

    head_bytes: int = 32 * 1024
    """Request line and header fields together; more is answered with 431."""
    head_fields: int = 256
    """Header fields of one request; more is answered with 431."""
    head_s: float = 20.0
    """From the first byte of a connection or a request to the end of the head."""
    body_interval_s: float = 20.0
    """How often the pace of an incomplete body is checked."""
    body_bytes_per_s: int = 1024
    """The slowest pace of a body, averaged over one interval; a slower one is answered with 408."""
    linger_bytes: int = 64 * 1024 * 1024
    """How much of a refused request is read and discarded before the connection is closed."""
    linger_s: float = 10.0
    """How long that may take."""
    keep_alive_s: float = 75.0
    """How long a connection may be idle between two requests."""
    slow_client_s: float = 60.0
    """How long a client may take nothing, or nearly nothing, of a response before it is cut off."""
    slow_client_bytes_per_s: int = 1024
    """The slowest pace of a client that reads."""
    max_connections: int | None = None
    """Connections of all clients; ``None``: as many as the descriptor limit allows."""
    max_connections_per_client: int | None = None
    """Connections of one address (of one /64 with IPv6); ``None``: half of all."""
    reserved_connections: int = 16
    """Connections beyond those, on which only hotseat's own pages are answered."""
    handshakes: int = 256
    """TLS handshakes at once."""
    unparsed_bytes: int = 16 * 1024 * 1024
    """Pipelined requests of all clients that have been read and wait for earlier ones, in bytes."""
