"""Joins requests to traces, and turns finished requests and state transitions into spans."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from hotseat.core import effects as do
from hotseat.core.spec import ModelSpec
from hotseat.core.views import Upstream
from hotseat.telemetry.finished_request import FinishedRequest
from hotseat.telemetry.tracing import requests, w3c
from hotseat.telemetry.tracing.lifecycle import LifecycleSpans
from hotseat.telemetry.tracing.requests import ServerAddress
from hotseat.telemetry.tracing.span import Span, new_id, ns


class SpanExporter(Protocol):
    """Sends spans to a collector; nothing waits for it."""

    def sampled(self, trace_id: int, parent: w3c.TraceContext | None) -> bool:
        """Whether this trace is kept."""

    def send(self, span: Span) -> None:
        """Queue a span; returns at once."""

    async def close(self) -> None:
        """Send what is queued, within a bounded time."""


class Tracer:
    """Makes spans. Reads no clock but ``wall_clock`` and does no I/O: sending is the exporter's."""

    def __init__(
        self,
        exporter: SpanExporter,
        models: Mapping[str, ModelSpec],
        *,
        server: ServerAddress,
        upstream: Callable[[str], Upstream | None],
        redact: Callable[[str], str],
        wall_clock: Callable[[], float],
    ) -> None:
        """``server`` is our own address; ``upstream(model)`` is that of the model's ready run; ``redact``
        hides secrets in a text; ``wall_clock()`` is Unix time in seconds."""
        self._exporter, self._server = exporter, server
        self._upstream, self._redact, self._wall_clock = upstream, redact, wall_clock
        self._lifecycle = LifecycleSpans()
        self.configure(models)

    def configure(self, models: Mapping[str, ModelSpec]) -> None:
        """Take the engines, which spans name, from these models from now on."""
        self._engines = {name: model.engine for name, model in models.items()}

    def begin(self, headers: bytes) -> tuple[bytes, str, str]:
        """Give a request that is about to go to a model its place in a trace.

        Returns the header lines for the model's server with our ``traceparent`` among them, that
        ``traceparent``, and the caller's span id (hexadecimal; empty without one).
        """
        headers, parent = w3c.take_context(headers)
        if parent is not None and self._redact(f"{parent.trace_id:032x}") != f"{parent.trace_id:032x}":
            parent = None  # clients can send anything as a trace id, a key too
        trace_id = parent.trace_id if parent else new_id(128)
        context = str(w3c.TraceContext(trace_id, new_id(64), self._exporter.sampled(trace_id, parent)))
        line = f"traceparent: {context}\r\n".encode()
        return headers + line, context, f"{parent.span_id:016x}" if parent else ""

    def ended(self, record: FinishedRequest) -> None:
        """Send the spans of a finished request, unless it is not sampled or reached no model."""
        if not record.trace.endswith("1"):
            return
        now = ns(self._wall_clock())
        began = now - ns(record.duration_s)
        for span in requests.spans(
            record,
            ended_ns=now,
            server=self._server,
            engine=self._engines.get(record.model, ""),
            upstream=self._upstream(record.model),
            starts=self._lifecycle.starts_between(record.model, began, began + ns(record.waited_s)),
        ):
            self._exporter.send(span)

    def moved(self, move: do.ReportMove) -> None:
        """Send the spans that end with this state transition."""
        for span in self._lifecycle.moved(move, ns(self._wall_clock())):
            if self._exporter.sampled(span.trace_id, None):
                self._exporter.send(span)

    def phase_entered(self, model: str, phase: str) -> None:
        """Note a phase of a start, as an event of its span."""
        self._lifecycle.phase_entered(model, phase, ns(self._wall_clock()))

    async def close(self) -> None:
        """Send what is queued, within a bounded time."""
        await self._exporter.close()
