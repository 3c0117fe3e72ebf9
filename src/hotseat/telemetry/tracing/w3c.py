"""Trace context between programs (W3C Trace Context, level 1): the ``traceparent`` header."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span's identity, as it is passed between programs."""

    trace_id: int
    span_id: int
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"


def read(value: bytes) -> TraceContext | None:
    """Parse a ``traceparent``; ``None`` if it is malformed or must be ignored."""
    match = _FORM.fullmatch(value)
    if match is None:
        return None
    version, trace, span, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def take_context(headers: bytes) -> tuple[bytes, TraceContext | None]:
    """Remove the ``traceparent`` from header lines (names in lower case); return the rest and its context.

    A ``tracestate`` without a valid ``traceparent`` is removed as well.
    """
    lines = headers.split(b"\r\n")
    parents = [line for line in lines if line.startswith(b"traceparent:")]
    context = read(parents[0].partition(b":")[2].strip()) if len(parents) == 1 else None
    removed: tuple[bytes, ...] = (b"traceparent:",) if context else (b"traceparent:", b"tracestate:")
    return b"\r\n".join(line for line in lines if not line.startswith(removed)), context
