"""CORS: the web pages that may send requests from a browser, and the headers that say so (fetch standard)."""

from __future__ import annotations

import re
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
_PRIVATE_NETWORK = b"access-control-allow-private-network: true\r\n"
_DEFAULT_HEADERS = b"authorization, content-type, x-api-key, x-api-secret, x-request-id, anthropic-version"
_TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_, "
_MAX_LENGTH = 2048


class Cors:
    """The web origins of one route; false where there are none."""

    __slots__ = ("_allowed", "_any", "_pattern")

    def __init__(self, origins: Iterable[str]) -> None:
        """``origins``: as browsers send them, or patterns (``https://*.example.org``); ``*``: all."""
        self._allowed = frozenset(origin.encode() for origin in origins)
        self._any = b"*" in self._allowed
        patterns = [
            _expression(origin) for origin in sorted(self._allowed) if b"*" in origin and origin != b"*"
        ]
        self._pattern = re.compile(b"|".join(patterns)) if patterns else None

    def __bool__(self) -> bool:
        return bool(self._allowed)

    def __contains__(self, origin: bytes | None) -> bool:
        if origin is None:
            return False
        if self._any or origin in self._allowed:
            return True
        return self._pattern is not None and self._pattern.fullmatch(origin) is not None

    def lines(self, origin: bytes | None) -> bytes:
        """Header lines of every response; for an origin that is not allowed only ``Vary``."""
        if not self._allowed:
            return b""
        if origin not in self or origin is None:
            return _VARY
        return b"access-control-allow-origin: %b\r\n%b%b" % (origin, _EXPOSED, _VARY)


_ANY_HOST = rb"(?:\[[0-9a-f:.]+\]|[A-Za-z0-9._~-]+)"
_ANY_PORT = rb"(?::[0-9]{1,5})?"


def _expression(pattern: bytes) -> bytes:
    """The regular expression of an origin pattern.

    ``*`` is any host with any port, ``*.`` at its beginning any names below a domain (not itself), ``*`` as
    the port any port.
    """
    scheme, _, rest = pattern.partition(b"://")
    host, colon, port = rest.rpartition(b":") if re.search(rb":[0-9*]+\Z", rest) else (rest, b"", b"")
    if host == b"*":
        expression = _ANY_HOST + (_ANY_PORT if not colon else b"")
    elif host.startswith(b"*."):
        expression = rb"(?:[A-Za-z0-9_~-]+\.)+" + re.escape(host[2:])
    else:
        expression = re.escape(host)
    if colon:
        expression += _ANY_PORT if port == b"*" else b":" + port
    return re.escape(scheme) + b"://" + expression


def is_preflight(cycle: RequestCycle) -> bool:
    """Whether this is a browser's preflight request."""
    return cycle.method == b"OPTIONS" and any(
        name == b"access-control-request-method" for name, _ in cycle.headers
    )


def preflight(cycle: RequestCycle) -> None:
    """Answer the preflight request of an allowed origin: needs no key, starts no model."""
    lines = _PREFLIGHT + b"access-control-allow-headers: %b\r\n" % _allowed_headers(cycle.headers)
    if (b"access-control-request-private-network", b"true") in cycle.headers:
        lines += _PRIVATE_NETWORK  # a public page, and this machine's address is a private one
    cycle.start(204, lines, None)
    cycle.finish()


def _allowed_headers(headers: Headers) -> bytes:
    """The header fields that the page asks to send: all are allowed, and listed (SDKs send many)."""
    for name, value in headers:
        if name == b"access-control-request-headers":
            if value and len(value) <= _MAX_LENGTH and not value.translate(None, _TOKEN):
                return value
            break
    return _DEFAULT_HEADERS
