"""One request's way through the gateway, in order, from its header to the access log.

Access and policies have their places on this way: who may ask (once the route is known, before the body
is read; for a route that the body names, again after it), what may be asked (on the body), how often
(before the lease is asked for). The record is written after the response has ended.

A request whose body has arrived, for a model that is ready, goes all this way in one call, without a
task: callbacks relay the server's response. Only what must be waited for is a coroutine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from time import monotonic
from typing import Any

import msgspec

from hotseat.core.access_spec import AdminRole
from hotseat.gateway.access.admin import admin_role
from hotseat.gateway.access.authenticator import Principal
from hotseat.gateway.access.client_context import ClientContext, client_context
from hotseat.gateway.access.loopback import refuse_other_hosts
from hotseat.gateway.http.asgi import run_app
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.http.request_cycle import BodyTooLarge, RequestCycle
from hotseat.gateway.policy.body_budget import HeldBody
from hotseat.gateway.policy.body_worker import LIGHT_BYTES, is_light
from hotseat.gateway.policy.content_coding import decode
from hotseat.gateway.policy.cors import is_preflight, preflight
from hotseat.gateway.policy.query import without_credentials
from hotseat.gateway.policy.rate_limit import Limit, RateLimitGrant
from hotseat.gateway.proxy import model_list, websocket
from hotseat.gateway.proxy.access_log import CLIENT_CLOSED_REQUEST, RequestRecord
from hotseat.gateway.proxy.capture import Capture
from hotseat.gateway.proxy.captured_forward import CapturedForward
from hotseat.gateway.proxy.forward import Forward, MeteredForward
from hotseat.gateway.proxy.prepare import (
    PATH_NOT_ALLOWED,
    UpstreamRequest,
    prepare,
    prepare_in_worker,
    route_by_model,
)
from hotseat.gateway.proxy.progress import CHOICES, HEADER, ProgressText, text_for
from hotseat.gateway.proxy.progress_forward import ProgressForward
from hotseat.gateway.proxy.response_tail import estimate_tokens
from hotseat.gateway.proxy.services import GatewayServices
from hotseat.gateway.proxy.snapshot import ConfigSnapshot
from hotseat.gateway.routing import NOWHERE, Route, Target, TargetKind, is_anthropic

_log = logging.getLogger(__name__)

Pending = Coroutine[Any, Any, None]
"""What has to be waited for."""

_METHODS = frozenset({b"GET", b"POST", b"HEAD", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_ALLOW = b"allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"


class ProxiedRequest(msgspec.Struct, eq=False):
    """One request on its way. (A ``msgspec.Struct``, because that is constructed in C.)"""

    _services: GatewayServices
    _cycle: RequestCycle
    _snapshot: ConfigSnapshot
    _began_at: float
    """In ``time.monotonic``."""
    _logged: bool
    _record: RequestRecord = msgspec.field(default_factory=RequestRecord)
    _id_line: bytes = b""
    _ended: bool = False
    _pending: Pending | None = None
    """What the task waits for, where there is one."""
    _target: Target | None = None
    _context: ClientContext = None  # type: ignore[assignment]  # set by the first step
    _forward: Forward | None = None
    _grant: RateLimitGrant | None = None
    _capture: Capture | None = None
    _held: HeldBody | None = None
    """What the body takes of the budget for bodies, where it is large."""

    def begin(self) -> Pending | None:
        """Go as far as possible at once, and return what has to be waited for."""
        self._cycle.on_close = self.end
        try:
            pending = self._begin()
        except RequestRefused as refused:
            self._refuse(refused)
            self.end()
        except Exception:
            self._fail()
            self.end()
            raise
        else:
            if pending is not None:
                return self._guard(pending)
        return None

    def continue_in_task(self, pending: Pending) -> None:
        """Wait after all, in a task: the response failed, or the client has not taken it yet."""
        self._cycle.run_in_task(self._guard(pending))

    def _guard(self, pending: Pending) -> Pending:
        self._pending = pending
        return self._guarded(pending)

    async def _guarded(self, pending: Pending) -> None:
        try:
            await pending
        except RequestRefused as refused:
            self._refuse(refused)
        except Exception:
            self._fail()
            raise
        finally:
            self.end()

    def _refuse(self, refused: RequestRefused) -> None:
        record, target = self._record, self._target
        record.code = refused.problem.code
        if target is not None and target.route is not None and not record.route:
            record.route, record.model = target.route.name, target.route.model
            self._logged = target.route.policy.access_log
        anthropic = is_anthropic(self._cycle.path) if target is None else target.anthropic
        self._cycle.refuse(refused.problem, anthropic=anthropic)

    def _fail(self) -> None:
        self._record.failed = "internal"
        self._cycle.status = 500  # the cycle answers so once the exception reaches it

    # What others may read

    @property
    def record(self) -> RequestRecord:
        """The request's record as far as it is known; complete once the request has ended."""
        return self._record

    @property
    def forward(self) -> Forward | None:
        """The way to the model, while it is taken."""
        return self._forward

    @property
    def began_at(self) -> float:
        """Time of the request's begin, in ``time.monotonic``."""
        return self._began_at

    @property
    def method(self) -> str:
        """The request's method."""
        return self._cycle.method.decode("ascii")

    @property
    def bytes_out(self) -> int:
        """Bytes of the response's body that have been sent."""
        return self._cycle.bytes_sent

    # From the header on

    def _begin(self) -> Pending | None:
        cycle, snapshot, record = self._cycle, self._snapshot, self._record
        context = self._context = client_context(cycle, snapshot)
        request_id, record.id = context.new_id()
        self._id_line = cycle.extra_headers = b"x-request-id: %b\r\n" % request_id
        record.key = context.principal.name
        if snapshot.local_only:
            refuse_other_hosts(context.head)
        try:
            target = snapshot.routing.resolve(cycle.path)
        except RequestRefused:
            record.path = snapshot.routing.unknown_path(cycle.path)
            target = self._target_of_unknown_path()
        self._target = target
        if target is not NOWHERE:
            record.path = target.text
        if target.kind is not TargetKind.DATA or cycle.method == b"OPTIONS":
            return self._answer_locally(target)
        lines = context.allowed.get((cycle.method, target))
        if lines is None:
            self._authorize(target)
            if context.websocket:
                return self._open_websocket(target)
            cycle.connection.prove()
            context.remember(cycle.method, target, cycle.extra_headers[len(self._id_line) :])
        elif lines:
            cycle.extra_headers += lines
        if cycle.more_body or len(cycle.body) > LIGHT_BYTES or context.head.coding:
            self._check_length()
            return self._read_and_forward(target)
        limiter, principal = self._services.limiter, context.principal
        limits = principal.limits
        if target.route is not None:
            limits = target.route.limits + limits
        if limits:
            # Before the body is parsed, as far as the limits are known.
            if limiter.is_remote:
                return self._read_and_forward(target)
            if target.route is None:
                limiter.check_now(limits, principal.name, context.address)
            else:
                self._keep_grant(limiter.acquire(limits, principal.name, context.address))
        request = self._prepare(target, self._take_body())
        if self._grant is None and (limits := request.route.limits + principal.limits):
            if limiter.is_remote:
                return self._acquire_and_forward(request, limits)
            self._keep_grant(limiter.acquire(limits, request.key, context.address))
        return self._make_forward(request).begin()

    def _target_of_unknown_path(self) -> Target:
        """The target for a page's preflight request; for all else the refusal is raised again.

        Raises ``RequestRefused``: 404, or 401 and 403 for clients that may not learn which paths there are.
        """
        cycle, context, cors = self._cycle, self._context, self._snapshot.routing.cors
        if context.origin in cors:  # the page shall be able to read what is wrong
            if is_preflight(cycle):
                return NOWHERE
            cycle.extra_headers += cors.lines(context.origin)
        context.require_authenticated()
        raise

    def _authorize(self, target: Target) -> None:
        """Check who asks, as far as that is known before the body. Raises ``RequestRefused``."""
        cycle, context, route = self._cycle, self._context, target.route
        if route is not None:
            if route.cors:
                cycle.extra_headers = self._id_line + route.cors.lines(context.origin)
            context.authorize(route)
        else:  # the body decides; until then a page that any route allows may read the errors
            routing = self._snapshot.routing
            if routing.cors:
                cycle.extra_headers += routing.cors.lines(context.origin)
            if context.origin not in routing.cors:
                context.refuse_foreign_page()
            if routing.all_guarded:
                context.require_authenticated()
        if context.websocket and not target.takes_websockets:
            cycle.keep_alive = False
            raise RequestRefused(_NO_WEBSOCKET)
        if cycle.method not in _METHODS:
            raise RequestRefused(_METHOD_NOT_ALLOWED)

    def _check_length(self) -> None:
        """Raise ``RequestRefused`` (413) where the header says that the body is too large."""
        length, limit = self._cycle.length, self._snapshot.body_limit_bytes
        if length is not None and int(length) > limit:
            raise _body_too_large(limit)

    def _take_body(self) -> bytes:
        """The body, all of which has arrived. Raises ``RequestRefused`` (413)."""
        limit = self._snapshot.body_limit_bytes
        try:
            return self._cycle.take(limit)
        except BodyTooLarge:
            raise _body_too_large(limit) from None

    def _prepare(self, target: Target, content: bytes) -> UpstreamRequest:
        """The request for the model's server. Raises ``RequestRefused``."""
        return self._note(
            prepare(
                self._cycle,
                self._context,
                self._snapshot.routing,
                target,
                content,
                self._id_line,
                self._services,
            )
        )

    def _note(self, request: UpstreamRequest) -> UpstreamRequest:
        """Enter the request into the record and the trace."""
        record, route = self._record, request.route
        if self._services.trace is not None:
            request.headers, record.trace, record.parent = self._services.trace(request.headers)
        record.route, record.model = route.name, route.model
        record.server_id = request.server_id
        record.stream, record.bytes_in = request.stream, request.size
        if request.asked:
            record.asked = request.asked
        self._logged = route.policy.access_log
        return request

    def _keep_grant(self, grant: RateLimitGrant) -> None:
        self._grant = grant
        self._cycle.extra_headers += grant.headers

    def _make_forward(self, request: UpstreamRequest) -> Forward:
        services, cycle, grant = self._services, self._cycle, self._grant
        capture = services.captures.get(request.route.model) if services.captures else None
        forward: Forward
        if capture is not None:
            self._capture = capture
            forward = captured = CapturedForward(self, cycle, request, services, self._snapshot)
            captured.begin_capture(capture, self._record.id)
        elif request.events and (told := self._progress(request)) is not None:
            forward = shown = ProgressForward(self, cycle, request, services, self._snapshot)
            shown.begin_progress(told)
        elif grant is not None and grant.counts_tokens:
            forward = MeteredForward(self, cycle, request, services, self._snapshot)
        else:
            forward = Forward(self, cycle, request, services, self._snapshot)
        self._forward = forward
        return forward

    def _open_websocket(self, target: Target) -> Pending:
        """Return what has to be waited for until a WebSocket has ended. Raises ``RequestRefused``."""
        cycle, context, snapshot, record = self._cycle, self._context, self._snapshot, self._record
        picked, principal = context.head.picked, context.principal
        cycle.keep_alive = False
        if cycle.method != b"GET" or cycle.more_body or cycle.body or not picked.get(b"sec-websocket-key"):
            raise RequestRefused(_NO_HANDSHAKE)
        route, query = target.route, cycle.query
        model = websocket.model_in_query(query)
        if route is None:
            route, record.asked = route_by_model(cycle, context, snapshot.routing, model, self._id_line)
        if (target.special and not route.allows(target.path)) or (route.rules and route.rules.bounds):
            raise RequestRefused(PATH_NOT_ALLOWED)
        context.refuse_foreign_websocket(route)
        cycle.connection.prove()
        if model is not None and (name := route.rename(model)) is not None:
            query = websocket.with_model(query, name)
        protocols = websocket.protocols_to_pass(picked.get(b"sec-websocket-protocol", b""))
        headers = b"%b%bconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: %b\r\n%b" % (
            context.head.passed,
            self._id_line,
            picked[b"sec-websocket-key"],
            b"sec-websocket-protocol: %b\r\n" % protocols if protocols else b"",
        )
        record.route, record.model, record.stream = route.name, route.model, True
        self._logged = route.policy.access_log
        return self._serve_websocket(
            route, target.path + without_credentials(query), headers, route.priority + principal.priority
        )

    async def _serve_websocket(self, route: Route, target: bytes, headers: bytes, priority: int) -> None:
        context = self._context
        limits = route.limits + context.principal.limits
        if limits:
            limiter, key = self._services.limiter, context.principal.name
            self._keep_grant(await limiter.acquire_async(limits, key, context.address))
        await websocket.serve(
            self._cycle,
            self._services,
            route,
            priority=priority,
            key=context.principal.name,
            target=target,
            headers=headers,
            began_at=self._began_at,
            record=self._record,
        )

    def _progress(self, request: UpstreamRequest) -> ProgressText | None:
        """The text that the client is told progress in: by the header, else the route, else the key."""
        wished = self._context.head.picked.get(HEADER)
        kind = request.route.policy.progress or self._context.principal.progress
        if wished is not None:
            kind = CHOICES.get(wished.strip().lower(), kind)
        return text_for(request.target, request.route.name, kind) if kind is not None else None

    # What has to be waited for

    async def _read_and_forward(self, target: Target) -> None:
        """Serve a request whose body is large, or has not arrived: limits first, then the body."""
        context, route = self._context, target.route
        limiter, principal = self._services.limiter, context.principal
        if route is None:
            await limiter.check(principal.limits, principal.name, context.address)
        else:
            await self._acquire(route.limits + principal.limits)
        request = await self._receive(target)  # held nowhere else: it may be large
        if route is None:
            await self._acquire(request.route.limits + principal.limits)
        await self._make_forward(request).run()

    async def _receive(self, target: Target) -> UpstreamRequest:
        """Wait for the body within the budget for bodies, and make the request for the model's server."""
        services, cycle, context, limit = (
            self._services,
            self._cycle,
            self._context,
            self._snapshot.body_limit_bytes,
        )
        client = context.principal.name or f" {context.address()}"
        held = self._held = services.bodies.hold(client, cycle.connection.message_event.set)
        try:
            content = await cycle.read(limit, held.grow)
        except BodyTooLarge:
            raise _body_too_large(limit) from None
        held.is_complete = True
        if context.head.coding:  # in a thread: Python's lock is not held meanwhile
            loop, coding = asyncio.get_running_loop(), context.head.coding
            content = await loop.run_in_executor(None, decode, content, coding, limit)
            held.grow(len(content))
        if is_light(content, context.head):
            request = self._prepare(target, content)
        else:
            routing, id_line = self._snapshot.routing, self._id_line
            request = self._note(
                await prepare_in_worker(cycle, context, routing, target, content, id_line, services)
            )
        request.held = held
        return request

    async def _acquire(self, limits: tuple[Limit, ...]) -> None:
        if limits:
            limiter, context = self._services.limiter, self._context
            self._keep_grant(await limiter.acquire_async(limits, context.principal.name, context.address))

    async def _acquire_and_forward(self, request: UpstreamRequest, limits: tuple[Limit, ...]) -> None:
        await self._acquire(limits)
        await self._make_forward(request).run()

    # What never reaches a model

    def _answer_locally(self, target: Target) -> Pending | None:
        """Answer hotseat's own paths, the list of models and OPTIONS. Raises ``RequestRefused``."""
        cycle, context, snapshot = self._cycle, self._context, self._snapshot
        routing, origin = snapshot.routing, context.origin
        if target.kind is TargetKind.CONTROL:
            context.refuse_foreign_page()
            role = admin_role(cycle, target.path, context.head, snapshot.authenticator, context.principal)
            if role is not AdminRole.ANONYMOUS:
                cycle.connection.prove()
            return run_app(self._services.control, cycle, _who_asks(role, context.principal))
        cors = target.route.cors if target.route is not None else routing.cors
        if origin in cors and is_preflight(cycle):
            cycle.extra_headers += cors.lines(origin)
            preflight(cycle)
            self.end()
            return None
        self._authorize(target)
        if target.route is None:
            context.require_authenticated()
        if cycle.method == b"OPTIONS":
            cycle.start(204, _ALLOW, None)
            cycle.finish()
        elif cycle.method in (b"GET", b"HEAD"):
            model_list.answer(
                cycle, target.model_id, routing, self._services.leases, context.principal.may_use
            )
        else:
            raise RequestRefused(_METHOD_NOT_ALLOWED)
        self.end()
        return None

    # The end

    def end(self) -> None:
        """Release everything that the request holds, and write its record. May be repeated."""
        if self._ended:
            return
        self._ended = True
        self._cycle.on_close = None
        if self._held is not None:
            self._held.release()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.close()  # a task that was cancelled before it began has not touched it
        try:
            self._settle()
            self._forward = None  # breaks a reference cycle
        except Exception:  # often called from a parser, which would take it for an error in what it parses
            _log.exception("the record of a request could not be written")

    def _settle(self) -> None:
        cycle, forward, grant, record, now = (
            self._cycle,
            self._forward,
            self._grant,
            self._record,
            monotonic(),
        )
        began_at = self._began_at
        if forward is not None:
            forward.close()
            granted_at = forward.granted_at
            record.waited_s = round((now if granted_at is None else granted_at) - began_at, 4)
            if forward.first_byte_at is not None:
                record.first_byte_s = round(forward.first_byte_at - began_at, 4)
            record.tokens_in, record.tokens_out = forward.usage
            if forward.code:
                record.code = forward.code
            if forward.failure is not None:
                record.failed = "upstream"
            elif forward.truncated:
                record.failed = "truncated"
            if self._capture is not None:
                assert isinstance(forward, CapturedForward)
                self._capture.finish(forward)
        if grant is not None:
            grant.release(0 if forward is None else _tokens(forward, record.bytes_in))
        record.method = cycle.method.decode("ascii")
        record.status = cycle.status or CLIENT_CLOSED_REQUEST
        record.bytes_out = cycle.bytes_sent
        record.duration_s = round(now - began_at, 4)
        if not cycle.response_complete and not record.failed:
            record.failed = "gone"
        self._services.access_log.enter(record, logged=self._logged)


