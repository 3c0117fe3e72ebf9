"""Decides whether traces are made and where they go. Without tracing no other module of it is imported."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hotseat.installation import install_extra

if TYPE_CHECKING:
    from collections.abc import Callable

    from hotseat.core.spec import Settings
    from hotseat.core.views import Upstream
    from hotseat.telemetry.tracing.tracer import SpanExporter, Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""Variables that name a collector: traces are sent if one of them is set."""
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SUPPORTED = "http/protobuf"


class CannotTrace(Exception):
    """Tracing is wanted and impossible; the message is for users."""


def wanted(configured: bool | str | None, env: Mapping[str, str]) -> bool:
    """Whether traces are made: as configured, else if the environment names a collector."""
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if configured is not None:
        return configured is not False
    exporter = env.get("OTEL_TRACES_EXPORTER", "otlp").strip()
    return exporter == "otlp" and any(env.get(name) for name in ENDPOINTS)


def open_tracer(
    settings: Settings,
    env: Mapping[str, str],
    *,
    upstream: Callable[[str], Upstream | None],
    redact: Callable[[str], str],
    on_trouble: Callable[[str], None],
) -> Tracer | None:
    """Make the tracer, if tracing is wanted.

    ``upstream(model)`` is the address of the model's ready run; ``on_trouble`` is told when the collector
    becomes unreachable or reachable again. Raises ``CannotTrace`` if the configuration asks for traces and
    they are impossible. If only the environment asks for them, ``on_trouble`` is told instead, since the
    variables may be meant for other programs.
    """
    serve = settings.serve
    if not wanted(serve.tracing, env):
        return None
    try:
        exporter = _open_exporter(serve.tracing, env, on_trouble)
    except CannotTrace as error:
        if serve.tracing is not None:
            raise
        on_trouble(f"no traces are made: {error}")
        return None
    from hotseat.telemetry.tracing.requests import ServerAddress
    from hotseat.telemetry.tracing.tracer import Tracer

    server = ServerAddress("https" if serve.tls else "http", serve.host or "0.0.0.0", serve.port)
    return Tracer(
        exporter, settings.models, server=server, upstream=upstream, redact=redact, wall_clock=time.time
    )


def _open_exporter(
    configured: bool | str | None, env: Mapping[str, str], on_trouble: Callable[[str], None]
) -> SpanExporter:
    protocol = next((env[name] for name in _PROTOCOLS if env.get(name)), _SUPPORTED)
    if protocol != _SUPPORTED:
        raise CannotTrace(
            f"the environment asks for the OTLP protocol {protocol}, and only OTLP/HTTP ({_SUPPORTED}) is "
            "supported"
        )
    try:
        from hotseat.telemetry.tracing.otlp import OtlpExporter
    except ModuleNotFoundError as missing:
        raise CannotTrace(
            f"{missing.name} is not installed; install it with: {install_extra('otel')}"
        ) from None
    try:
        return OtlpExporter(endpoint(configured) if isinstance(configured, str) else None, on_trouble)
    except ValueError as error:
        raise CannotTrace(str(error)) from None


def endpoint(url: str) -> str:
    """The URL for traces of a collector; one without a path gets the usual ``/v1/traces``."""
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + "/v1/traces"
