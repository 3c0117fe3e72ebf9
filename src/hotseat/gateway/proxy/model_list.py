"""``GET /v1/models``: all models with their state. Starts nothing.

The same object serves OpenAI's clients (``object``, ``data``, ``owned_by``) and Anthropic's (``type``,
``display_name``, ``has_more``). The words for the state are llama-server's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from hotseat.core.states import State
from hotseat.gateway.http.errors import not_found
from hotseat.gateway.http.request_cycle import RequestCycle
from hotseat.gateway.proxy.lease import LeaseProvider
from hotseat.gateway.routing import Route, RoutingTable

STATUS_WORDS = {
    State.STOPPED: "unloaded",
    State.DOWNLOADING: "loading",
    State.PREPARING: "unloaded",
    State.STANDBY: "unloaded",
    State.STARTING: "loading",
    State.READY: "loaded",
    State.DRAINING: "loaded",
    State.STOPPING: "unloaded",
    State.SUSPENDING: "sleeping",
    State.ASLEEP: "sleeping",
    State.WAKING: "loading",
    State.BACKOFF: "failed",
}

_JSON = b"content-type: application/json\r\ncache-control: no-store\r\n"


def answer(
    cycle: RequestCycle,
    model_id: str,
    routing: RoutingTable,
    leases: LeaseProvider,
    may_use: Callable[[Route], bool],
) -> None:
    """Send the list of the models that the client may use, or one model by name or alias.

    Raises ``RequestRefused`` (404).
    """
    content: dict[str, Any]
    if model_id:
        route = routing.find(model_id)
        if route is None or not may_use(route):
            raise not_found(
                f"the model {model_id[:200]!r} does not exist here; GET /v1/models lists those that do",
                code="model_not_found",
                param="model",
            )
        content = _describe(route, leases, model_id)
    else:
        data = [
            _describe(route, leases, name)
            for route in routing.routes
            if may_use(route)
            for name in (route.name, *(alias for alias in route.aliases if "*" not in alias))
        ]
        content = {
            "object": "list",
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
    cycle.respond(200, _JSON, msgspec.json.encode(content))


def _describe(route: Route, leases: LeaseProvider, name: str) -> dict[str, Any]:
    """Describe a route under one of its names; what is not known is left out."""
    known: dict[str, Any] = {}
    if route.aliases:
        known["aliases"] = list(route.aliases)
    if route.context is not None:  # as vLLM calls it, and as OpenRouter does
        known["max_model_len"] = known["context_length"] = route.context
    if route.capabilities:
        known["capabilities"] = list(route.capabilities)
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
        "display_name": name,
        "owned_by": "hotseat",
        "root": route.name,
        "status": {"value": STATUS_WORDS[State(leases.state(route.model))]},
        **known,
    }
