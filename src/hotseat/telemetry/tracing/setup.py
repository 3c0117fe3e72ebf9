"""Whether there are traces, and where they go. Where there are none, nothing else of them is imported."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotseat.core.spec import ServeSpec
    from hotseat.core.views import Upstream
    from hotseat.telemetry.tracing.tracer import SpanExporter, Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables that name a collector: traces are sent where one of them is set."""
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"
_INSTALL = "pip install 'hotseat[otel]'"


class CannotTrace(Exception):
    """There are to be traces and there cannot be, in words for a person."""


def wanted(configured: bool | str | None, env: Mapping[str, str]) -> bool:
    """Whether there are to be traces: as configured, else where the environment names a collector."""
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if configured is not None:
        return configured is not False
    exporter = env.get("OTEL_TRACES_EXPORTER", "otlp").strip()
    return exporter == "otlp" and any(env.get(name) for name in ENDPOINTS)


def open_tracer(
    serve: ServeSpec,
    env: Mapping[str, str],
    *,
    engine: Callable[[str], str],
    upstream: Callable[[str], Upstream | None],
    redact: Callable[[str], str],
    said: Callable[[str], None],
) -> Tracer | None:
    """Who makes and sends spans, where they are wanted.

    ``engine`` and ``upstream`` are a model's; ``said`` is told of the collector's ups and downs. Raises
    ``CannotTrace`` where the configuration wants what cannot be; the environment's wish is then told
    to ``said`` only, since it may be meant for other programs.
    """
    if not wanted(serve.tracing, env):
        return None
    try:
        sender = _sender(serve.tracing, env, said)
    except CannotTrace as error:
        if serve.tracing is not None:
            raise
        said(f"there are no traces: {error}")
        return None
    from hotseat.telemetry.tracing.requests import ServerAddress
    from hotseat.telemetry.tracing.tracer import Tracer

    front = ServerAddress("https" if serve.tls else "http", serve.host, serve.port)
    return Tracer(sender, front=front, engine=engine, upstream=upstream, redact=redact, wall_clock=time.time)


def _sender(
    configured: bool | str | None, env: Mapping[str, str], said: Callable[[str], None]
) -> SpanExporter:
    protocol = next((env[name] for name in _PROTOCOLS if env.get(name)), _SPOKEN)
    if protocol != _SPOKEN:
        raise CannotTrace(f"traces go over OTLP/HTTP ({_SPOKEN}) only, and the environment wants {protocol}")
    try:
        from hotseat.telemetry.tracing.otlp import OtlpExporter
    except ModuleNotFoundError as missing:
        raise CannotTrace(f"needs the extra otel ({missing.name} is not installed): {_INSTALL}") from None
    try:
        return OtlpExporter(endpoint(configured) if isinstance(configured, str) else None, said)
    except ValueError as error:
        raise CannotTrace(str(error)) from None


def endpoint(url: str) -> str:
    """Where traces go at a collector that is named without a path."""
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + "/v1/traces"
