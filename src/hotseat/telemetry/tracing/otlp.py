"""Sends spans with OpenTelemetry's SDK over OTLP/HTTP. Imported only if tracing is on.

The SDK's standard variables (``OTEL_*``) set the endpoint, headers, queue size and sampling. The SDK sends
from its own thread out of a bounded queue; spans that do not fit are dropped.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence

from opentelemetry.context import Context as OtelContext
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from hotseat import __version__
from hotseat.telemetry.tracing.span import Span
from hotseat.telemetry.tracing.w3c import TraceContext

CLOSE_TIMEOUT_S = 2.0
"""How long the shutdown of hotseat waits for the last spans to be sent, in seconds."""
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("hotseat", __version__)


class OtlpExporter:
    """Sends spans to a collector."""

    def __init__(self, endpoint: str | None, on_trouble: Callable[[str], None]) -> None:
        """``endpoint`` is the URL for traces; it overrides the environment. ``on_trouble`` is told once when
        the collector stops taking spans, and once when it takes them again. Raises ``ValueError`` for an
        invalid ``OTEL_*`` variable.
        """
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._sampler, self._resource = provider.sampler, provider.resource
        self._processor = BatchSpanProcessor(
            _ReportingExporter(OTLPSpanExporter(endpoint=endpoint), on_trouble)
        )
        # Complaints about the variables are in the log by now. Later the SDK would log every failed try.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def sampled(self, trace_id: int, parent: TraceContext | None) -> bool:
        """Decide as ``OTEL_TRACES_SAMPLER`` says (default: as the caller decided; without a caller, yes)."""
        context = OtelContext()
        if parent is not None:
            flags = _SAMPLED if parent.sampled else TraceFlags.get_default()
            remote = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
            context = set_span_in_context(NonRecordingSpan(remote), context)
        decision = self._sampler.should_sample(context, trace_id, "request").decision
        return decision is Decision.RECORD_AND_SAMPLE

    def send(self, span: Span) -> None:
        """Queue a span; returns at once."""
        self._processor.on_end(self._readable(span))

    async def close(self) -> None:
        """Send what is queued, within ``CLOSE_TIMEOUT_S``."""
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def shut_down() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            loop.call_soon_threadsafe(done.set)

        # Not a thread of the pool: on exit the interpreter would wait for that one.
        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await done.wait()
        except TimeoutError:
            return

    def _readable(self, span: Span) -> ReadableSpan:
        parent = None
        if span.parent_id is not None:
            parent = _context(span.trace_id, span.parent_id, remote=span.parent_remote)
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace_id, span.span_id),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            events=[Event(name, attributes, at) for name, at, attributes in span.events],
            links=[Link(_context(*linked)) for linked in span.links],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=_SCOPE,
        )


class _ReportingExporter(SpanExporter):
    """The SDK's exporter; reports once when it begins to fail, and once when it works again."""

    def __init__(self, exporter: SpanExporter, on_trouble: Callable[[str], None]) -> None:
        self._exporter, self._on_trouble = exporter, on_trouble
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing is not self._failing:
            self._failing = failing
            self._on_trouble(
                "the collector does not accept traces" if failing else "the collector accepts traces again"
            )
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _context(trace_id: int, span_id: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=remote, trace_flags=_SAMPLED)


def _resource() -> Resource:
    """Our service name and version, unless the environment sets others."""
    ours = Resource({"service.name": "hotseat", "service.version": __version__})
    return Resource.create().merge(ours).merge(OTELResourceDetector().detect())
