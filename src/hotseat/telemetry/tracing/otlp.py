"""Spans, sent with OpenTelemetry's own SDK over OTLP/HTTP. Imported only where traces are wanted.

The SDK's standard variables (``OTEL_*``) say where to, with which headers, how many are kept and what is
sampled. It sends from a thread of its own out of a bounded queue; what does not fit is dropped.
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

LAST_WORDS_S = 2.0
"""What the end of hotseat waits for the last spans to be taken."""
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("hotseat", __version__)


class OtlpExporter:
    """Sends spans to a collector."""

    def __init__(self, endpoint: str | None, said: Callable[[str], None]) -> None:
        """``endpoint``: a URL for traces, before what the environment says. ``said`` is told, once each
        time, that spans are not taken and that they are again. Raises ``ValueError`` for a variable that
        is not right.
        """
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._sampler, self._resource = provider.sampler, provider.resource
        self._processor = BatchSpanProcessor(_Reporting(OTLPSpanExporter(endpoint=endpoint), said))
        # What it makes of its variables is in the log by now. Later it tells of each try, and ``said`` once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def sampled(self, trace_id: int, parent: TraceContext | None) -> bool:
        """As ``OTEL_TRACES_SAMPLER`` decides (by default: as the caller did, and all without one)."""
        around = OtelContext()
        if parent is not None:
            flags = _SAMPLED if parent.sampled else TraceFlags.get_default()
            remote = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
            around = set_span_in_context(NonRecordingSpan(remote), around)
        decision = self._sampler.should_sample(around, trace_id, "request").decision
        return decision is Decision.RECORD_AND_SAMPLE

    def send(self, span: Span) -> None:
        """Take a span; returns at once."""
        self._processor.on_end(self._made(span))

    async def close(self) -> None:
        """Send what there is, within ``LAST_WORDS_S``."""
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            loop.call_soon_threadsafe(done.set)

        # Not a thread of the pool: the interpreter would wait for that one to its end.
        threading.Thread(target=end, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await done.wait()
        except TimeoutError:
            return

    def _made(self, span: Span) -> ReadableSpan:
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


class _Reporting(SpanExporter):
    """The SDK's exporter; when it begins to fail, and when it works again, is told once."""

    def __init__(self, exporter: SpanExporter, said: Callable[[str], None]) -> None:
        self._exporter, self._said = exporter, said
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        if fails is not self._fails:
            self._fails = fails
            self._said("traces are not taken by the collector" if fails else "traces are taken again")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _context(trace_id: int, span_id: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=remote, trace_flags=_SAMPLED)


def _resource() -> Resource:
    """Ours, less what the environment says better."""
    ours = Resource({"service.name": "hotseat", "service.version": __version__})
    return Resource.create().merge(ours).merge(OTELResourceDetector().detect())
