"""Turns what a client sent into what the model's server gets: the route found, its policy applied."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hotseat.core.states import State
from hotseat.gateway.access.client_context import ClientContext
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused, not_found
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.http.request_id import new_request_id
from hotseat.gateway.policy import body
from hotseat.gateway.policy.body_budget import HeldBody
from hotseat.gateway.policy.body_worker import InspectedBody
from hotseat.gateway.policy.query import without_credentials
from hotseat.gateway.policy.request_body import OpaqueBody, RequestBody
from hotseat.gateway.proxy.services import GatewayServices
from hotseat.gateway.routing import Route, RoutingTable, Target
from hotseat.logs import redact

CURRENT = "current"
"""The ``model`` that stands for whatever is loaded, unless a model has that name. Evicts nobody."""


class UpstreamRequest(msgspec.Struct, eq=False, gc=False):
    """A request for a model's server, ready to be sent."""

    route: Route
    method: bytes
    target: bytes
    """Path and query at the server."""
    headers: bytes
    """Header lines to pass on, each with its line end."""
    content: bytes
    """The body; emptied once the server has answered."""
    size: int
    """Of the body as the client meant it (decompressed, before the policy), in bytes."""
    stream: bool
    anthropic: bool
    """Errors have Anthropic's shape, not OpenAI's."""
    events: bool = False
    """The response will be an event stream, unless it is an error: so its headers may go out early."""
    responses: bool = False
    """The stream's events are those of ``/v1/responses``."""
    makes_ids: bool = False
    """The response describes an object that can be asked for by its id."""
    is_work: bool = True
    """The request asks the model for work: it may start it. All others reach ready models only."""
    asked: str = ""
    """The model that the client named, where it is unknown and the default model serves in its place."""
    priority: int = 0
    key: str = ""
    """The name of the client's key; requests of one model are served fairly by key."""
    endpoint: str = ""
    """The API's path, by which clients' patience is learned; empty: it is not."""
    may_evict: bool = True
    """Whether another model may be evicted for it."""
    server_id: str = ""
    """The request's id at the server, where it is not the one that the client sent."""
    held: HeldBody | None = None
    """What the body takes of the budget for bodies; released once the server has answered."""


def prepare(
    cycle: RequestCycle,
    context: ClientContext,
    routing: RoutingTable,
    target: Target,
    content: bytes,
    id_line: bytes,
    services: GatewayServices,
) -> UpstreamRequest:
    """Make the request for the model's server. Raises ``RequestRefused``.

    ``id_line``: the header line with the request's id, for the client and for the server.
    """
    parsed = body.read(content, context.head, any_type=target.any_type)
    found = _route_of(cycle, context, routing, target, parsed.model, id_line, services)
    route = found.route
    name = route.rename(parsed.model)
    if route.rules is not None:
        parsed.rewrite(route.rules, target.path, name)
    elif name is not None and content:
        parsed.rename(name)
    return _request(cycle, context, found, target, parsed, parsed.content, len(content), id_line)


async def prepare_in_worker(
    cycle: RequestCycle,
    context: ClientContext,
    routing: RoutingTable,
    target: Target,
    content: bytes,
    id_line: bytes,
    services: GatewayServices,
) -> UpstreamRequest:
    """Do the same with a body that takes long to read, in another process. Raises ``RequestRefused``."""
    size = len(content)
    if target.any_type and body.may_be_opaque(context.head):
        opaque = OpaqueBody(content)  # nothing of it is read
        found = _route_of(cycle, context, routing, target, None, id_line, services)
        if found.route.rules is not None:
            opaque.rewrite(found.route.rules, target.path, None)
        return _request(cycle, context, found, target, opaque, content, size, id_line)
    content = body.without_bom(content)
    async with services.body_worker.inspect(content, context.head) as parsed:
        found = _route_of(cycle, context, routing, target, parsed.model, id_line, services)
        route = found.route
        name = route.rename(parsed.model)
        if route.rules is not None or name is not None:
            policy = None if route.rules is None else route.policy
            content = await parsed.rewrite(policy, target.path, name) or content
    return _request(cycle, context, found, target, parsed, content, size, id_line)


class _Found(msgspec.Struct, eq=False, gc=False):
    """The route of a request, and how it was found."""

    route: Route
    asked: str
    """The unknown name that was asked for."""
    is_work: bool
    is_current: bool
    """Whether the client asked for whatever is loaded."""


