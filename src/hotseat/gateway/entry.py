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
from hotseat.gateway import models_list, origins, usage
from hotseat.gateway.address import Addresses
from hotseat.gateway.asking import Configured, Visitor
from hotseat.gateway.books import GONE, Books, Record, request_id
from hotseat.gateway.capture import Captures
from hotseat.gateway.client import ASGIApp, Client
from hotseat.gateway.errors import Problem, Refuse
from hotseat.gateway.exchange import Asked, Exchange, Metered
from hotseat.gateway.head import RequestHead
from hotseat.gateway.keys import Door
from hotseat.gateway.local import refuse_other_hosts, refuse_other_origins
from hotseat.gateway.ours import standing
from hotseat.gateway.rates import Limiter, MemoryLimiter, Visit
from hotseat.gateway.routing import Kind, Tables, Target, is_anthropic
from hotseat.gateway.seats import Seats
from hotseat.gateway.upstream import Upstreams
from hotseat.gateway.waiting import Patience
from hotseat.logs import redact

_METHODS = frozenset({b"GET", b"POST", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_ALLOW = b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"


Trace = Callable[[bytes], tuple[bytes, str, str]]
"""A request's header lines in; out come those for the model's server, its span, and the caller's."""


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
        write_log: Callable[[bytes], object] | None = None,
        limiter: Limiter | None = None,
        captures: Captures | None = None,
    ) -> None:
        """``control`` answers the paths that belong to hotseat itself.

        ``local_only``: refuse requests whose ``Host`` or ``Origin`` is not this machine. ``wall()`` is the
        time of day, in seconds since 1970. ``write_log`` takes lines of the access log; ``limiter`` counts
        what is limited (by default in memory); ``captures``: who is captured, if anybody may be.
        """
        self._wall = wall
        self._seats = seats
        self._control = control
        self._upstreams = Upstreams()
        self._counts: dict[str, Counts] = {}
        self._limiter: Limiter = limiter or MemoryLimiter(time.monotonic)
        self._captures = captures
        self._captured = {} if captures is None else captures.on
        self.books = Books(write_log, wall)
        self.trace: Trace | None = None
        """Where there are traces: gives the model's server its part in one."""
        self.configure(settings, local_only=local_only)

    def configure(self, settings: Settings, *, local_only: bool) -> None:
        """Take over another configuration; requests under way keep the one that they began with."""
        door = Door(settings.auth, self._limiter, self._wall)
        tables = Tables(settings, self._limiter)
        self._limiter.keep([*door.limits(), *(limit for route in tables.routes for limit in route.limits)])
        self._configured = Configured(
            tables=tables,
            door=door,
            addresses=Addresses(settings.auth.trusted_proxies),
            patience=Patience(hold_headers_s=settings.serve.hold_headers_s),
            body_limit_bytes=settings.serve.body_limit_bytes,
            local_only=local_only,
        )
        self._counts = {model: self._counts.get(model) or Counts() for model in settings.models}
        if self._captures is not None:
            self._captures.keep(settings.models)

    def counts(self) -> Mapping[str, Counts]:
        """What became of the requests, by model, since we run."""
        return self._counts

    def run_ended(self, model: str, run: int) -> None:
        """A run has ended: its idle connections are closed."""
        self._upstreams.drop(model, run)

    def close(self) -> None:
        """Close all idle connections to models' servers, and write what the access log still holds."""
        self._upstreams.close()
        if self._captures is not None:
            self._captures.close()
        self.books.flush()

    async def answer(self, client: Client) -> None:
        """Answer one request."""
        began = time.monotonic()
        record = Record(method=client.method.decode("ascii"))
        logged = True
        anthropic = is_anthropic(client.path)
        try:
            head = RequestHead(client.headers)
            the_id = request_id(head.picked.get(b"x-request-id"))
            record.id = the_id.decode("ascii")
            if b"x-request-id" in head.picked:  # it may be anything, a key too
                record.id = redact(record.id)
            client.extra = b"x-request-id: %b\r\n" % the_id
            visitor = Visitor(client, head, self._configured, the_id)
            record.key = visitor.caller.name
            if self._configured.local_only:
                refuse_other_hosts(head)
            target = visitor.find()
            anthropic = target.anthropic
            record.path = target.text
            if target.kind is not Kind.DATA or client.method == b"OPTIONS":
                await self._answer_ourselves(visitor, target)
                return
            self._judge(visitor, target)
            asked = await visitor.ask(target)
            if self.trace is not None:
                asked.headers, record.trace, record.parent = self.trace(asked.headers)
            route = asked.route
            record.route, record.model = route.name, route.model
            record.stream, record.bytes_in = asked.stream, asked.size
            logged = route.logged
            limits = route.limits + visitor.caller.limits
            if limits:
                visit = await self._limiter.enter(limits, asked.key, visitor.address)
                await self._exchange(client, asked, visitor.configured.patience, record, began, visit)
            else:
                await self._exchange(client, asked, visitor.configured.patience, record, began, None)
        except Refuse as refuse:
            record.code = refuse.problem.code
            client.refuse(refuse.problem, anthropic=anthropic)
        except Exception:
            record.failed = "internal"
            client.status = 500  # what the client is told next
            raise
        finally:
            record.status = client.status or GONE
            record.bytes_out = client.bytes_sent
            record.duration_s = round(time.monotonic() - began, 4)
            if not client.response_complete and not record.failed:
                record.failed = "gone"
            self.books.enter(record, logged=logged)

    def _judge(self, visitor: Visitor, target: Target) -> None:
        """Who may ask, as far as it is known before the body. Raises ``Refuse``."""
        client, tables = visitor.client, visitor.configured.tables
        if target.route is not None:
            visitor.admit(target.route)
        else:  # the body decides; until then a page that any route takes may read our errors
            if tables.cors:
                client.extra += tables.cors.lines(visitor.origin)
            if visitor.configured.local_only and visitor.origin not in tables.cors:
                refuse_other_origins(visitor.origin, visitor.head.picked.get(b"sec-fetch-site"))
            if tables.all_guarded:
                visitor.must_be_known()
        if visitor.head.picked.get(b"upgrade", b"").lower() == b"websocket":
            client.keep_alive = False
            raise Refuse(_NO_WEBSOCKET)
        if client.method not in _METHODS:
            raise Refuse(_METHOD)

    async def _answer_ourselves(self, visitor: Visitor, target: Target) -> None:
        """What never reaches a model. Raises ``Refuse``."""
        client, tables, door = visitor.client, visitor.configured.tables, visitor.configured.door
        if target.kind is Kind.CONTROL:
            if visitor.configured.local_only:
                refuse_other_origins(visitor.origin, visitor.head.picked.get(b"sec-fetch-site"))
            rank = standing(client, target.path, visitor.head, door, visitor.caller)
            await client.run_control(self._control, {"standing": rank})
            return
        cors = target.route.cors if target.route is not None else tables.cors
        if visitor.origin in cors and origins.is_preflight(client):
            client.extra += cors.lines(visitor.origin)
            origins.preflight(client)
            return
        self._judge(visitor, target)
        if target.route is None:
            visitor.must_be_known()
        if client.method == b"OPTIONS":
            client.start(204, _ALLOW, None)
            client.finish()
        elif client.method in (b"GET", b"HEAD"):
            models_list.answer(client, target.model_id, tables, self._seats, visitor.caller.sees)
        else:
            raise Refuse(_METHOD)

    async def _exchange(
        self,
        client: Client,
        asked: Asked,
        patience: Patience,
        record: Record,
        began: float,
        visit: Visit | None,
    ) -> None:
        """Ask the model, and put what came of it into the books."""
        if visit is not None:
            client.extra += visit.headers
        metered = visit is not None and visit.counts_tokens
        capture = self._captured.get(asked.route.model) if self._captured else None
        if capture is not None:
            exchange: Exchange = capture.follow(client, asked, record.id)
        else:
            exchange = Metered(client, asked) if metered else Exchange(client, asked)
        try:
            await exchange.run(self._seats, self._upstreams, patience)
        finally:
            _note(exchange, record, began)
            if capture is not None:
                capture.finished(exchange)
            if visit is not None:
                visit.leave(_tokens(exchange, asked.size))
            self._account(exchange, client)

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


def _note(exchange: Exchange, record: Record, began: float) -> None:
    granted_at = exchange.granted_at
    record.waited_s = round((time.monotonic() if granted_at is None else granted_at) - began, 4)
    if exchange.first_byte_at is not None:
        record.first_byte_s = round(exchange.first_byte_at - began, 4)
    record.tokens_in, record.tokens_out = exchange.usage
    record.code = exchange.code
    if exchange.failure is not None:
        record.failed = "upstream"
    elif exchange.truncated:
        record.failed = "truncated"


def _tokens(exchange: Exchange, size: int) -> int:
    """Of both directions, for limits: told by the server, or estimated once it had the request."""
    tokens_in, tokens_out = exchange.usage
    if tokens_out is not None:
        return (tokens_in or 0) + tokens_out
    if not isinstance(exchange, Metered) or exchange.granted_at is None:
        return 0
    return usage.estimate(size, exchange.events)


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
