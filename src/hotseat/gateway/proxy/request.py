"""A request's way through the gateway, in order, from its header to the books.

Policies have their places on this path: who may ask (after the route is known and before the body
is read; a route that the body names is judged again after it), what may be asked (on the body), how
often (before the seat is asked for), and the books (after the response has ended).

A request whose body is here, for a model that is ready, goes all this way in one call, with no task:
the server's answer does the rest. Only what must be waited for is a coroutine.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import Any, Protocol

import msgspec

from hotseat.gateway.access.admin import admin_role
from hotseat.gateway.access.client_context import ClientContext, ConfigSnapshot, client_context
from hotseat.gateway.access.loopback import refuse_other_hosts
from hotseat.gateway.http.asgi import ASGIApp, run_app
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.http.request_cycle import BodyTooLarge, RequestCycle
from hotseat.gateway.policy.cors import is_preflight, preflight
from hotseat.gateway.policy.rate_limit import Limit, Limiter, RateLimitGrant
from hotseat.gateway.proxy import model_list, usage
from hotseat.gateway.proxy.access_log import GONE, AccessLog, RequestRecord
from hotseat.gateway.proxy.capture import Capture
from hotseat.gateway.proxy.forward import Forward, ForwardServices, MeteredForward
from hotseat.gateway.proxy.prepare import UpstreamRequest, prepare
from hotseat.gateway.routing import NOWHERE, Target, TargetKind, is_anthropic

_log = logging.getLogger(__name__)

Rest = Coroutine[Any, Any, None]
"""What has to be waited for."""
Trace = Callable[[bytes], tuple[bytes, str, str]]
"""A request's header lines in; out come those for the model's server, its span, and the caller's."""

