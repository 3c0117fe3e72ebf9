"""Answers of a launcher while another one leads: that it lives, and that it is not ready."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from hotseat.gateway.http.errors import ErrorResponse
from hotseat.gateway.http.request_cycle import RequestCycle

_ALIVE = b'{"status":"ok"}'
_STANDBY = ErrorResponse(
    status=503,
    code="standby",
    message="this launcher stands by: another one leads",
    type="service_unavailable",
    retry_after_s=1.0,
    should_retry=True,
)


class Standby:
    """Answers requests without a model or a key."""

    def answer(self, client: RequestCycle) -> Coroutine[Any, Any, None] | None:
        """Answer ``/health``; refuse everything else, ``/readyz`` too."""
        if client.path == b"/health":
            client.respond(200, b"content-type: application/json\r\n", _ALIVE)
        else:
            client.refuse(_STANDBY, anthropic=client.path.startswith(b"/v1/messages"))
        return None
