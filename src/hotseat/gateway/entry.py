"""The gateway: what happens to a request, in order, from its header to the books.

Policies have their places on this path: who may ask (after the route is known and before the body
is read; a route that the body names is judged again after it), what may be asked (on the body), how
often (before the seat is asked for), and the books (after the response has ended).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hotseat.core.spec import Settings
from hotseat.gateway import body, models_list
from hotseat.gateway.client import ASGIApp, BodyTooLarge, Client
from hotseat.gateway.errors import Problem, Refuse
from hotseat.gateway.exchange import Asked, Exchange
from hotseat.gateway.head import RequestHead
from hotseat.gateway.keys import Caller, Door
from hotseat.gateway.local import refuse_strangers
from hotseat.gateway.ours import standing
from hotseat.gateway.routing import Kind, Route, Tables, Target, is_anthropic
from hotseat.gateway.seats import Seats
from hotseat.gateway.upstream import Upstreams
from hotseat.gateway.waiting import Patience

_METHODS = frozenset({b"GET", b"POST", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_ALLOW = b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"


@dataclass(slots=True)
class Counts:
    """What became of one model's requests."""

    requests: int = 0
    refused: int = 0
    """Got no lease."""
    failed: int = 0
    """Got no whole answer because the model's server failed."""
    gone: int = 0
    """Left before their answer was whole."""
    truncated: int = 0
    """Whole as far as HTTP goes, but cut short by the model's server (``finish_reason: abort``)."""
    bytes_sent: int = 0
    """Of answers' bodies."""


@dataclass(frozen=True, slots=True)
class _Configured:
    """All that the configuration says, replaced as one."""

    tables: Tables
    patience: Patience
    body_limit_bytes: int
    local_only: bool
    door: Door


class Gateway:
    """The data plane, and the door to the control plane."""

    def __init__(
        self,
        settings: Settings,
        seats: Seats,
        control: ASGIApp,
        *,
        local_only: bool,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``control`` answers the paths that belong to hotseat itself.

        ``local_only``: refuse requests whose ``Host`` or ``Origin`` is not this machine. ``wall()`` is the
        time of day, in seconds since 1970.
        """
        self._wall = wall
        self._seats = seats
        self._control = control
        self._upstreams = Upstreams()
        self._counts: dict[str, Counts] = {}
        self.configure(settings, local_only=local_only)

    def configure(self, settings: Settings, *, local_only: bool) -> None:
        """Take over another configuration; requests under way keep the one that they began with."""
        self._configured = _Configured(
            tables=Tables(settings),
            patience=Patience(hold_headers_s=settings.serve.hold_headers_s),
            body_limit_bytes=settings.serve.body_limit_bytes,
            local_only=local_only,
            door=Door(settings.auth, self._wall),
        )
        self._counts = {model: self._counts.get(model) or Counts() for model in settings.models}

    def counts(self) -> Mapping[str, Counts]:
        """What became of the requests, by model, since we run."""
        return self._counts

    def run_ended(self, model: str, run: int) -> None:
        """A run has ended: its idle connections are closed."""
        self._upstreams.drop(model, run)

    def close(self) -> None:
        """Close all idle connections to models' servers."""
        self._upstreams.close()

    async def answer(self, client: Client) -> None:
        """Answer one request."""
        configured = self._configured
        anthropic = is_anthropic(client.path)
        try:
            head = RequestHead(client.headers)
            if configured.local_only:
                refuse_strangers(head)
            door = configured.door
            caller = door.who(head.picked)
            origin = head.picked.get(b"origin")
            target = _find(configured, client.path, caller, origin)
            anthropic = target.anthropic
            if head.picked.get(b"upgrade", b"").lower() == b"websocket":
                client.keep_alive = False
                raise Refuse(_NO_WEBSOCKET)
            if target.kind is Kind.CONTROL:
                rank = standing(client, target.path, head, door, caller)
                await client.run_control(self._control, {"standing": rank})
                return
            if target.route is not None:
                door.admit(caller, target.route, origin)
            elif configured.tables.all_guarded:  # else the body decides
                door.admit_known(caller, origin)
            if client.method not in _METHODS:
                raise Refuse(_METHOD)
            if client.method == b"OPTIONS":
                if target.route is None and door.enforced:
                    door.admit_known(caller, origin)
                client.start(204, _ALLOW, None)
                client.finish()
            elif target.kind is Kind.MODELS:
                if client.method not in (b"GET", b"HEAD"):
                    raise Refuse(_METHOD)
                if door.enforced:
                    door.admit_known(caller, origin)
                models_list.answer(client, target.model_id, configured.tables, self._seats, caller.sees)
            else:
                asked = await _read_request(client, head, target, configured, caller)
                exchange = Exchange(client, asked)
                try:
                    await exchange.run(self._seats, self._upstreams, configured.patience)
                finally:
                    self._account(exchange, client)
        except Refuse as refuse:
            client.refuse(refuse.problem, anthropic=anthropic)

    def _account(self, exchange: Exchange, client: Client) -> None:
        counts = self._counts.get(exchange.model)
        if counts is None:  # configured away meanwhile
            return
        counts.requests += 1
        counts.bytes_sent += client.bytes_sent
        if exchange.refused:
            counts.refused += 1
        elif exchange.failure is not None:
            counts.failed += 1
        elif not client.response_complete:
            counts.gone += 1
        if exchange.truncated:
            counts.truncated += 1


def _find(configured: _Configured, path: bytes, caller: Caller, origin: bytes | None) -> Target:
    """Where the path leads. Raises ``Refuse`` (404); strangers do not learn which paths there are (401)."""
    try:
        return configured.tables.resolve(path)
    except Refuse:
        if configured.door.enforced:
            configured.door.admit_known(caller, origin)
        raise


async def _read_request(
    client: Client, head: RequestHead, target: Target, configured: _Configured, caller: Caller
) -> Asked:
    """Read the body and find the route; the request as the model's server is to get it."""
    asked = body.read(await _read_body(client, head, configured.body_limit_bytes), head)
    route = target.route
    if route is None:
        route = _named(configured, asked.model, caller, head.picked.get(b"origin"))
    if target.special and not route.allows(target.path):
        raise Refuse(_NOT_ALLOWED)
    name = route.rename(asked.model)
    if name is not None:
        asked.rename(name)
    return Asked(
        route=route,
        method=client.method,
        target=target.path + client.query,
        headers=head.passed,
        content=asked.content,
        stream=asked.stream,
        anthropic=target.anthropic,
    )


def _named(configured: _Configured, model: str | None, caller: Caller, origin: bytes | None) -> Route:
    """The route that the body names, where this caller may use it. Raises ``Refuse`` (401, 403, 404)."""
    try:
        route = configured.tables.named(model)
    except Refuse:
        if configured.door.enforced:
            configured.door.admit_known(caller, origin)
        raise
    configured.door.admit(caller, route, origin)
    return route


async def _read_body(client: Client, head: RequestHead, limit: int) -> bytes:
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


_NO_WEBSOCKET = Problem(
    status=501,
    code="websocket_not_supported",
    message="WebSockets are not passed through: use the HTTP API with stream: true",
    should_retry=False,
)
_METHOD = Problem(
    status=405,
    code="method_not_allowed",
    message="this method is not served here",
    should_retry=False,
    headers=((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),),
)
_NOT_ALLOWED = Problem(
    status=404,
    code="not_found",
    message="no such path for this model",
    should_retry=False,
)
