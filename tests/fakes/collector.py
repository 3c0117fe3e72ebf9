"""A collector of traces on loopback: takes OTLP over HTTP as protobuf and keeps every span."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

LIMIT_S = 60.0


@dataclass(frozen=True)
class Seen:
    """One span as it came; ids are hexadecimal, times nanoseconds."""

    name: str
    kind: int
    trace: str
    span: str
    parent: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    events: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    error: str | None


class Collector:
    """``fails``: answers so instead of 200 while it is set."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []
        self.resource: dict[str, Any] = {}
        self.headers: list[Mapping[str, str]] = []
        self.raw = b""
        self.fails: int | None = None
        self.asked = 0
        self._news = threading.Condition()
        self.port = 0

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        """A request; the status of its answer."""
        with self._news:
            self.asked += 1
            self._news.notify_all()
            if self.fails:
                return self.fails
            told = ExportTraceServiceRequest()
            told.ParseFromString(body)
            self.headers.append(headers)
            self.raw += body
            for of in told.resource_spans:
                self.resource = _attributes(of.resource.attributes)
                self.spans += [_seen(span) for scope in of.scope_spans for span in scope.spans]
            self._news.notify_all()
            return 200

    def until(self, so: Callable[[list[Seen]], Any]) -> list[Seen]:
        """Wait until the spans are so; all of them."""
        with self._news:
            assert self._news.wait_for(lambda: so(self.spans), LIMIT_S), [one.name for one in self.spans]
            return list(self.spans)

    def until_asked(self, times: int) -> None:
        """Wait until so many requests have come."""
        with self._news:
            assert self._news.wait_for(lambda: self.asked >= times, LIMIT_S)

    def named(self, name: str) -> Seen:
        """The one span of this name; waited for."""
        found = [one for one in self.until(lambda s: any(o.name == name for o in s)) if one.name == name]
        assert len(found) == 1, [one.name for one in self.spans]
        return found[0]


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _seen(span: Any) -> Seen:
    return Seen(
        name=span.name,
        kind=span.kind,
        trace=span.trace_id.hex(),
        span=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        events=tuple(event.name for event in span.events),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        error=(span.status.message or "?") if span.status.code == 2 else None,
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens."""
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            right = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
            names = {name.lower(): value for name, value in self.headers.items()}
            self.send_response(made.take(names, body) if right else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
