"""What is asked of a model's server: the body looked into, its route found, the route's policy done to it."""

from __future__ import annotations

import msgspec

from hotseat.gateway.access.client_context import ClientContext
from hotseat.gateway.http.errors import ErrorResponse, RequestRefused
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.policy import body
from hotseat.gateway.policy.query import without_credentials
from hotseat.gateway.routing import Route, Target


class UpstreamRequest(msgspec.Struct, eq=False, gc=False):
    """What a request asks of a model's server, ready to be sent."""

    route: Route
    method: bytes
    target: bytes
    """Path and query at the server."""
    headers: bytes
    """Header lines to pass on."""
    content: bytes
    size: int
    """Of the body as the client sent it."""
    stream: bool
    anthropic: bool
    """Whose shape errors have."""
    priority: int = 0
    key: str = ""
    """The name of the key that asks; requests of one model are served fairly by key."""


def prepare(
    client: RequestCycle, sender: ClientContext, target: Target, content: bytes, id_line: bytes
) -> UpstreamRequest:
    """The request as the model's server is to get it. Raises ``RequestRefused``.

    ``id_line``: the header line that tells the request's id, to the client and to the server.
    """
    head, caller = sender.head, sender.caller
    asked = body.read(content, head)
    method, query = client.method, client.query
    route = target.route
    if route is None:
        route = _named(client, sender, asked.model, id_line)
    if target.special and not route.allows(target.path):
        raise RequestRefused(_NOT_ALLOWED)
    name = route.rename(asked.model)
    if route.rules is not None:
        asked.rewrite(route.rules, target.path, name)
    elif name is not None and content:
        asked.rename(name)
    return UpstreamRequest(
        route,
        method,
        target.path + without_credentials(query) if query else target.path,
        head.passed + id_line,
        asked.content,
        len(content),
        asked.stream and method != b"HEAD",
        target.anthropic,
        route.priority + caller.priority,
        caller.name,
    )


def _named(client: RequestCycle, sender: ClientContext, model: str | None, id_line: bytes) -> Route:
    """The route that the body names. Raises ``RequestRefused`` (401, 403, 404)."""
    try:
        route = sender.configured.tables.named(model)
    except RequestRefused:
        sender.must_be_known()
        raise
    client.extra_headers = id_line + route.cors.lines(sender.origin)
    sender.admit(route)
    return route


_NOT_ALLOWED = ErrorResponse(
    status=404,
    code="not_found",
    message="no such path for this model",
    should_retry=False,
)
