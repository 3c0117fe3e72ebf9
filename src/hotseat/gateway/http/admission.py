"""Choice of connections to keep when there are too many: known clients and busy connections first.

A connection is a **newcomer** until a request on it was authorized. Where a bound is reached, the newcomer
that has been connected for the longest time has to leave; where there is none, the idle connection that was
not used for the longest time; and where all are busy, the new connection itself is refused, except for a few
that are kept back for hotseat's own pages. Nothing of this needs a byte from the client, so it holds before
a TLS handshake, too.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from hotseat.gateway.http.connection_limits import ConnectionLimits, connections_within_descriptor_limit


class Connected(Protocol):
    """An accepted connection, from accept to close."""

    @property
    def is_evictable(self) -> bool:
        """Whether it could be closed now without cutting off a response."""

    @property
    def idle_since(self) -> float:
        """Time of the last use, by the loop's clock."""

    def evict(self) -> None:
        """Close at once."""


@lru_cache(maxsize=4096)
def network_of(host: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"


class Place:
    """The place of one accepted connection; given back with ``leave``."""

    __slots__ = ("_admission", "client", "connected", "is_reserved")

    def __init__(self, admission: Admission, client: str | None, *, is_reserved: bool) -> None:
        self._admission: Admission | None = admission
        self.client = client
        """What counts as one client; ``None``: a proxy, whose connections are many clients'."""
        self.connected: Connected | None = None
        self.is_reserved = is_reserved
        """Whether this is one of those on which only hotseat's own pages are answered."""

    @property
    def is_left(self) -> bool:
        """Whether the place was given back or taken away."""
        return self._admission is None

    def prove(self) -> None:
        """Note that a request was authorized: the connection is no newcomer any more."""
        if self._admission is not None:
            self._admission.newcomers.pop(self, None)

    def leave(self) -> None:
        """Give the place back. May be repeated."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.remove(self)


class Admission:
    """The places of all connections of one server."""

    def __init__(self, limits: ConnectionLimits, client_of: Callable[[str], str | None]) -> None:
        """``client_of(host)`` says which client an address belongs to; ``None`` for a trusted proxy."""
        most = limits.max_connections
        self.most = connections_within_descriptor_limit() if most is None else most
        """Connections at once, without the reserved ones."""
        each = limits.max_connections_per_client
        self.most_per_client = max(1, self.most // 2) if each is None else each
        self._reserved = limits.reserved_connections
        self._client_of = client_of
        self.newcomers: dict[Place, None] = {}
        """Connections without an authorized request, the oldest first."""
        self._places: dict[str | None, dict[Place, None]] = {}
        """By client, in the order of their coming."""
        self._count = 0
        self._idle: dict[str | None, deque[Place]] = {}
        """Connections that were idle when last looked for, least recently used first; by client, and of all
        under ``None``."""
        self.refused = 0
        """Connections that were closed because there were too many."""

    def __len__(self) -> int:
        return self._count

    def admit(self, host: str) -> Place | None:
        """Make a place for a new connection, by closing another one if need be; ``None``: refuse it."""
        client = self._client_of(host)
        own = self._places.get(client, {})
        if client is not None and len(own) >= self.most_per_client and not self._evict_one(own, client):
            self.refused += 1
            return None
        is_reserved = False
        if self._count >= self.most and not self._evict_one(self.newcomers, None):
            is_reserved = True
            if self._count >= self.most + self._reserved:
                self.refused += 1
                return None
        place = Place(self, client, is_reserved=is_reserved)
        self._count += 1
        self._places.setdefault(client, {})[place] = None
        self.newcomers[place] = None
        return place

    def remove(self, place: Place) -> None:
        """Forget a connection that has closed (``Place.leave``)."""
        self._count -= 1
        self.newcomers.pop(place, None)
        own = self._places[place.client]
        del own[place]
        if not own:
            del self._places[place.client]
            self._idle.pop(place.client, None)

    def relieve(self) -> None:
        """Close one connection, since the process has no descriptor left."""
        self._evict_one(self.newcomers, None)

    def _evict_one(self, candidates: dict[Place, None], client: str | None) -> bool:
        """Close one of the candidates that are newcomers, else one that is idle; false where all are busy."""
        for place in candidates:
            if place in self.newcomers and (place.connected is None or place.connected.is_evictable):
                return self._evict(place)
        idle = self._idle.get(client)
        if not idle:
            every = self._places.get(client, {}) if client is not None else self._all()
            found = [p for p in every if p.connected is not None and p.connected.is_evictable]
            found.sort(key=lambda p: p.connected.idle_since if p.connected is not None else 0.0)
            idle = self._idle[client] = deque(found)
        while idle:
            place = idle.popleft()
            if place.connected is not None and place.connected.is_evictable:
                return self._evict(place)
        return False

    def _all(self) -> list[Place]:
        return [place for places in self._places.values() for place in places]

    def _evict(self, place: Place) -> bool:
        connected = place.connected
        place.leave()
        self.refused += 1
        if connected is not None:
            connected.evict()
        return True
