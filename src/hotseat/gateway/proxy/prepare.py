"""Turns what a client sent into what the model's server gets: the route found, its policy applied."""

from __future__ import annotations

import msgspec

from hotseat.core.states import State
from hotseat.gateway.access.client_context import ClientContext
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused, not_found
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.policy import body
from hotseat.gateway.policy.query import without_credentials
from hotseat.gateway.proxy.services import GatewayServices
from hotseat.gateway.routing import Route, RoutingTable, Target
from hotseat.logs import redact


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


def prepare(
    cycle: RequestCycle,
    context: ClientContext,
    routing: RoutingTable,
    target: Target,
    content: bytes,
    id_line: bytes,
    services: GatewayServices,
    body_limit: int,
) -> UpstreamRequest:
    """Make the request for the model's server. Raises ``RequestRefused``.

    ``id_line``: the header line with the request's id, for the client and for the server.
    """
    head, principal = context.head, context.principal
    parsed = body.read(content, head, body_limit, any_type=target.any_type)
    size = len(parsed.content)
    method, query = cycle.method, cycle.query
    route, asked = target.route, ""
    is_work = method == b"POST" and (target.is_work or bool(parsed.model))
    if route is None:
        if is_work or parsed.model:
            # An empty name names none; the server still gets its own name in its place.
            route, asked = route_by_model(cycle, context, routing, parsed.model or None, id_line)
        else:
            route = _route_of_ready(context, routing, target, services)
            _open(cycle, context, route, id_line)
    if target.special and not route.allows(target.path):
        raise RequestRefused(PATH_NOT_ALLOWED)
    name = route.rename(parsed.model)
    if route.rules is not None:
        parsed.rewrite(route.rules, target.path, name)
    elif name is not None and size:
        parsed.rename(name)
    return UpstreamRequest(
        route,
        method,
        target.path + without_credentials(query) if query else target.path,
        head.passed + (_IDENTITY if parsed.stream else head.accept_encoding) + id_line,
        parsed.content,
        size,
        parsed.stream and method != b"HEAD",
        target.anthropic,
        parsed.is_exact_stream and target.events and method == b"POST",
        target.responses,
        method == b"POST" and target.makes_ids,
        is_work,
        asked,
        route.priority + principal.priority,
        principal.name,
    )


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
