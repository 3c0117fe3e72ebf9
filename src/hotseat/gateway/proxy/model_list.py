"""``GET /v1/models``: all models with their state. Starts nothing.

One object serves both kinds of client: OpenAI's (``object``, ``data``, ``owned_by``) and Anthropic's
(``type``, ``display_name``, ``has_more``). The word for the state is llama-server's.
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
    client: RequestCycle,
    model_id: str,
    tables: RoutingTable,
    seats: LeaseProvider,
    sees: Callable[[Route], bool],
) -> None:
    """Send the list of what this client sees, or one model (by name or alias). Raises ``Refuse`` (404)."""
    whole: dict[str, Any]
    if model_id:
        route = tables.find(model_id)
        if route is None or not sees(route):
            raise not_found(
                f"the model {model_id[:200]!r} does not exist here; GET /v1/models lists those that do",
                code="model_not_found",
                param="model",
            )
        whole = _described(route, seats, model_id)
    else:
        data = [_described(route, seats, route.name) for route in tables.routes if sees(route)]
        whole = {
            "object": "list",
            "data": data,
            "has_more": False,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
    client.respond(200, _JSON, msgspec.json.encode(whole))


def _described(route: Route, seats: LeaseProvider, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "created": 0,
        "created_at": "1970-01-01T00:00:00Z",
        "display_name": name,
        "owned_by": "hotseat",
        "status": {"value": STATUS_WORDS[State(seats.state(route.model))]},
    }
