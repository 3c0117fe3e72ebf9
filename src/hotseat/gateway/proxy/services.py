"""The objects that all requests share, whatever the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hotseat.gateway.http.asgi import ASGIApp
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.http.upstream import UpstreamPools
from hotseat.gateway.policy.body_budget import BodyBudget
from hotseat.gateway.policy.body_worker import BodyWorker
from hotseat.gateway.policy.rate_limit import Limiter
from hotseat.gateway.proxy.access_log import AccessLog
from hotseat.gateway.proxy.capture import Capture
from hotseat.gateway.proxy.lease import LeaseProvider
from hotseat.gateway.proxy.made_ids import MadeIds
from hotseat.gateway.proxy.signs_of_life import SilenceWatch

Trace = Callable[[bytes], tuple[bytes, str, str]]
"""A request's header lines in; out come the header lines for the model's server, the span's
``traceparent``, and the client's (empty where it sent none)."""


@dataclass(slots=True, kw_only=True)
class GatewayServices:
    """The objects of one process that requests work with; they outlive a reload of the configuration."""

    leases: LeaseProvider
    upstreams: UpstreamPools
    limiter: Limiter
    bodies: BodyBudget
    body_worker: BodyWorker
    access_log: AccessLog
    control: ASGIApp
    """Answers the paths that belong to hotseat itself."""
    captures: Mapping[str, Capture]
    """The debug captures that are on, by model: nearly always none."""
    silence: SilenceWatch
    """Watches the streams that may be silent for long."""
    made_ids: MadeIds
    websockets: set[RequestCycle]
    """The requests whose WebSockets are open."""
    trace: Trace | None = None
    """Adds a span to a request's headers; ``None`` without tracing."""
