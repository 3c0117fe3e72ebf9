"""One request to a model: its body read, its route found and judged, its policy done to it."""

from __future__ import annotations

from dataclasses import dataclass

from hotseat.gateway import body
from hotseat.gateway.address import Addresses
from hotseat.gateway.client import BodyTooLarge, Client
from hotseat.gateway.errors import Problem, Refuse
from hotseat.gateway.exchange import Asked
from hotseat.gateway.head import RequestHead
from hotseat.gateway.keys import Caller, Door
from hotseat.gateway.local import refuse_other_origins
from hotseat.gateway.origins import is_preflight
from hotseat.gateway.query import without_credentials
from hotseat.gateway.routing import NOWHERE, Route, Tables, Target
from hotseat.gateway.waiting import Patience


@dataclass(frozen=True, slots=True)
class Configured:
    """All that the configuration says, replaced as one."""

    tables: Tables
    door: Door
    addresses: Addresses
    patience: Patience
    body_limit_bytes: int
    local_only: bool


class Visitor:
    """Who sent a request, and what its header says."""

    __slots__ = ("caller", "client", "configured", "head", "origin", "request_id")

    def __init__(self, client: Client, head: RequestHead, configured: Configured, request_id: bytes) -> None:
        self.client = client
        self.head = head
        self.configured = configured
        self.request_id = request_id
        self.origin = head.picked.get(b"origin")
        self.caller: Caller = configured.door.who(head.picked)

    def find(self) -> Target:
        """Where the path leads. Raises ``Refuse`` (404); strangers do not learn which there are (401)."""
        tables = self.configured.tables
        try:
            return tables.resolve(self.client.path)
        except Refuse:
            if self.origin in tables.cors:  # a page that may ask somewhere here is to read what is wrong
                if is_preflight(self.client):
                    return NOWHERE
                self.client.extra += tables.cors.lines(self.origin)
            self.must_be_known()
            raise

    def must_be_known(self) -> None:
        """Raise ``Refuse`` (401, 403) for a stranger where keys are wanted."""
        if self.configured.door.enforced:
            self.configured.door.admit_known(self.caller, self.origin)

    def admit(self, route: Route) -> None:
        """Let this visitor to a route, or raise ``Refuse`` (401, 403). The answer's header tells CORS."""
        if route.cors:
            self.client.extra = self._id_line() + route.cors.lines(self.origin)
        if self.configured.local_only and self.origin not in route.cors:
            refuse_other_origins(self.origin, self.head.picked.get(b"sec-fetch-site"))
        self.configured.door.admit(self.caller, route, self.origin)

    def address(self) -> str:
        """The client's address, for counting."""
        return self.configured.addresses.of(self.client.connection.client, self.client.headers)

    async def ask(self, target: Target) -> Asked:
        """The request as the model's server is to get it. Raises ``Refuse``."""
        client, configured, caller = self.client, self.configured, self.caller
        asked = body.read(await _read(client, self.head, configured.body_limit_bytes), self.head)
        route = target.route
        if route is None:
            route = self._named(asked.model)
        if target.special and not route.allows(target.path):
            raise Refuse(_NOT_ALLOWED)
        size = len(asked.content)
        name = route.rename(asked.model)
        if route.rules is not None:
            asked.rewrite(route.rules, target.path, name)
        elif name is not None and size:
            asked.rename(name)
        return Asked(
            route=route,
            method=client.method,
            target=target.path + without_credentials(client.query),
            headers=self.head.passed + self._id_line(),
            content=asked.content,
            size=size,
            stream=asked.stream and client.method != b"HEAD",
            anthropic=target.anthropic,
            priority=route.priority + caller.priority,
            key=caller.name,
        )

    def _named(self, model: str | None) -> Route:
        """The route that the body names. Raises ``Refuse`` (401, 403, 404)."""
        try:
            route = self.configured.tables.named(model)
        except Refuse:
            self.must_be_known()
            raise
        self.client.extra = self._id_line()
        self.admit(route)
        return route

    def _id_line(self) -> bytes:
        return b"x-request-id: %b\r\n" % self.request_id


async def _read(client: Client, head: RequestHead, limit: int) -> bytes:
    length = head.picked.get(b"content-length")
    try:
        if length is not None and int(length) > limit:
            raise BodyTooLarge
        content = client.take(limit)
        return await client.read(limit) if content is None else content
    except BodyTooLarge:
        raise Refuse(
            Problem(
                status=413,
                code="body_too_large",
                message=f"the body is larger than {limit} bytes (body_limit)",
                should_retry=False,
            )
        ) from None


_NOT_ALLOWED = Problem(
    status=404,
    code="not_found",
    message="no such path for this model",
    should_retry=False,
)
