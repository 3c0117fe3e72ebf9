"""Entries for hotseat's MCP tools, as ``hotseat clients NAME --mcp`` prints them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from hotseat.cli import main
from hotseat.clients.mcp_entries import MCP_ENTRIES

URL = "http://gpu-box:8000"


@pytest.mark.parametrize("name", MCP_ENTRIES)
def test_an_entry_names_the_launcher_and_no_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADMIN_API_KEY", "sk-admin-0123456789")
    done = CliRunner().invoke(main, ["clients", name, "--mcp", "--url", URL])
    assert done.exit_code == 0, done.output
    assert URL in done.stdout
    assert "sk-admin" not in done.output
    if name != "claude-code":
        assert "hotseat" in str(json.loads(done.stdout))


def test_a_program_without_mcp_says_so() -> None:
    done = CliRunner().invoke(main, ["clients", "curl", "--mcp", "--url", URL])
    assert done.exit_code == 2
    assert "claude-code" in done.output
