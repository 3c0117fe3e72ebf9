"""Traces, whole: what the gateway asks at a request's begin, and what it and the supervisor tell later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hotseat.core import effects as do
from hotseat.core.views import Upstream
from hotseat.telemetry.tracing import requests, w3c
from hotseat.telemetry.tracing.lifecycle import LifecycleSpans
from hotseat.telemetry.tracing.requests import ServerAddress
from hotseat.telemetry.tracing.span import Span, new_id, ns


class SpanExporter(Protocol):
    """Who sends spans away; nothing waits for it."""

    def sampled(self, trace_id: int, parent: w3c.TraceContext | None) -> bool:
        """Whether this trace is kept."""

    def send(self, span: Span) -> None:
        """Take a span; returns at once."""

    async def close(self) -> None:
        """Send what there is, within a bounded time."""


class Tracer:
    """Makes spans of what it is told."""

    def __init__(
        self,
        sender: SpanExporter,
        *,
        front: ServerAddress,
        engine: Callable[[str], str],
        upstream: Callable[[str], Upstream | None],
        redact: Callable[[str], str],
        wall_clock: Callable[[], float],
    ) -> None:
        """``engine`` and ``upstream`` are a model's; ``wall_clock()`` is Unix time."""
        self._sender, self._front = sender, front
        self._engine, self._upstream = engine, upstream
        self._redact, self._wall_clock = redact, wall_clock
        self._lives = LifecycleSpans()

    def begin(self, headers: bytes) -> tuple[bytes, str, str]:
        """A request is about to go to a model: its header lines as the model's server is to get them, the
        ``traceparent`` among them, and the caller's span (empty without one).
        """
        headers, parent = w3c.taken_out(headers)
        if parent is not None and self._redact(f"{parent.trace_id:032x}") != f"{parent.trace_id:032x}":
            parent = None  # a client may have put anything there, a key too
        trace_id = parent.trace_id if parent else new_id(128)
        told = str(w3c.TraceContext(trace_id, new_id(64), self._sender.sampled(trace_id, parent)))
        line = f"traceparent: {told}\r\n".encode()
        return headers + line, told, f"{parent.span_id:016x}" if parent else ""

    def ended(self, record: requests.TracedRequest) -> None:
        """A request has ended."""
        if not record.trace.endswith("1"):  # not sampled, or it reached no model
            return
        now = ns(self._wall_clock())
        began = now - ns(record.duration_s)
        for span in requests.spans(
            record,
            ended_ns=now,
            front=self._front,
            engine=self._engine(record.model),
            upstream=self._upstream(record.model),
            starts=self._lives.starts_between(record.model, began, began + ns(record.waited_s)),
        ):
            self._sender.send(span)

    def moved(self, move: do.ReportMove) -> None:
        """A model moved."""
        for span in self._lives.moved(move, ns(self._wall_clock())):
            if self._sender.sampled(span.trace_id, None):
                self._sender.send(span)

    def entered(self, model: str, phase: str) -> None:
        """A loading model came into another phase."""
        self._lives.entered(model, phase, ns(self._wall_clock()))

    async def close(self) -> None:
        """Send what there is, within a bounded time."""
        await self._sender.close()
