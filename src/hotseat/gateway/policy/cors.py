"""CORS: which web pages may ask from a browser, and what the browser is told (the fetch standard)."""

from __future__ import annotations

from collections.abc import Iterable

from hotseat.gateway.http.headers import Headers
from hotseat.gateway.http.request_cycle import RequestCycle

_EXPOSED = (
    b"access-control-expose-headers: x-request-id, retry-after, x-should-retry, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens\r\n"
)
_VARY = b"vary: Origin\r\n"
_PREFLIGHT = (
    b"access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"
    b"access-control-max-age: 600\r\n"
    b"vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
)
_USUAL = b"authorization, content-type, x-api-key, x-api-secret, x-request-id, anthropic-version"
_TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_, "
_LONGEST = 2048


class Cors:
    """The web origins of one route; false where there are none."""

    __slots__ = ("_allowed", "_any")

    def __init__(self, origins: Iterable[str]) -> None:
        self._allowed = frozenset(origin.encode() for origin in origins)
        self._any = b"*" in self._allowed

    def __bool__(self) -> bool:
        return bool(self._allowed)

    def __contains__(self, origin: bytes | None) -> bool:
        return origin is not None and (self._any or origin in self._allowed)

    def lines(self, origin: bytes | None) -> bytes:
        """Header lines of every response. Nothing but what varies for other origins."""
        if not self._allowed:
            return b""
        if origin not in self or origin is None:
            return _VARY
        return b"access-control-allow-origin: %b\r\n%b%b" % (origin, _EXPOSED, _VARY)


def is_preflight(client: RequestCycle) -> bool:
    """Whether a browser asks if it may ask."""
    return client.method == b"OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in client.headers
    )


def preflight(client: RequestCycle) -> None:
    """Answer a page of an allowed origin; nothing is passed on, no key is wanted, no model wakes."""
    client.start(204, _PREFLIGHT + b"access-control-allow-headers: %b\r\n" % _wanted(client.headers), None)
    client.finish()


def _wanted(headers: Headers) -> bytes:
    """The header fields that the page wants to send: all may be (SDKs send many), named one by one."""
    for name, value in headers:
        if name == b"access-control-request-headers":
            if value and len(value) <= _LONGEST and not value.translate(None, _TOKEN):
                return value
            break
    return _USUAL
