"""``hotseat serve`` as a process, with the other commands talking to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes import engine

SECRET = "sk-upstream-1234567890"
LIMIT_S = 60


@dataclass
class Serving:
    """A running launcher."""

    process: subprocess.Popen[str]
    url: str
    env: dict[str, str]
    first_lines: list[str]

    def hotseat(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hotseat", *words],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env={**self.env, "HOTSEAT_URL": self.url},
        )


def launch(folder: Path, config: dict[str, Any], **more: str) -> subprocess.Popen[str]:
    path = folder / "hotseat.yaml"
    path.write_text(yaml.safe_dump(config))
    ours = ("HOTSEAT_CONFIG", "HOTSEAT_URL", "HOTSEAT_ENV_FILE", "VLLM_API_KEY", "ADMIN_API_KEY")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.Popen(
        [sys.executable, "-m", "hotseat", "serve", "-c", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        env={**env, "LISTEN": "127.0.0.1:0", "UPSTREAM_API_KEY": SECRET, **more},
    )


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    process = launch(
        tmp_path,
        {
            "state_dir": "state",
            "models": {"chat": {"command": list(engine.command("--api-key", SECRET))}},
        },
    )
    assert process.stderr is not None
    lines: list[str] = []
    url = None
    try:
        for line in process.stderr:
            lines.append(line)
            said = json.loads(line)
            if said["event"] == "listening":
                url = said["url"]
                break
        assert url is not None, "".join(lines)
        yield Serving(process, url, dict(os.environ), lines)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_S)


def test_a_models_life_from_the_command_line(serving: Serving) -> None:
    started = serving.hotseat("start", "chat", "--wait")
    assert (started.returncode, started.stdout) == (0, "chat: ready\n"), started.stderr
    status = json.loads(serving.hotseat("status", "--json").stdout)
    assert status["models"]["chat"]["state"] == "ready"
    assert status["models"]["chat"]["starts"] == 1
    assert status["routes"]["chat"]["path"] == "/chat/v1"
    table = serving.hotseat("status").stdout
    assert table.splitlines()[3].split()[:2] == ["chat", "ready"]
    assert "Starting vLLM server" in serving.hotseat("logs", "chat").stdout
    stopped = serving.hotseat("stop", "chat", "--wait")
    assert (stopped.returncode, stopped.stdout) == (0, "chat: stopped\n")
    unknown = serving.hotseat("start", "coder")
    assert unknown.returncode == 1
    assert "no route or model is called 'coder'; there are chat" in unknown.stderr

    serving.process.send_signal(signal.SIGTERM)
    _, rest = serving.process.communicate(timeout=LIMIT_S)
    assert serving.process.returncode == 0
    log = "".join(serving.first_lines) + rest
    assert all(json.loads(line)["level"] in ("info", "debug") for line in log.splitlines())
    assert SECRET not in log
    assert serving.hotseat("status").returncode == 3


def test_a_state_folder_that_cannot_be_made_is_told_and_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = {"state_dir": "file/state", "models": {"m": {"command": "run {port}"}}}
    process = launch(tmp_path, config)
    _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 1
    assert "Error: cannot create state_dir" in said
    assert "Traceback" not in said
