"""Makes the spans of a finished request from its record.

The request is a SERVER span. Its children are the wait for the seat and a CLIENT span for the call to the
model's server, which follows OpenTelemetry's conventions for generative AI; that one is the parent that the
model's server sees. Records hold no prompts and no answers, so spans cannot either.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from hotseat.telemetry.finished_request import FinishedRequest
from hotseat.telemetry.tracing.span import Span, Value, new_id, ns
from hotseat.telemetry.tracing.w3c import TraceContext, read

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
"""``gen_ai.operation.name`` by path at the model's server; other paths are plain HTTP."""
MIN_WAIT_SPAN_S = 0.005
"""A shorter wait for the seat gets no span, in seconds."""
_CLOCK_TOLERANCE_S = 0.001
"""How far apart two readings of one moment may be in a record, in seconds."""


class UpstreamAddress(Protocol):
    """The address of a model's server (``core.views.Upstream`` has it)."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The address that hotseat itself listens on."""

    scheme: str
    host: str
    port: int


def spans(
    record: FinishedRequest,
    *,
    ended_ns: int,
    server: ServerAddress,
    engine: str,
    upstream: UpstreamAddress | None,
    starts: Iterable[tuple[int, int]],
) -> list[Span]:
    """Make the spans of a sampled request; the first one is the request itself.

    ``ended_ns`` is Unix time in nanoseconds; ``upstream`` is ``None`` if the run has ended; ``starts`` are
    trace id and span id of the model's starts that the request waited for.
    """
    context = read(record.trace.encode())
    assert context is not None
    began = ended_ns - ns(record.duration_s)
    granted = min(ended_ns, began + ns(record.waited_s))
    parent = int(record.parent, 16) if record.parent else None
    request = _request_span(record, context, began, ended_ns, server, parent)
    made = [request]
    if record.waited_s >= MIN_WAIT_SPAN_S:
        made.append(
            Span(
                name=f"wait for {record.model}",
                trace_id=context.trace_id,
                span_id=new_id(64),
                parent_id=request.span_id,
                start_ns=began,
                end_ns=granted,
                attributes={"hotseat.model": record.model},
                links=tuple(starts),
                error=None if _was_granted(record) else record.code or record.failed,
            )
        )
    if _was_granted(record):
        made.append(_upstream_span(record, context, request.span_id, granted, ended_ns, engine, upstream))
    return made


def _was_granted(record: FinishedRequest) -> bool:
    """Whether the request got its lease."""
    if record.first_byte_s is not None or record.failed in ("upstream", "truncated"):
        return True
    if record.failed:  # the client disconnected, in the queue or later
        return record.duration_s - record.waited_s > _CLOCK_TOLERANCE_S
    return not record.code


def _request_span(
    record: FinishedRequest,
    context: TraceContext,
    began: int,
    ended: int,
    server: ServerAddress,
    parent: int | None,
) -> Span:
    attributes: dict[str, Value] = {
        "http.request.method": record.method,
        "http.response.status_code": record.status,
        "url.path": record.path,
        "url.scheme": server.scheme,
        "server.address": server.host,
        "server.port": server.port,
        "hotseat.request.id": record.id,
        "hotseat.route": record.route,
        "hotseat.model": record.model,
        "hotseat.waited_s": record.waited_s,
    }
    if record.key:
        attributes["hotseat.key"] = record.key
    if record.first_byte_s is not None:
        attributes["hotseat.first_byte_s"] = record.first_byte_s
    if record.failed:
        attributes["hotseat.cut"] = record.failed
    error = None
    if record.status >= 500 or record.failed in ("upstream", "internal"):
        error = attributes["error.type"] = record.code or record.failed or str(record.status)
    return Span(
        name=_http_name(record),
        kind="server",
        trace_id=context.trace_id,
        span_id=new_id(64),
        parent_id=parent,
        parent_remote=True,
        start_ns=began,
        end_ns=ended,
        attributes=attributes,
        error=error,
    )


def _http_name(record: FinishedRequest) -> str:
    """Name a span by method and known path, else by route: names must be few, and clients invent paths."""
    return f"{record.method} {record.path if record.path in OPERATIONS else '/' + record.route}"


def _upstream_span(
    record: FinishedRequest,
    context: TraceContext,
    parent: int,
    granted: int,
    ended: int,
    engine: str,
    upstream: UpstreamAddress | None,
) -> Span:
    attributes: dict[str, Value] = {
        "http.request.method": record.method,
        "http.response.status_code": record.status,
        "hotseat.model": record.model,
    }
    if upstream is not None:
        attributes |= {"server.address": upstream.host, "server.port": upstream.port}
    operation = OPERATIONS.get(record.path)
    if operation is not None:
        attributes |= {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": engine,
            "gen_ai.request.model": record.model,
        }
        if record.stream:
            attributes["gen_ai.request.stream"] = True
            if record.first_byte_s is not None:
                first = max(0.0, record.first_byte_s - record.waited_s)
                attributes["gen_ai.response.time_to_first_chunk"] = round(first, 4)
        if record.tokens_in is not None:
            attributes["gen_ai.usage.input_tokens"] = record.tokens_in
        if record.tokens_out is not None:
            attributes["gen_ai.usage.output_tokens"] = record.tokens_out
    error = None
    if record.status >= 400 or record.failed:
        error = attributes["error.type"] = record.code or record.failed or str(record.status)
    return Span(
        name=f"{operation} {record.model}" if operation else _http_name(record),
        kind="client",
        trace_id=context.trace_id,
        span_id=context.span_id,
        parent_id=parent,
        start_ns=granted,
        end_ns=ended,
        attributes=attributes,
        error=error,
    )