_METHODS = frozenset({b"GET", b"POST", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_ALLOW = b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"


class GatewayServices(Protocol):
    """What all passages share (``gateway.gateway.Gateway``)."""

    configured: ConfigSnapshot
    means: ForwardServices
    limiter: Limiter
    books: AccessLog
    control: ASGIApp
    captured: Mapping[str, Capture]
    trace: Trace | None


class ProxiedRequest(msgspec.Struct, eq=False):
    """One request on its way. (A struct, since that is made in C.)"""

    _house: GatewayServices
    _client: RequestCycle
    _configured: ConfigSnapshot
    _began: float
    """In ``time.monotonic``."""
    _logged: bool
    _record: RequestRecord = msgspec.field(default_factory=RequestRecord)
    _id_line: bytes = b""
    _over: bool = False
    _rest: Rest | None = None
    """What the task waits for, where there is one."""
    _target: Target | None = None
    _sender: ClientContext = None  # type: ignore[assignment]  # known from the first step on
    _exchange: Forward | None = None
    _visit: RateLimitGrant | None = None
    _capture: Capture | None = None

    def begin(self) -> Rest | None:
        """Go as far as can be gone at once; what must be waited for is returned."""
        self._client.on_close = self.end
        try:
            rest = self._begin()
        except RequestRefused as refuse:
            self._refuse(refuse)
            self.end()
        except Exception:
            self._failed()
            self.end()
            raise
        else:
            if rest is not None:
                return self._watch(rest)
        return None

    def go_on(self, rest: Rest) -> None:
        """Wait after all, in a task, for what the exchange found out."""
        self._client.run_in_task(self._watch(rest))

    def _watch(self, rest: Rest) -> Rest:
        self._rest = rest
        return self._watched(rest)

    async def _watched(self, rest: Rest) -> None:
        try:
            await rest
        except RequestRefused as refuse:
            self._refuse(refuse)
        except Exception:
            self._failed()
            raise
        finally:
            self.end()

    def _refuse(self, refuse: RequestRefused) -> None:
        self._record.code = refuse.problem.code
        target = self._target
        anthropic = is_anthropic(self._client.path) if target is None else target.anthropic
        self._client.refuse(refuse.problem, anthropic=anthropic)

    def _failed(self) -> None:
        self._record.failed = "internal"
        self._client.status = 500  # what the client is told next

    # from the header on

    def _begin(self) -> Rest | None:
        client, configured, record = self._client, self._configured, self._record
        sender = self._sender = client_context(client, configured)
        the_id, record.id = sender.new_id()
        self._id_line = client.extra_headers = b"x-request-id: %b\r\n" % the_id
        record.key = sender.caller.name
        if configured.local_only:
            refuse_other_hosts(sender.head)
        try:
            target = configured.tables.resolve(client.path)
        except RequestRefused:
            target = self._nowhere()
        self._target = target
        record.path = target.text
        if target.kind is not TargetKind.DATA or client.method == b"OPTIONS":
            return self._answer_ourselves(target)
        lines = sender.judged.get((client.method, target))
        if lines is None:
            self._judge(target)
            sender.remember(client.method, target, client.extra_headers[len(self._id_line) :])
        elif lines:
            client.extra_headers += lines
        if client.more_body:
            self._look_at_length()
            return self._read_first(target)
        asked = self._ask(target, self._body())
        limits = asked.route.limits + sender.caller.limits
        if limits:
            limiter = self._house.limiter
            if limiter.waits:
                return self._enter_first(asked, limits)
            self._enter(limiter.enter(limits, asked.key, sender.address))
        return self._exchange_for(asked).begin()

    def _nowhere(self) -> Target:
        """For a path that leads nowhere: answers a page that may ask somewhere here.

        Raises ``RequestRefused``.
        """
        client, sender, tables = self._client, self._sender, self._configured.tables
        if sender.origin in tables.cors:  # it is to read what is wrong
            if is_preflight(client):
                return NOWHERE
            client.extra_headers += tables.cors.lines(sender.origin)
        sender.must_be_known()  # strangers do not learn which paths there are
        raise

    def _judge(self, target: Target) -> None:
        """Who may ask, as far as it is known before the body. Raises ``RequestRefused``."""
        client, sender, route = self._client, self._sender, target.route
        if route is not None:
            if route.cors:
                client.extra_headers = self._id_line + route.cors.lines(sender.origin)
            sender.admit(route)
        else:  # the body decides; until then a page that any route takes may read our errors
            tables = self._configured.tables
            if tables.cors:
                client.extra_headers += tables.cors.lines(sender.origin)
            if sender.origin not in tables.cors:
                sender.refuse_foreign_page()
            if tables.all_guarded:
                sender.must_be_known()
        if sender.websocket:
            client.keep_alive = False
            raise RequestRefused(_NO_WEBSOCKET)
        if client.method not in _METHODS:
            raise RequestRefused(_METHOD)

    def _look_at_length(self) -> None:
        """Raise ``RequestRefused`` (413) where the header says that the body is too large."""
        length, limit = self._client.length, self._configured.body_limit_bytes
        if length is not None and int(length) > limit:
            raise _too_large(limit)

    def _body(self) -> bytes:
        """The body, all of which is here. Raises ``RequestRefused`` (413)."""
        limit = self._configured.body_limit_bytes
        try:
            return self._client.take(limit)
        except BodyTooLarge:
            raise _too_large(limit) from None

    def _ask(self, target: Target, content: bytes) -> UpstreamRequest:
        """What is asked of the model's server. Raises ``RequestRefused``."""
        asked = prepare(self._client, self._sender, target, content, self._id_line)
        record, route = self._record, asked.route
        if self._house.trace is not None:
            asked.headers, record.trace, record.parent = self._house.trace(asked.headers)
        record.route, record.model = route.name, route.model
        record.stream, record.bytes_in = asked.stream, asked.size
        self._logged = route.logged
        return asked

    def _enter(self, visit: RateLimitGrant) -> None:
        self._visit = visit
        self._client.extra_headers += visit.headers

    def _exchange_for(self, asked: UpstreamRequest) -> Forward:
        house, visit, client = self._house, self._visit, self._client
        capture = house.captured.get(asked.route.model) if house.captured else None
        exchange: Forward
        if capture is not None:
            self._capture = capture
            exchange = capture.follow(self, client, asked, house.means, self._record.id)
        elif visit is not None and visit.counts_tokens:
            exchange = MeteredForward(self, client, asked, house.means)
        else:
            exchange = Forward(self, client, asked, house.means)
        self._exchange = exchange
        return exchange

    # what has to be waited for

    async def _read_first(self, target: Target) -> None:
        asked = self._ask(target, await self._read())  # kept nowhere else: it may be large
        await self._enter_first(asked, asked.route.limits + self._sender.caller.limits)

    async def _read(self) -> bytes:
        limit = self._configured.body_limit_bytes
        try:
            return await self._client.read(limit)
        except BodyTooLarge:
            raise _too_large(limit) from None

    async def _enter_first(self, asked: UpstreamRequest, limits: tuple[Limit, ...]) -> None:
        if limits:
            visit = await self._house.limiter.enter_later(limits, asked.key, self._sender.address)
            self._enter(visit)
        await self._exchange_for(asked).run()

    # what never reaches a model

    def _answer_ourselves(self, target: Target) -> Rest | None:
        """Raises ``RequestRefused``."""
        client, sender, configured = self._client, self._sender, self._configured
        tables, origin = configured.tables, sender.origin
        if target.kind is TargetKind.CONTROL:
            sender.refuse_foreign_page()
            rank = admin_role(client, target.path, sender.head, configured.door, sender.caller)
            return run_app(self._house.control, client, {"standing": rank})
        cors = target.route.cors if target.route is not None else tables.cors
        if origin in cors and is_preflight(client):
            client.extra_headers += cors.lines(origin)
            preflight(client)
            self.end()
            return None
        self._judge(target)
        if target.route is None:
            sender.must_be_known()
        if client.method == b"OPTIONS":
            client.start(204, _ALLOW, None)
            client.finish()
        elif client.method in (b"GET", b"HEAD"):
            model_list.answer(client, target.model_id, tables, self._house.means.seats, sender.caller.sees)
        else:
            raise RequestRefused(_METHOD)
        self.end()
        return None

    # the books

    def end(self) -> None:
        """It has ended in some way: let go of what it holds, and write it down. Repeats are harmless."""
        if self._over:
            return
        self._over = True
        self._client.on_close = None
        rest, self._rest = self._rest, None
        if rest is not None:
            rest.close()  # a task that was cancelled before it began has not touched it
        try:
            self._settle()
            self._exchange = None  # it knows us, too
        except Exception:  # often called from a parser, which would take it for an error of what it parses
            _log.exception("the books of a request could not be kept")

    def _settle(self) -> None:
        client, exchange, visit, record, now = (
            self._client,
            self._exchange,
            self._visit,
            self._record,
            monotonic(),
        )
        began = self._began
        if exchange is not None:
            exchange.close()
            granted_at = exchange.granted_at
            record.waited_s = round((now if granted_at is None else granted_at) - began, 4)
            if exchange.first_byte_at is not None:
                record.first_byte_s = round(exchange.first_byte_at - began, 4)
            record.tokens_in, record.tokens_out = exchange.usage
            if exchange.code:
                record.code = exchange.code
            if exchange.failure is not None:
                record.failed = "upstream"
            elif exchange.truncated:
                record.failed = "truncated"
            if self._capture is not None:
                self._capture.finished(exchange)
        if visit is not None:
            visit.leave(0 if exchange is None else _tokens(exchange, record.bytes_in))
        record.method = client.method.decode("ascii")
        record.status = client.status or GONE
        record.bytes_out = client.bytes_sent
        record.duration_s = round(now - began, 4)
        if not client.response_complete and not record.failed:
            record.failed = "gone"
        self._house.books.enter(record, logged=self._logged)


def _tokens(exchange: Forward, size: int) -> int:
    """Of both directions, for limits: told by the server, or estimated once it had the request."""
    tokens_in, tokens_out = exchange.usage
    if tokens_out is not None:
        return (tokens_in or 0) + tokens_out
    if not isinstance(exchange, MeteredForward) or exchange.granted_at is None:
        return 0
    return usage.estimate(size, exchange.events)


def _too_large(limit: int) -> RequestRefused:
    return RequestRefused(
        ErrorResponse(
            status=413,
            code="body_too_large",
            message=f"the body is larger than {limit} bytes (body_limit)",
            should_retry=False,
        )
    )


_NO_WEBSOCKET = ErrorResponse(
    status=501,
    code="websocket_not_supported",
    message="WebSockets are not passed through: use the HTTP API with stream: true",
    should_retry=False,
)
_METHOD = ErrorResponse(
    status=405,
    code="method_not_allowed",
    message="this method is not served here",
    should_retry=False,
    headers=((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),),
)
