"""A span that has ended, before it is made one of OpenTelemetry's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import getrandbits
from typing import Literal

Value = str | int | float | bool
Attributes = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Times are nanoseconds of Unix time."""

    name: str
    kind: Literal["server", "client", "internal"] = "internal"
    trace_id: int
    span_id: int
    parent_id: int | None = None
    parent_remote: bool = False
    """The parent is another program's."""
    start_ns: int
    end_ns: int
    attributes: Attributes = field(default_factory=dict)
    events: tuple[tuple[str, int, Attributes], ...] = ()
    """Name, time, attributes."""
    links: tuple[tuple[int, int], ...] = ()
    """Trace and span of others that have to do with this one."""
    error: str | None = None
    """Why what it stands for did not go well."""


def new_id(bits: Literal[64, 128]) -> int:
    """An id of a span (64 bits) or a trace (128): random, never 0."""
    while not (made := getrandbits(bits)):
        pass
    return made


def ns(seconds: float) -> int:
    """Seconds in nanoseconds."""
    return int(seconds * 1e9)
