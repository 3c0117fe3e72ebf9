"""Turns what a client sent into what the model's server gets: the route found, its policy applied."""

from __future__ import annotations

import msgspec

from hotseat.gateway.access.client_context import ClientContext
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.policy import body
from hotseat.gateway.policy.query import without_credentials
from hotseat.gateway.routing import Route, RoutingTable, Target


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
    """Of the body as the client sent it, in bytes."""
    stream: bool
    anthropic: bool
    """Errors have Anthropic's shape, not OpenAI's."""
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
) -> UpstreamRequest:
    """Make the request for the model's server. Raises ``RequestRefused``.

    ``id_line``: the header line with the request's id, for the client and for the server.
    """
    head, principal = context.head, context.principal
    parsed = body.read(content, head)
    method, query = cycle.method, cycle.query
    route = target.route
    if route is None:
        route = _route_by_model(cycle, context, routing, parsed.model, id_line)
    if target.special and not route.allows(target.path):
        raise RequestRefused(_PATH_NOT_ALLOWED)
    name = route.rename(parsed.model)
    if route.rules is not None:
        parsed.rewrite(route.rules, target.path, name)
    elif name is not None and content:
        parsed.rename(name)
    return UpstreamRequest(
        route,
        method,
        target.path + without_credentials(query) if query else target.path,
        head.passed + id_line,
        parsed.content,
        len(content),
        parsed.stream and method != b"HEAD",
        target.anthropic,
        route.priority + principal.priority,
        principal.name,
    )


def _route_by_model(
    cycle: RequestCycle, context: ClientContext, routing: RoutingTable, model: str | None, id_line: bytes
) -> Route:
    """The route that the body names. Raises ``RequestRefused`` (401, 403, 404)."""
    try:
        route = routing.named(model)
    except RequestRefused:
        context.require_authenticated()
        raise
    cycle.extra_headers = id_line + route.cors.lines(context.origin)
    context.authorize(route)
    return route


_PATH_NOT_ALLOWED = ErrorResponse(
    status=404,
    code="not_found",
    message="no such path for this model",
    should_retry=False,
)
