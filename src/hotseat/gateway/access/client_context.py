"""Who sent a request, and what its header says: worked out once for all requests of a client that are alike.

A client sends the same header again with each request on a connection, its body's length apart. So what
was found out about it is kept with the connection, and stands as long as the header and the
configuration are the same and the key has no end.
"""

from __future__ import annotations

from dataclasses import dataclass

from hotseat.gateway.access.authenticator import Authenticator, Principal
from hotseat.gateway.access.client_address import Addresses
from hotseat.gateway.access.loopback import refuse_other_origins
from hotseat.gateway.http.headers import Headers, RequestHead
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.proxy.access_log import request_id
from hotseat.gateway.routing import Route, RoutingTable, Target
from hotseat.logs import redact

_MOST_JUDGED = 64
"""Paths of one connection that are remembered."""


@dataclass(frozen=True, slots=True)
class ConfigSnapshot:
    """All that the configuration says, replaced as one."""

    tables: RoutingTable
    door: Authenticator
    addresses: Addresses
    body_limit_bytes: int
    logs_strays: bool
    """Whether requests that lead to no route are in the access log."""
    local_only: bool


class ClientContext:
    """What a request's header says of the one who sent it."""

    __slots__ = (
        "_address",
        "_admitted",
        "_peer",
        "caller",
        "configured",
        "head",
        "headers",
        "judged",
        "named_id",
        "origin",
        "websocket",
    )

    def __init__(self, client: RequestCycle, configured: ConfigSnapshot) -> None:
        """Raises ``Refuse`` (400) for a header that cannot be judged."""
        self.configured = configured
        self.head = head = RequestHead(client.headers)
        self.caller: Principal = configured.door.who(head.picked)
        self.origin = head.picked.get(b"origin")
        self.named_id = head.picked.get(b"x-request-id")
        """The id that the client gave to its request; such a header is hardly ever the same again."""
        self.websocket = head.picked.get(b"upgrade", b"").lower() == b"websocket"
        self.headers: Headers = client.headers
        self._peer = client.connection.client
        self._address: str | None = None
        self._admitted: set[Route] = set()
        self.judged: dict[tuple[bytes, Target], bytes] = {}
        """What it may ask: by method and target, the header lines that every answer has."""

    def new_id(self) -> tuple[bytes, str]:
        """An id for a request: as it is sent, and as it is logged."""
        the_id = request_id(self.named_id)
        if self.named_id is not None and redact(the_id) != the_id:  # it may be anything, a key too
            the_id = request_id(None)
        return the_id.encode("ascii"), the_id

    def remember(self, method: bytes, target: Target, lines: bytes) -> None:
        """It may ask this; ``lines`` are for the header of every answer."""
        if len(self.judged) >= _MOST_JUDGED:
            self.judged.clear()
        self.judged[method, target] = lines

    def must_be_known(self) -> None:
        """Raise ``Refuse`` (401, 403) for a stranger where keys are wanted."""
        door = self.configured.door
        if door.enforced:
            door.admit_known(self.caller, self.origin)

    def refuse_foreign_page(self) -> None:
        """Without keys: raise ``Refuse`` (403) for a page that is not this machine's."""
        if self.configured.local_only:
            refuse_other_origins(self.origin, self.head.picked.get(b"sec-fetch-site"))

    def admit(self, route: Route) -> None:
        """Let it to a route, or raise ``Refuse`` (401, 403)."""
        if route in self._admitted:
            return
        if self.origin not in route.cors:
            self.refuse_foreign_page()
        self.configured.door.admit(self.caller, route, self.origin)
        self._admitted.add(route)

    def address(self) -> str:
        """The client's address, for counting."""
        if self._address is None:
            self._address = self.configured.addresses.of(self._peer, self.headers)
        return self._address


def client_context(client: RequestCycle, configured: ConfigSnapshot) -> ClientContext:
    """Who sent this request. Raises ``Refuse`` (400)."""
    connection, headers = client.connection, client.headers
    known: ClientContext | None = connection.client_context
    if (
        known is not None
        and known.configured is configured
        and (known.headers is headers or known.headers == headers)
    ):
        return known
    sender = ClientContext(client, configured)
    lasts = sender.caller.expires_at is None and sender.named_id is None
    connection.client_context = sender if lasts else None
    return sender
