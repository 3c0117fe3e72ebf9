"""Without keys only programs and pages of this machine are answered: no DNS rebinding, no foreign pages."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.http.headers import RequestHead


def refuse_other_hosts(head: RequestHead) -> None:
    """Raise ``RequestRefused`` (403) for a request whose ``Host`` is not this machine."""
    host = head.picked.get(b"host")
    if host is not None and not is_local_authority(host):
        raise _refusal("Host", host)


def refuse_other_origins(origin: bytes | None, site: bytes | None) -> None:
    """Raise ``RequestRefused`` (403) for an ``Origin`` that is not this machine.

    ``site`` is ``Sec-Fetch-Site``: a browser that shows an image or follows a link sends no ``Origin``.
    """
    if origin is not None and not is_local_origin(origin):
        raise _refusal("Origin", origin)
    if origin is None and site == b"cross-site":
        raise _refusal("Sec-Fetch-Site", site)


@lru_cache(maxsize=256)
def is_local_origin(origin: bytes) -> bool:
    """Whether an ``Origin`` (``scheme://host[:port]``) is a page of this machine."""
    scheme, found, authority = origin.partition(b"://")
    return bool(found and scheme) and is_local_authority(authority)


@lru_cache(maxsize=256)
def is_local_authority(authority: bytes) -> bool:
    """Whether ``host[:port]`` names this machine: ``localhost``, or a loopback address."""
    text = authority.decode("latin-1").lower()
    if text.startswith("["):
        host, closed, port = text[1:].partition("]")
        if not closed or (port and not port.startswith(":")):
            return False
        port = port[1:]
    else:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refusal(field: str, value: bytes) -> RequestRefused:
    shown = value[:100].decode("latin-1")
    remedy = "To be reached under another name, set VLLM_API_KEY or configure keys"
    if field == "Origin":
        remedy = f"To let this page in, list its origin for the model or route: cors: [{shown}]"
    return RequestRefused(
        ErrorResponse(
            status=403,
            code="not_local",
            type="permission_error",
            message=f"{field} {shown!r} is not this machine, and without a key hotseat answers local "
            f"requests only. {remedy}",
            should_retry=False,
        )
    )
