"""``/mcp``: the tools over HTTP, for whoever has a key of this launcher, with that key's rights."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from hotseat.admin.responses import error_response
from hotseat.core.spec import Settings
from hotseat.mcp.launcher import LauncherApi, OwnListener
from hotseat.tasks import Tasks

Listener = tuple[str, int, bool]
"""Host and port that the launcher listens on, and whether it speaks TLS."""
SECRET_FIELDS = ("authorization", "x-api-key", "x-api-secret")


class McpEndpoint:
    """The ASGI application. The SDK is loaded with the first request, since most launchers never get one."""

    def __init__(
        self,
        settings: Settings,
        *,
        listener: Callable[[], Listener],
        sign_in: Callable[[bytes], str],
        on_failure: Callable[[str, BaseException], None],
    ) -> None:
        """``sign_in(credential)`` begins a session and returns its token: on its own behalf an admin may
        talk to every model, which the key alone does not open."""
        self._settings, self._listener, self._sign_in = settings, listener, sign_in
        self._tasks = Tasks(on_failure)
        self._app: ASGIApp | None = None
        self._opening = asyncio.Lock()
        self._sessions: dict[bytes, str] = {}

    def configure(self, settings: Settings) -> None:
        """Serve under this configuration from now on."""
        self._settings = settings
        self._sessions.clear()

    async def close(self) -> None:
        """End all sessions of agents."""
        await self._tasks.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal()
        if refusal is not None:
            await error_response(404, refusal, "not_found")(scope, receive, send)
            return
        async with self._opening:
            if self._app is None:
                self._app = await self._open()
        await self._app(scope, receive, send)

    def _refusal(self) -> str | None:
        if importlib.util.find_spec("mcp") is None:
            return "MCP needs its library: install hotseat[mcp]"
        settings = self._settings
        if not settings.auth.configured and not settings.serve.open:
            return "MCP is off: configure a key, or listen on loopback"
        return None

    async def _open(self) -> ASGIApp:
        module = await asyncio.to_thread(importlib.import_module, "hotseat.mcp.http_app")
        app, run = module.make_app(self._api_of)
        ready = asyncio.Event()
        self._tasks.start("sessions of agents", run(ready))
        await ready.wait()
        return app  # type: ignore[no-any-return]

    def _api_of(self, scope: Scope) -> LauncherApi:
        host, port, tls = self._listener()
        state: dict[str, Any] = scope["state"]
        credential: bytes | None = state["credential"]
        names = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        headers = {name: names[name] for name in SECRET_FIELDS if name in names}
        if credential is not None and state["admin_role"] > state["admin_role"].READER:
            token = self._sessions.get(credential)
            if token is None:
                token = self._sessions[credential] = self._sign_in(credential)
            headers = {"cookie": f"hotseat_session={token}", "sec-fetch-site": "same-origin"}
        return OwnListener(host, port, tls, headers)
