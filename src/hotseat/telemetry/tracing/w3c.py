"""Trace context between programs (W3C Trace Context, level 1): the ``traceparent`` header."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span as other programs are told of it."""

    trace_id: int
    span_id: int
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"


def read(value: bytes) -> TraceContext | None:
    """What a ``traceparent`` says; ``None`` for one that says nothing that may be used."""
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more):
        return None
    trace_id, span_id = int(trace, 16), int(span, 16)
    if not trace_id or not span_id:
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def taken_out(headers: bytes) -> tuple[bytes, TraceContext | None]:
    """Header lines (names in lower case) less the ``traceparent``, and what it says.

    A ``tracestate`` that belongs to no sound ``traceparent`` goes too.
    """
    lines = headers.split(b"\r\n")
    parents = [line for line in lines if line.startswith(b"traceparent:")]
    context = read(parents[0].partition(b":")[2].strip()) if len(parents) == 1 else None
    gone: tuple[bytes, ...] = (b"traceparent:",) if context else (b"traceparent:", b"tracestate:")
    return b"\r\n".join(line for line in lines if not line.startswith(gone)), context
