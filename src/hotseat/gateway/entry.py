"""The gateway: what happens to a request, in order, from its header to the books.

Policies have their places on this path: who may ask (after the route is known and before the body
is read; a route that the body names is judged again after it), what may be asked (on the body), how
often (before the seat is asked for), and the books (after the response has ended).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hotseat.core.spec import Settings
from hotseat.gateway import body, models_list
from hotseat.gateway.client import ASGIApp, BodyTooLarge, Client
from hotseat.gateway.errors import Problem, Refuse
from hotseat.gateway.exchange import Asked, Exchange
from hotseat.gateway.head import RequestHead
from hotseat.gateway.local import refuse_strangers
from hotseat.gateway.routing import Kind, Tables, Target, is_anthropic
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
    bytes_sent: int = 0
    """Of answers' bodies."""


@dataclass(frozen=True, slots=True)
class _Configured:
    """All that the configuration says, replaced as one."""

    tables: Tables
    patience: Patience
    body_limit_bytes: int
    local_only: bool


class Gateway:
    """The data plane, and the door to the control plane."""

    def __init__(self, settings: Settings, seats: Seats, control: ASGIApp, *, local_only: bool) -> None:
        """``control`` answers the paths that belong to hotseat itself.

        ``local_only``: refuse requests whose ``Host`` or ``Origin`` is not this machine.
        """
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
            target = configured.tables.resolve(client.path)
            anthropic = target.anthropic
            if head.picked.get(b"upgrade", b"").lower() == b"websocket":
                client.keep_alive = False
                raise Refuse(_NO_WEBSOCKET)
            if target.kind is Kind.CONTROL:
                await client.run_control(self._control)
                return
            if client.method not in _METHODS:
                raise Refuse(_METHOD)
            if client.method == b"OPTIONS":
                client.start(204, _ALLOW, None)
                client.finish()
            elif target.kind is Kind.MODELS:
                if client.method not in (b"GET", b"HEAD"):
                    raise Refuse(_METHOD)
                models_list.answer(client, target.model_id, configured.tables, self._seats)
            else:
                asked = await _read_request(client, head, target, configured)
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


async def _read_request(client: Client, head: RequestHead, target: Target, configured: _Configured) -> Asked:
    """Read the body and find the route; the request as the model's server is to get it."""
    asked = body.read(await _read_body(client, head, configured.body_limit_bytes), head)
    route = target.route or configured.tables.named(asked.model)
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
