"""Who sent a request, and what its header says: worked out once for all requests of a client that are alike.

A client sends the same header again with each request on a connection, its body's length apart. So what
was found out about it is kept with the connection, and stands as long as the header and the
configuration are the same and the key has no end.
"""

from __future__ import annotations

from dataclasses import dataclass

from hotseat.gateway.address import Addresses
from hotseat.gateway.books import request_id
from hotseat.gateway.client import Client
from hotseat.gateway.head import Headers, RequestHead
from hotseat.gateway.keys import Caller, Door
from hotseat.gateway.local import refuse_other_origins
from hotseat.gateway.routing import Route, Tables
from hotseat.logs import redact


@dataclass(frozen=True, slots=True)
class Configured:
    """All that the configuration says, replaced as one."""

    tables: Tables
    door: Door
    addresses: Addresses
    body_limit_bytes: int
    logs_strays: bool
    """Whether requests that lead to no route are in the access log."""
    local_only: bool


class Sender:
    """What a request's header says of the one who sent it."""

    __slots__ = (
        "_address",
        "_admitted",
        "_headers",
        "_peer",
        "caller",
        "configured",
        "head",
        "named_id",
        "origin",
        "websocket",
    )

    def __init__(self, client: Client, configured: Configured) -> None:
        """Raises ``Refuse`` (400) for a header that cannot be judged."""
        self.configured = configured
        self.head = head = RequestHead(client.headers)
        self.caller: Caller = configured.door.who(head.picked)
        self.origin = head.picked.get(b"origin")
        self.named_id = head.picked.get(b"x-request-id")
        """The id that the client gave to its request; such a header is hardly ever the same again."""
        self.websocket = head.picked.get(b"upgrade", b"").lower() == b"websocket"
        self._headers: Headers = client.headers
        self._peer = client.connection.client
        self._address: str | None = None
        self._admitted: set[Route] = set()

    def stands_for(self, client: Client, configured: Configured) -> bool:
        """Whether all this is true of another request on the same connection too."""
        return (
            self._headers == client.headers
            and self.configured is configured
            and self.caller.expires_at is None
            and self.named_id is None
        )

    def new_id(self) -> tuple[bytes, str]:
        """An id for a request: as it is sent, and as it is logged."""
        sent = request_id(self.named_id)
        logged = sent.decode("ascii")
        if self.named_id is not None and redact(logged) != logged:  # it may be anything, a key too
            sent = request_id(None)
            logged = sent.decode("ascii")
        return sent, logged

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
            self._address = self.configured.addresses.of(self._peer, self._headers)
        return self._address


def sender_of(client: Client, configured: Configured) -> Sender:
    """Who sent this request. Raises ``Refuse`` (400)."""
    known = client.connection.sender
    if isinstance(known, Sender) and known.stands_for(client, configured):
        return known
    sender = Sender(client, configured)
    client.connection.sender = sender
    return sender
