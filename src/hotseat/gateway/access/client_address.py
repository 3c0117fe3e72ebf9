"""A client's address: the peer's, or the one that trusted proxies report.

``X-Forwarded-For`` is read from its end: every proxy appends the address that it was called from, so
everything before the first address that is not a trusted proxy's may be forged.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from hotseat.gateway.http.headers import Headers

UNKNOWN = "unknown"
_UNIX = "unix"
"""In place of a network: the clients of a Unix socket, who have no address."""
_MAX_HOPS = 32
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Addresses:
    """Finds clients' addresses; knows the trusted proxies of one configuration."""

    def __init__(self, trusted: Sequence[str], cloudflare: Sequence[str] = ()) -> None:
        """``cloudflare``: trusted proxies that set ``CF-Connecting-IP``; others would pass a forged one."""
        self._cloudflare = [ipaddress.ip_network(one) for one in cloudflare if one != _UNIX]
        self._trusted = [*(ipaddress.ip_network(one) for one in trusted if one != _UNIX), *self._cloudflare]
        self._unix_is_cloudflare = _UNIX in cloudflare
        self._trusts_unix = _UNIX in trusted or self._unix_is_cloudflare

    def of(self, peer: tuple[str, int] | None, headers: Headers) -> str:
        """The client's address, for rate limits; of an IPv6 client its network (/64), all of it its own."""
        host = peer[0] if peer else ""
        if not self.is_trusted(host):
            return _counted_as(host)
        forwarded = [value for name, value in headers if name == b"x-forwarded-for"]
        if forwarded:
            hops = b",".join(forwarded).decode("latin-1").split(",")
            for hop in reversed(hops[-_MAX_HOPS:]):
                host = hop.strip()
                if not self.is_trusted(host):
                    break
            return _counted_as(host)
        if _is_in(host, self._cloudflare):
            for name, value in headers:
                if name == b"cf-connecting-ip":
                    return _counted_as(value.decode("latin-1").strip())
        return _counted_as(host)

    def is_trusted(self, host: str) -> bool:
        """Return whether an address is a trusted proxy's; ``""`` stands for the clients of a Unix socket."""
        return _is_in(host, self._trusted) if host else self._trusts_unix


def _is_in(host: str, networks: Sequence[_Network]) -> bool:
    address = _parse(host) if networks else None
    return address is not None and any(address in network for network in networks)


@lru_cache(maxsize=4096)
def _parse(text: str) -> _Address | None:
    """Parse an address in any spelling that proxies use (``[::1]:80``, ``10.0.0.1:80``)."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(maxsize=4096)
def _counted_as(text: str) -> str:
    address = _parse(text)
    if address is None:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv6Address):
        return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)