def _tokens(forward: Forward, request_bytes: int) -> int:
    """Tokens of both directions, for limits: as the server reported, or estimated once it had the request."""
    tokens_in, tokens_out = forward.usage
    if tokens_out is not None:
        return (tokens_in or 0) + tokens_out
    if not isinstance(forward, MeteredForward) or forward.granted_at is None:
        return 0
    return estimate_tokens(request_bytes, forward.events)


def _who_asks(role: AdminRole, principal: Principal) -> dict[str, Any]:
    """Description of the client for hotseat's own pages."""
    problem = principal.problem
    return {
        "admin_role": role,
        "key": principal.name,
        "credential": principal.credential,
        "session": principal.session,
        "problem": None if problem is None else (problem.code, problem.message),
    }


def _body_too_large(limit: int) -> RequestRefused:
    return RequestRefused(
        ErrorResponse(
            status=413,
            code="body_too_large",
            message=f"the body is larger than {limit} bytes (body_limit)",
            should_retry=False,
        )
    )


_NO_HANDSHAKE = ErrorResponse(
    status=400,
    code="invalid_handshake",
    message="this is not the handshake of a WebSocket: GET without a body, with Sec-WebSocket-Key",
    should_retry=False,
)
_NO_WEBSOCKET = ErrorResponse(
    status=501,
    code="websocket_not_supported",
    message="there is no WebSocket here, only at /v1/realtime and where a model's allow_paths say so: use "
    "the HTTP API with stream: true",
    should_retry=False,
)
_METHOD_NOT_ALLOWED = ErrorResponse(
    status=405,
    code="method_not_allowed",
    message="this method is not allowed here",
    should_retry=False,
    headers=((b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),),
)
