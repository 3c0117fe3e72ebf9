"""The gateway: what all requests share, and what became of them (``passage``: one request's way through)."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import Any

from hotseat.core.spec import Settings
from hotseat.gateway.access.authenticator import Authenticator
from hotseat.gateway.access.client_address import Addresses
from hotseat.gateway.access.client_context import ConfigSnapshot
from hotseat.gateway.http.request_cycle import ASGIApp, RequestCycle
from hotseat.gateway.http.upstream import UpstreamPools
from hotseat.gateway.policy.rate_limit import Limiter, MemoryLimiter
from hotseat.gateway.proxy.access_log import AccessLog, RequestRecord
from hotseat.gateway.proxy.capture import Capture, Captures
from hotseat.gateway.proxy.forward import ForwardServices
from hotseat.gateway.proxy.lease import LeaseProvider
from hotseat.gateway.proxy.request import ProxiedRequest, Trace
from hotseat.gateway.proxy.waiting import WaitPolicy
from hotseat.gateway.routing import RoutingTable


class Gateway:
    """The data plane, and the door to the control plane."""

    def __init__(
        self,
        settings: Settings,
        seats: LeaseProvider,
        control: ASGIApp,
        *,
        local_only: bool,
        wall_clock: Callable[[], float] = time.time,
        write_log: Callable[[bytes], object] | None = None,
        limiter: Limiter | None = None,
        captures: Captures | None = None,
        on_record: Callable[[RequestRecord], None] | None = None,
        trace: Trace | None = None,
    ) -> None:
        """``control`` answers the paths that belong to hotseat itself.

        ``local_only``: refuse requests whose ``Host`` or ``Origin`` is not this machine. ``wall_clock()`` is
        the time of day, in seconds since 1970. ``write_log`` takes lines of the access log; ``limiter``
        counts what is limited (by default in memory); ``captures``: who is captured, if anybody may be.
        ``on_record`` is called with each finished request's record; ``trace`` gives a request its place in a
        trace.
        """
        self._wall_clock = wall_clock
        self._captures = captures
        self.captured: Mapping[str, Capture] = {} if captures is None else captures.on
        """By model; mostly nobody is."""
        self.seats = seats
        self.control = control
        self.upstreams = UpstreamPools()
        self.limiter: Limiter = limiter or MemoryLimiter(time.monotonic)
        self.books = AccessLog(write_log, wall_clock, on_record)
        self.trace = trace
        self.configure(settings, local_only=local_only)

    def configure(self, settings: Settings, *, local_only: bool) -> None:
        """Take over another configuration; requests under way keep the one that they began with."""
        door = Authenticator(settings.auth, self.limiter, self._wall_clock)
        tables = RoutingTable(settings, self.limiter)
        self.limiter.keep([*door.limits(), *(limit for route in tables.routes for limit in route.limits)])
        self.configured = ConfigSnapshot(
            tables=tables,
            door=door,
            addresses=Addresses(settings.auth.trusted_proxies),
            body_limit_bytes=settings.serve.body_limit_bytes,
            logs_strays=settings.serve.access_log,
            local_only=local_only,
        )
        patience = WaitPolicy(hold_headers_s=settings.serve.hold_headers_s)
        self.means = ForwardServices(self.seats, self.upstreams, patience)
        if self._captures is not None:
            self._captures.keep(settings.models)

    def run_ended(self, model: str, run: int) -> None:
        """A run has ended: its idle connections are closed."""
        self.upstreams.drop(model, run)

    def close(self) -> None:
        """Close all idle connections to models' servers, and write what the access log still holds."""
        self.upstreams.close()
        if self._captures is not None:
            self._captures.close()
        self.books.flush()

    def answer(self, client: RequestCycle) -> Coroutine[Any, Any, None] | None:
        """Begin to answer one request; what has to be waited for is returned."""
        configured = self.configured
        return ProxiedRequest(self, client, configured, monotonic(), configured.logs_strays).begin()
