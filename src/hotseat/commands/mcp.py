"""``hotseat mcp``: tools for a coding agent, over standard input and output."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Mapping
from typing import Any

import click

from hotseat.commands import _options
from hotseat.commands._client import LauncherClient
from hotseat.commands._credentials import CLIENT_KEYS
from hotseat.commands._errors import CommandFailed
from hotseat.mcp.launcher import REQUEST_S, LauncherError, read_reply


@click.command(
    "mcp",
    epilog="""\b
Examples:
  claude mcp add hotseat -- hotseat mcp
  hotseat mcp --url http://gpu-box:8000

\b
Ends with its input. Exit status: 0 the client has closed, 1 the extra is not installed, 2 wrong usage.""",
)
@_options.launcher_options
def command(url: str | None, config: str | None) -> None:
    """Serve MCP tools for a running launcher, over standard input and output.

    A coding agent starts this command by itself. It does what the keys in HOTSEAT_ADMIN_KEY or ADMIN_API_KEY
    (orders) and HOTSEAT_API_KEY or VLLM_API_KEY (models) may do. The launcher serves the same tools at /mcp.
    """
    if importlib.util.find_spec("mcp") is None:
        raise CommandFailed("MCP needs its library: install hotseat[mcp]")
    from hotseat.mcp.server import make_server  # the library takes a second to import

    launcher = _Launcher(_options.connect(url, config), _options.connect(url, config, CLIENT_KEYS))
    asyncio.run(make_server(lambda context: launcher).run_stdio_async())


class _Launcher:
    """A running launcher, with the admin's key for its own paths and the client's for models."""

    def __init__(self, admin: LauncherClient, client: LauncherClient) -> None:
        self._admin, self._client = admin, client

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout_s: float = REQUEST_S
    ) -> dict[str, Any]:
        """Send a request and return the JSON object of its response. Raises ``LauncherError``."""
        client = self._client if "/v1/" in path else self._admin
        content = None if method == "GET" else json.dumps(body or {}).encode()
        try:
            status, text = await asyncio.to_thread(client.exchange, method, path, content, timeout_s)
        except CommandFailed as error:
            raise LauncherError(str(error)) from None
        return read_reply(status, text)
