"""Redirects of models' servers, as clients may follow them: to a path at the gateway, never to a server.

A server knows its own address only, which clients cannot reach, or may not: around the gateway there are no
keys and no leases.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urljoin, urlsplit

from hotseat.core.views import Upstream

_LOCATION = re.compile(rb"(?:(?<=\n)|\A)location: ([^\r\n]*)\r\n")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def location_for_client(
    headers: bytes, upstream: Upstream, asked: bytes, prefix: bytes
) -> tuple[bytes, bool]:
    """Put right the ``Location`` in the header lines of a server's response.

    ``asked``: the path and query that the server was asked for; ``prefix``: what the client's path has before
    that. Returns the lines, and whether a ``Location`` had to be removed, because it leads elsewhere.
    """
    found = _LOCATION.search(headers)
    if found is None:
        return headers, False
    others = _LOCATION.sub(b"", headers)
    try:
        path = _path_at(upstream, found[1].decode("ascii"), asked.decode("latin-1"))
    except ValueError:
        path = None
    if path is None:
        return others, True
    return b"%blocation: %b%b\r\n" % (others, prefix, path.encode("latin-1")), False


def _path_at(upstream: Upstream, location: str, asked: str) -> str | None:
    """The path (and what follows it) that a ``Location`` means below the server's base path; ``None``:
    elsewhere. Raises ``ValueError`` for a malformed one."""
    host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
    parts = urlsplit(urljoin(f"http://{host}:{upstream.port}{upstream.base_path}{asked}", location.strip()))
    if parts.scheme not in _DEFAULT_PORTS or parts.username is not None or parts.hostname is None:
        return None
    if (parts.port or _DEFAULT_PORTS[parts.scheme]) != upstream.port or not _is_host(
        parts.hostname, upstream.host
    ):
        return None
    base = upstream.base_path
    path = parts.path or "/"
    if base and not path.startswith(f"{base}/"):
        return None
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return f"{path[len(base) :]}{query}{fragment}"


def _is_host(name: str, upstream_host: str) -> bool:
    """Whether a name is the server's: its own, or another one for the machine that it runs on."""
    return name == upstream_host.lower() or (_is_this_machine(name) and _is_this_machine(upstream_host))


def _is_this_machine(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
