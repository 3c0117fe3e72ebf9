"""CORS: the web pages that may send requests from a browser, and the headers that say so (fetch standard)."""

from __future__ import annotations

from collections.abc import Iterable

from hotseat.gateway.http.headers import Headers
from hotseat.gateway.http.request_cycle import RequestCycle

_EXPOSED = (
    b"access-control-expose-headers: x-request-id, retry-after, x-should-retry, x-hotseat-default, "
    b"x-ratelimit-limit-requests, x-ratelimit-remaining-requests, x-ratelimit-reset-requests, "
    b"x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens\r\n"
)
_VARY = b"vary: Origin\r\n"
_PREFLIGHT = (
    b"access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"
    b"access-control-max-age: 600\r\n"
    b"vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
)
_DEFAULT_HEADERS = b"authorization, content-type, x-api-key, x-api-secret, x-request-id, anthropic-version"
_TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_, "
_MAX_LENGTH = 2048


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
        """Header lines of every response; for an origin that is not allowed only ``Vary``."""
        if not self._allowed:
            return b""
        if origin not in self or origin is None:
            return _VARY
        return b"access-control-allow-origin: %b\r\n%b%b" % (origin, _EXPOSED, _VARY)


def is_preflight(cycle: RequestCycle) -> bool:
    """Whether this is a browser's preflight request."""
    return cycle.method == b"OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in cycle.headers
    )


def preflight(cycle: RequestCycle) -> None:
    """Answer the preflight request of an allowed origin: needs no key, starts no model."""
    cycle.start(
        204, _PREFLIGHT + b"access-control-allow-headers: %b\r\n" % _allowed_headers(cycle.headers), None
    )
    cycle.finish()


def _allowed_headers(headers: Headers) -> bytes:
    """The header fields that the page asks to send: all are allowed, and listed (SDKs send many)."""
    for name, value in headers:
        if name == b"access-control-request-headers":
            if value and len(value) <= _MAX_LENGTH and not value.translate(None, _TOKEN):
                return value
            break
    return _DEFAULT_HEADERS
