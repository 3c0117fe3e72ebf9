"""The gateway as one object: what requests share, and its reconfiguration. (A request: ``proxy.request``.)"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from hotseat.core.spec import Settings
from hotseat.gateway.access.authenticator import Authenticator, SessionLookup
from hotseat.gateway.access.client_address import Addresses
from hotseat.gateway.http.admission import network_of
from hotseat.gateway.http.asgi import ASGIApp
from hotseat.gateway.http.errors import ErrorResponse
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.http.server import Server
from hotseat.gateway.http.upstream import UpstreamPools
from hotseat.gateway.policy.body_budget import BodyBudget
from hotseat.gateway.policy.body_worker import BodyWorker
from hotseat.gateway.policy.rate_limit import Limiter, MemoryLimiter
from hotseat.gateway.proxy.access_log import AccessLog, RequestRecord
from hotseat.gateway.proxy.capture import Captures
from hotseat.gateway.proxy.in_flight import InFlightRequest, cancel, in_flight
from hotseat.gateway.proxy.lease import LeaseProvider
from hotseat.gateway.proxy.made_ids import MadeIds
from hotseat.gateway.proxy.request import ProxiedRequest
from hotseat.gateway.proxy.services import GatewayServices, Trace
from hotseat.gateway.proxy.signs_of_life import SilenceWatch
from hotseat.gateway.proxy.snapshot import ConfigSnapshot
from hotseat.gateway.proxy.waiting import WaitPolicy
from hotseat.gateway.routing import CONTROL_SEGMENTS, RoutingTable, is_anthropic

CONTENDED_SLOW_CLIENT_S = 10.0
"""How long a client may take nothing of its response while other requests wait for a model."""


class Gateway:
    """Answers all requests (a ``CycleHandler``): forwards them to models, or to the control application."""

    def __init__(
        self,
        settings: Settings,
        leases: LeaseProvider,
        control: ASGIApp,
        *,
        local_only: bool,
        wall_clock: Callable[[], float] = time.time,
        write_log: Callable[[bytes], object] | None = None,
        limiter: Limiter | None = None,
        captures: Captures | None = None,
        on_record: Callable[[RequestRecord], None] | None = None,
        trace: Trace | None = None,
        sessions: SessionLookup | None = None,
    ) -> None:
        """``control`` answers the paths that belong to hotseat itself.

        ``local_only``: refuse requests whose ``Host`` or ``Origin`` is not this machine. ``wall_clock()`` is
        the time of day, in seconds since 1970. ``write_log`` takes lines of the access log. ``limiter``
        counts for the rate limits (by default in memory). ``captures``: the debug captures, where there may
        be any. ``on_record`` is called with the record of every request, when it has ended. ``trace`` adds a
        span to a request's headers. ``sessions`` are those of browsers that have signed in.
        """
        self._wall_clock = wall_clock
        self._captures = captures
        self._sessions = sessions
        self._server: Server | None = None
        self.services = GatewayServices(
            leases=leases,
            upstreams=UpstreamPools(),
            bodies=BodyBudget(0, 0),
            body_worker=BodyWorker(),
            limiter=limiter or MemoryLimiter(time.monotonic),
            access_log=AccessLog(write_log, wall_clock, on_record),
            control=control,
            captures={} if captures is None else captures.on,
            silence=SilenceWatch(),
            made_ids=MadeIds(),
            websockets=set(),
            trace=trace,
        )
        self.configure(settings, local_only=local_only)

    def configure(self, settings: Settings, *, local_only: bool) -> None:
        """Switch to another configuration; requests under way keep the one that they began with."""
        limiter = self.services.limiter
        authenticator = Authenticator(settings.auth, limiter, self._wall_clock, self._sessions)
        routing = RoutingTable(settings, limiter)
        bodies, serve = self.services.bodies, settings.serve
        bodies.total_bytes = max(serve.body_memory_bytes, serve.body_limit_bytes)
        bodies.client_bytes = max(bodies.total_bytes // 2, serve.body_limit_bytes)
        limiter.keep(
            [*authenticator.limits(), *(limit for route in routing.routes for limit in route.limits)]
        )
        self.snapshot = ConfigSnapshot(
            routing=routing,
            authenticator=authenticator,
            addresses=Addresses(settings.auth.trusted_proxies, settings.auth.cloudflare_proxies),
            wait_policy=WaitPolicy(
                hold_headers_s=settings.serve.hold_headers_s, comment_every_s=settings.serve.comment_every_s
            ),
            body_limit_bytes=settings.serve.body_limit_bytes,
            logs_unrouted=settings.serve.access_log,
            local_only=local_only,
        )
        if self._captures is not None:
            self._captures.keep(settings.models)

    def run_ended(self, model: str, run: int) -> None:
        """Close the idle connections to a run that has ended."""
        self.services.upstreams.drop(model, run)

    def idle_connections(self) -> dict[str, int]:
        """The number of idle connections to models' servers, by model."""
        return self.services.upstreams.idle()

    def serve_on(self, server: Server) -> None:
        """Name the server whose connections bring the requests (``in_flight``, ``cancel``)."""
        self._server = server

    def in_flight(self) -> list[InFlightRequest]:
        """The requests to models that are being answered, oldest first."""
        return in_flight(self._server.connections) if self._server is not None else []

    def cancel(self, request_id: str) -> bool:
        """End a request by cutting off its client; ``False`` if it has ended already."""
        return self._server is not None and cancel(self._server.connections, request_id)

    def watch(self, watcher: Callable[[RequestRecord], None] | None) -> None:
        """Have the record of each finished request told to ``watcher``, too, or (``None``) no longer."""
        self.services.access_log.watch(watcher)

    def close(self) -> None:
        """Close all idle connections to models' servers and all captures, and flush the access log."""
        self.services.upstreams.close()
        self.services.body_worker.close()
        self.services.silence.close()
        if self._captures is not None:
            self._captures.close()
        self.services.access_log.flush()

    # What the server asks about connections (``http.server.ConnectionPolicy``)

    def client_of(self, host: str) -> str | None:
        """Return which client a peer's address belongs to; ``None`` for a trusted proxy."""
        if not host:  # a Unix socket: a proxy of this machine, or several programs
            return None
        return None if self.snapshot.addresses.is_trusted(host) else network_of(host)

    def slow_client_s(self) -> float:
        """Return how long a client may take nothing of its response at most: less while others wait."""
        return CONTENDED_SLOW_CLIENT_S if self.services.leases.contended() else math.inf

    def answer_reserved(self, cycle: RequestCycle) -> Coroutine[Any, Any, None] | None:
        """Answer on a connection that is kept back for hotseat's own pages: those, and nothing else."""
        if cycle.path[1:].partition(b"/")[0] in CONTROL_SEGMENTS:
            return self.answer(cycle)
        cycle.keep_alive = False
        cycle.refuse(_TOO_MANY_CONNECTIONS, anthropic=is_anthropic(cycle.path))
        return None

    def answer(self, cycle: RequestCycle) -> Coroutine[Any, Any, None] | None:
        """Begin to answer one request, and return what has to be waited for."""
        snapshot = self.snapshot
        return ProxiedRequest(self.services, cycle, snapshot, monotonic(), snapshot.logs_unrouted).begin()


_TOO_MANY_CONNECTIONS = ErrorResponse(
    status=503,
    code="too_many_connections",
    type="api_error",
    message="there are too many connections; try again",
    retry_after_s=1,
    should_retry=True,
)