def _route_of(
    cycle: RequestCycle,
    context: ClientContext,
    routing: RoutingTable,
    target: Target,
    model: str | None,
    id_line: bytes,
    services: GatewayServices,
) -> _Found:
    """Find the route of a request whose body has been read. Raises ``RequestRefused``."""
    route, asked = target.route, ""
    is_post = cycle.method == b"POST"
    is_work = target.is_work or bool(model) if is_post else target.is_start_check
    is_current = False
    if route is None:
        model = model or None  # an empty name names none
        if is_work or model is not None:
            is_current = model == CURRENT and routing.find(CURRENT) is None
            if is_current:
                model = _loaded(context, routing, services.leases.loaded(), target.path)
            route, asked = route_by_model(cycle, context, routing, model, id_line)
        else:
            route = _route_of_ready(context, routing, target, services)
            _open(cycle, context, route, id_line)
    if target.special and not route.allows(target.path):
        raise RequestRefused(PATH_NOT_ALLOWED)
    return _Found(route, asked, is_work, is_current)


def _request(
    cycle: RequestCycle,
    context: ClientContext,
    found: _Found,
    target: Target,
    parsed: RequestBody | InspectedBody,
    content: bytes,
    size: int,
    id_line: bytes,
) -> UpstreamRequest:
    head, method, query, principal = context.head, cycle.method, cycle.query, context.principal
    route, server_id = found.route, ""
    if context.sent_id is not None and context.sent_id in id_line:  # it was kept
        server_id = new_request_id()
        id_line = b"x-request-id: %b\r\n" % server_id.encode("ascii")
    return UpstreamRequest(
        route,
        method,
        target.path + without_credentials(query) if query else target.path,
        head.passed + (_IDENTITY if parsed.stream else head.accept_encoding) + id_line,
        content,
        size,
        parsed.stream and method != b"HEAD",
        target.anthropic,
        parsed.is_exact_stream and target.events and method == b"POST",
        target.responses,
        method == b"POST" and target.makes_ids,
        found.is_work,
        found.asked,
        route.priority + principal.priority,
        principal.name,
        # With ``max_hold`` it is hotseat that gives up, and the client comes again.
        target.text if route.policy.max_hold_s is None or parsed.stream else "",
        route.policy.may_evict
        and not found.is_current
        and head.picked.get(b"x-hotseat-may-evict") != b"false",
        server_id,
    )


def _loaded(context: ClientContext, routing: RoutingTable, models: Sequence[str], path: bytes) -> str | None:
    """The name of the route to a loaded model that the client may use; ``None``: there is none."""
    for model in models:
        for route in routing.routes:
            if route.model == model and context.principal.may_use(route) and route.may_serve(path):
                return route.name
    return None


def route_by_model(
    cycle: RequestCycle, context: ClientContext, routing: RoutingTable, model: str | None, id_line: bytes
) -> tuple[Route, str]:
    """The route that the body names; and the name, where it is unknown and the default route is taken.

    Raises ``RequestRefused`` (401, 403, 404).
    """
    try:
        route = routing.named(model)
    except RequestRefused:
        context.require_authenticated()
        raise
    _open(cycle, context, route, id_line)
    if not model or routing.find(model) is not None:
        return route, ""
    cycle.extra_headers += b"x-hotseat-default: %b\r\n" % route.name.encode()
    return route, redact(model)[:_MAX_ASKED]


def _route_of_ready(
    context: ClientContext, routing: RoutingTable, target: Target, services: GatewayServices
) -> Route:
    """The route for a request that asks no model for work: to the model that made what the path names, else
    to one that is ready.

    Raises ``RequestRefused`` (401, 403, 404).
    """
    usable = [
        route
        for route in routing.routes
        if context.principal.may_use(route) and (not target.special or route.allows(target.path))
    ]
    if not usable:
        context.require_authenticated()
    leases, default = services.leases, routing.default
    maker = services.made_ids.model_of(target.path)
    if maker is not None:
        made = [route for route in usable if route.model == maker]
        if made and leases.state(maker) == State.READY:
            return made[0]
        raise not_found(
            f"this was made by {maker}, which is not loaded any more" if made else "no such object"
        )
    ready = [route for route in usable if leases.state(route.model) == State.READY]
    if default in ready:
        return default
    if len(ready) == 1 or (ready and default is not None):
        return ready[0]
    raise not_found(
        "several models are loaded: put a model's prefix before the path"
        if ready
        else "no model is loaded that could answer, and this request starts none: a POST request that asks a "
        "model for work does"
    )


def _open(cycle: RequestCycle, context: ClientContext, route: Route, id_line: bytes) -> None:
    """Take this route, now that it is known. Raises ``RequestRefused`` (401, 403)."""
    cycle.extra_headers = id_line + route.cors.lines(context.origin)
    context.authorize(route)


_MAX_ASKED = 100
_IDENTITY = b"accept-encoding: identity\r\n"
"""Sent with requests for streams: nothing can be added between events that are compressed."""

PATH_NOT_ALLOWED = ErrorResponse(
    status=404,
    code="not_found",
    message="no such path for this model",
    should_retry=False,
)
