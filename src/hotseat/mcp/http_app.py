"""The tools as an ASGI application, by the SDK's streamable HTTP transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Scope

from hotseat.mcp.launcher import LauncherApi
from hotseat.mcp.server import make_server

Run = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


def make_app(api_of_scope: Callable[[Scope], LauncherApi]) -> tuple[ASGIApp, Run]:
    """The application, and what must run as long as it serves (it sets the event once it may).

    Hosts and origins are the gateway's to check: it has done so before a request comes here.
    """

    def api_of(context: Context) -> LauncherApi:
        request = context.request_context.request
        assert request is not None  # every message comes in a request
        return api_of_scope(request.scope)

    server = make_server(api_of)
    app = server.streamable_http_app(
        stateless_http=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )

    async def run(ready: asyncio.Event) -> None:
        async with server.session_manager.run():
            ready.set()
            await asyncio.Event().wait()

    return app, run
