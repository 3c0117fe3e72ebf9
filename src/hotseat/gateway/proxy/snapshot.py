"""Everything that the gateway knows from one configuration."""

from __future__ import annotations

from dataclasses import dataclass

from hotseat.gateway.access.authenticator import Authenticator
from hotseat.gateway.access.client_address import Addresses
from hotseat.gateway.proxy.waiting import WaitPolicy
from hotseat.gateway.routing import RoutingTable


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSnapshot:
    """Everything that a reload replaces, replaced as one; a request keeps the one that it began with."""

    routing: RoutingTable
    authenticator: Authenticator
    addresses: Addresses
    wait_policy: WaitPolicy
    body_limit_bytes: int
    logs_unrouted: bool
    """Whether requests that lead to no route are in the access log."""
    local_only: bool
    """Whether requests of other machines' pages are refused (there are no keys)."""
