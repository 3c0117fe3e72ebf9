"""A request's spans, made of its record when it has ended.

The request itself is a SERVER span; below it stand the wait for the seat and, as a CLIENT span, the
model's server at work, under the conventions for generative AI: this one is what the model's server is
told to be part of. A record has no prompt and no answer in it, so a span cannot have one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from hotseat.telemetry.tracing.span import Span, Value, new_id, ns
from hotseat.telemetry.tracing.w3c import TraceContext, read

OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
"""``gen_ai.operation.name`` by the path at the model's server; others are plain HTTP."""
WORTH_A_SPAN_S = 0.005
"""A wait for the seat that is shorter is none."""
_CLOCK_S = 0.001
"""Two readings of one moment in a record may differ by so much."""


class TracedRequest(Protocol):
    """What is read of a request that has ended (``gateway.proxy.access_log.Record``)."""

    id: str
    key: str
    method: str
    path: str
    route: str
    model: str
    status: int
    code: str
    stream: bool
    tokens_in: int | None
    tokens_out: int | None
    waited_s: float
    first_byte_s: float | None
    duration_s: float
    failed: str
    trace: str
    parent: str


class UpstreamAddress(Protocol):
    """Where a model's server is (``core.views.Upstream``)."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where clients find us."""

    scheme: str
    host: str
    port: int


def spans(
    record: TracedRequest,
    *,
    ended_ns: int,
    front: ServerAddress,
    engine: str,
    upstream: UpstreamAddress | None,
    starts: Iterable[tuple[int, int]],
) -> list[Span]:
    """The spans of a request. ``starts`` are those of the model's starts that it waited for."""
    told = read(record.trace.encode())
    assert told is not None
    began = ended_ns - ns(record.duration_s)
    granted = min(ended_ns, began + ns(record.waited_s))
    parent = int(record.parent, 16) if record.parent else None
    whole = _request(record, told, began, ended_ns, front, parent)
    made = [whole]
    if record.waited_s >= WORTH_A_SPAN_S:
        made.append(
            Span(
                name=f"wait for {record.model}",
                trace_id=told.trace_id,
                span_id=new_id(64),
                parent_id=whole.span_id,
                start_ns=began,
                end_ns=granted,
                attributes={"hotseat.model": record.model},
                links=tuple(starts),
                error=None if _was_granted(record) else record.code or record.failed,
            )
        )
    if _was_granted(record):
        made.append(_served(record, told, whole.span_id, granted, ended_ns, engine, upstream))
    return made


def _was_granted(record: TracedRequest) -> bool:
    """Whether it got its seat."""
    if record.first_byte_s is not None or record.failed in ("upstream", "truncated"):
        return True
    if record.failed:  # the client left, in line or later
        return record.duration_s - record.waited_s > _CLOCK_S
    return not record.code


def _request(
    record: TracedRequest,
    told: TraceContext,
    began: int,
    ended: int,
    front: ServerAddress,
    parent: int | None,
) -> Span:
    attributes: dict[str, Value] = {
        "http.request.method": record.method,
        "http.response.status_code": record.status,
        "url.path": record.path,
        "url.scheme": front.scheme,
        "server.address": front.host,
        "server.port": front.port,
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
        name=_named(record),
        kind="server",
        trace_id=told.trace_id,
        span_id=new_id(64),
        parent_id=parent,
        parent_remote=True,
        start_ns=began,
        end_ns=ended,
        attributes=attributes,
        error=error,
    )


def _named(record: TracedRequest) -> str:
    """There are few names: a path that clients make up is none."""
    return f"{record.method} {record.path if record.path in OPERATIONS else '/' + record.route}"


def _served(
    record: TracedRequest,
    told: TraceContext,
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
        name=f"{operation} {record.model}" if operation else _named(record),
        kind="client",
        trace_id=told.trace_id,
        span_id=told.span_id,
        parent_id=parent,
        start_ns=granted,
        end_ns=ended,
        attributes=attributes,
        error=error,
    )
