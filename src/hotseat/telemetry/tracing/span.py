"""Finished spans, independent of OpenTelemetry's SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import getrandbits
from typing import Literal

Value = str | int | float | bool
Attributes = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One finished span. Times are Unix time in nanoseconds."""

    name: str
    kind: Literal["server", "client", "internal"] = "internal"
    trace_id: int
    span_id: int
    parent_id: int | None = None
    parent_remote: bool = False
    """Whether the parent belongs to another program."""
    start_ns: int
    end_ns: int
    attributes: Attributes = field(default_factory=dict)
    events: tuple[tuple[str, int, Attributes], ...] = ()
    """Name, time and attributes of each."""
    links: tuple[tuple[int, int], ...] = ()
    """Trace id and span id of related spans."""
    error: str | None = None
    """Why the operation failed; ``None`` if it did not."""


def new_id(bits: Literal[64, 128]) -> int:
    """Make a random id, never 0, for a span (64 bits) or a trace (128 bits)."""
    return getrandbits(bits) or new_id(bits)


def ns(seconds: float) -> int:
    """Convert seconds to nanoseconds."""
    return int(seconds * 1e9)
