"""Entries for hotseat's MCP tools in the configurations of coding agents; the key is a reference."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

VARIABLE = "ADMIN_API_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class McpEntry:
    """One agent's way to name an MCP server."""

    render: Callable[[str], str]
    """Takes the launcher's URL."""
    note: str


def _json(data: Any) -> str:
    return json.dumps(data, indent=2) + "\n"


def _claude_code(url: str) -> str:
    header = f'"Authorization: Bearer ${VARIABLE}"'
    address = shlex.quote(f"{url}/mcp")
    return f"claude mcp add --transport http hotseat {address} --header {header}\n"


def _opencode(url: str) -> str:
    server = {
        "type": "remote",
        "url": f"{url}/mcp",
        "headers": {"Authorization": f"Bearer {{env:{VARIABLE}}}"},
        "enabled": True,
    }
    return _json({"$schema": "https://opencode.ai/config.json", "mcp": {"hotseat": server}})


def _cline(url: str) -> str:
    arguments = ["mcp", "--url", url]
    return _json({"mcpServers": {"hotseat": {"command": "hotseat", "args": arguments}}})


def _zed(url: str) -> str:
    arguments = ["mcp", "--url", url]
    return _json({"context_servers": {"hotseat": {"command": "hotseat", "args": arguments}}})


MCP_ENTRIES: Mapping[str, McpEntry] = {
    "claude-code": McpEntry(
        render=_claude_code, note=f"The shell writes the value of {VARIABLE} into the entry."
    ),
    "opencode": McpEntry(render=_opencode, note=f"opencode reads {VARIABLE} from its environment."),
    "cline": McpEntry(render=_cline, note=f"For cline_mcp_settings.json; hotseat mcp reads {VARIABLE}."),
    "zed": McpEntry(render=_zed, note=f"For settings.json; hotseat mcp reads {VARIABLE}."),
}
"""By the name that ``hotseat clients`` knows them by."""
