"""The client of a request as its header describes it, worked out once for all requests with that header.

A client sends the same header with every request on a connection, except for the body's length. So what
was found out is kept with the connection, and is valid as long as header and configuration are the same
and the key does not expire.
"""

from __future__ import annotations

from typing import Protocol

from hotseat.gateway.access.authenticator import Authenticator, HeaderFields, Principal
from hotseat.gateway.access.client_address import Addresses
from hotseat.gateway.access.loopback import refuse_other_origins
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.http.headers import Headers, RequestHead
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.http.request_id import request_id
from hotseat.gateway.routing import Route, Target
from hotseat.logs import redact

KEY_PROTOCOL = b"openai-insecure-api-key."
"""A subprotocol that begins so holds the client's key: browsers cannot send it in a header field."""
_MAX_TARGETS = 64
"""How many targets are remembered for one connection."""


class AccessConfig(Protocol):
    """The part of a configuration that access depends on; another object is another configuration."""

    @property
    def authenticator(self) -> Authenticator:
        """Knows the keys."""

    @property
    def addresses(self) -> Addresses:
        """Knows the trusted proxies."""

    @property
    def local_only(self) -> bool:
        """Whether pages of other machines are refused (there are no keys)."""


class ClientContext:
    """The client of a request: its principal, its origin, and the targets that it may ask for."""

    __slots__ = (
        "_address",
        "_authorized",
        "_peer",
        "allowed",
        "config",
        "head",
        "headers",
        "origin",
        "principal",
        "sent_id",
        "websocket",
    )

    def __init__(self, cycle: RequestCycle, config: AccessConfig) -> None:
        """Raises ``RequestRefused`` (400) for a header that is ambiguous."""
        self.config = config
        self.head = head = RequestHead(cycle.headers)
        upgrades = head.picked.get(b"upgrade", b"").lower().split(b",")
        self.websocket = b"websocket" in [protocol.strip() for protocol in upgrades]
        fields = _with_key_of_protocol(head.picked) if self.websocket else head.picked
        self.principal: Principal = config.authenticator.authenticate(fields, cycle.method)
        self.origin = head.picked.get(b"origin")
        self.sent_id = head.picked.get(b"x-request-id")
        """The id that the client gave to its request; a header with one is hardly ever the same again."""
        self.headers: Headers = cycle.headers
        self._peer = cycle.connection.client
        self._address: str | None = None
        self._authorized: set[Route] = set()
        self.allowed: dict[tuple[bytes, Target], bytes] = {}
        """By method and target that the client may ask for: header lines of every response."""

    def new_id(self) -> tuple[bytes, str]:
        """An id for a request: as it is sent, and as it is logged."""
        the_id = request_id(self.sent_id)
        if self.sent_id is not None and redact(the_id) != the_id:  # it may be anything, even a key
            the_id = request_id(None)
        return the_id.encode("ascii"), the_id

    def remember(self, method: bytes, target: Target, lines: bytes) -> None:
        """Remember that the client may ask for a target; ``lines`` go into the header of every response."""
        if len(self.allowed) >= _MAX_TARGETS:
            self.allowed.clear()
        self.allowed[method, target] = lines

    def require_authenticated(self) -> None:
        """Raise ``RequestRefused`` (401, 403) for an unknown client, where keys are required."""
        authenticator = self.config.authenticator
        if authenticator.enforced:
            authenticator.require_authenticated(self.principal, self.origin)

    def refuse_foreign_page(self) -> None:
        """Raise ``RequestRefused`` (403) for a page of another machine, where there are no keys."""
        if self.config.local_only:
            refuse_other_origins(self.origin, self.head.picked.get(b"sec-fetch-site"))

    def refuse_foreign_websocket(self, route: Route) -> None:
        """Raise ``RequestRefused`` (403) for a WebSocket of a page that the route does not let in.

        Browsers let every page open one and read it: CORS does not hold there.
        """
        origin, picked = self.origin, self.head.picked
        if origin is None or origin in route.cors:
            return
        if self.config.local_only:
            self.refuse_foreign_page()
        elif origin.partition(b"://")[2] != picked.get(b"host"):
            raise RequestRefused(
                ErrorResponse(
                    status=403,
                    code="origin_not_allowed",
                    type="permission_error",
                    message="this page may not open a WebSocket here: list its origin for the route, "
                    f"cors: [{origin[:100].decode('latin-1')}]",
                    should_retry=False,
                )
            )

    def authorize(self, route: Route) -> None:
        """Raise ``RequestRefused`` (401, 403) where the client may not use the route."""
        if route in self._authorized:
            return
        if self.origin not in route.cors:
            self.refuse_foreign_page()
        self.config.authenticator.authorize(self.principal, route, self.origin)
        self._authorized.add(route)

    def address(self) -> str:
        """The client's address, for rate limits."""
        if self._address is None:
            self._address = self.config.addresses.of(self._peer, self.headers)
        return self._address


def client_context(cycle: RequestCycle, config: AccessConfig) -> ClientContext:
    """The context of a request: the connection's last one, if it is still valid.

    Raises ``RequestRefused`` (400) for a header that is ambiguous.
    """
    connection, headers = cycle.connection, cycle.headers
    last: ClientContext | None = connection.client_context
    if last is not None and last.config is config and (last.headers is headers or last.headers == headers):
        return last
    context = ClientContext(cycle, config)
    can_be_reused = context.principal.expires_at is None and context.sent_id is None
    connection.client_context = context if can_be_reused else None
    return context


def _with_key_of_protocol(fields: HeaderFields) -> HeaderFields:
    """Header fields with the key that OpenAI's clients send as a WebSocket's subprotocol, in browsers."""
    if b"authorization" not in fields:
        for protocol in fields.get(b"sec-websocket-protocol", b"").split(b","):
            if protocol.strip().startswith(KEY_PROTOCOL):
                return {**fields, b"authorization": b"Bearer " + protocol.strip()[len(KEY_PROTOCOL) :]}
    return fields
