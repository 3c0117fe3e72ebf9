"""Turns what a client sent into what the model's server gets: the route found, its policy applied."""

from __future__ import annotations

import msgspec

from hotseat.gateway.access.client_context import ClientContext
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.http.request_id import new_request_id
from hotseat.gateway.policy import body
from hotseat.gateway.policy.body_budget import HeldBody
from hotseat.gateway.policy.body_worker import BodyWorker
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
) -> UpstreamRequest:
    """Make the request for the model's server. Raises ``RequestRefused``.

    ``id_line``: the header line with the request's id, for the client and for the server.
    """
    parsed = body.read(content, context.head)
    route = _route_of(cycle, context, routing, target, parsed.model, id_line)
    name = route.rename(parsed.model)
    if route.rules is not None:
        parsed.rewrite(route.rules, target.path, name)
    elif name is not None and content:
        parsed.rename(name)
    return _request(cycle, context, route, target, parsed.content, len(content), parsed.stream, id_line)


async def prepare_in_worker(
    worker: BodyWorker,
    cycle: RequestCycle,
    context: ClientContext,
    routing: RoutingTable,
    target: Target,
    content: bytes,
    id_line: bytes,
) -> UpstreamRequest:
    """Do the same with a body that takes long to read, in another process. Raises ``RequestRefused``."""
    size = len(content)
    async with worker.inspect(content, context.head) as inspected:
        route = _route_of(cycle, context, routing, target, inspected.model, id_line)
        name = route.rename(inspected.model)
        if route.rules is not None or name is not None:
            policy = None if route.rules is None else route.policy
            content = await inspected.rewrite(policy, target.path, name) or content
    return _request(cycle, context, route, target, content, size, inspected.stream, id_line)


def _route_of(
    cycle: RequestCycle,
    context: ClientContext,
    routing: RoutingTable,
    target: Target,
    model: str | None,
    id_line: bytes,
) -> Route:
    """The route of a request whose body has been read. Raises ``RequestRefused``."""
    route = target.route
    if route is None:
        route = _route_by_model(cycle, context, routing, model, id_line)
    if target.special and not route.allows(target.path):
        raise RequestRefused(_PATH_NOT_ALLOWED)
    return route


def _request(
    cycle: RequestCycle,
    context: ClientContext,
    route: Route,
    target: Target,
    content: bytes,
    size: int,
    stream: bool,
    id_line: bytes,
) -> UpstreamRequest:
    method, query, principal = cycle.method, cycle.query, context.principal
    server_id = ""
    if context.sent_id is not None and context.sent_id in id_line:  # it was kept
        server_id = new_request_id()
        id_line = b"x-request-id: %b\r\n" % server_id.encode("ascii")
    return UpstreamRequest(
        route,
        method,
        target.path + without_credentials(query) if query else target.path,
        context.head.passed + id_line,
        content,
        size,
        stream and method != b"HEAD",
        target.anthropic,
        route.priority + principal.priority,
        principal.name,
        server_id,
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
