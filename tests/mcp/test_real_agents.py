"""The real Claude Code and opencode list hotseat's tools as connected, by the entries that we print."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.hotseat import Hotseat

pytestmark = pytest.mark.system("node", "npm")

ADMIN = "sk-admin-" + "a" * 32
AGENTS = ["@anthropic-ai/claude-code@2.1.197", "opencode-ai@1.18.33"]
LIMIT_S = 300.0


def run(command: str, folder: Path, env: dict[str, str]) -> str:
    words = ["sh", "-c", command]
    done = subprocess.run(
        words, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_real_agents_are_connected(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    run(f"npm install --no-audit --no-fund {' '.join(AGENTS)}", home, dict(os.environ))
    hotseat = Hotseat(tmp_path, {"chat": []}, env={"ADMIN_API_KEY": ADMIN}).start()
    url = f"http://127.0.0.1:{hotseat.port}"
    env = {
        **os.environ,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "ADMIN_API_KEY": ADMIN,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "PATH": f"{home / 'node_modules/.bin'}:{os.environ['PATH']}",
    }
    try:
        entry = f"{sys.executable} -m hotseat clients NAME --mcp --url {url} 2>/dev/null"
        run(run(entry.replace("NAME", "claude-code"), home, env), home, env)
        listed = run("claude mcp list", home, env)
        assert "hotseat" in listed
        assert "Connected" in listed
        (home / "opencode.json").write_text(run(entry.replace("NAME", "opencode"), home, env))
        listed = run("opencode mcp list", home, env)
        assert "hotseat" in listed
        assert "connected" in listed
    finally:
        hotseat.stop()
