"""Bounds on what a client may send, and on how long it may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The limits of one client connection."""

    head_bytes: int = 32 * 1024
    """Request line and header fields together; more is answered with 431."""
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
