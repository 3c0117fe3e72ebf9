"""``hotseat doctor`` where all models are plain processes: nothing of Docker is asked for."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from fakes.hotseat import Hotseat, serving
from fakes.shims import Shims
from hotseat.cli import main

GPU = "NVIDIA GeForce RTX 3090, 576.80, 24576, 812\n"


@pytest.fixture
def shims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shims:
    shims = Shims(tmp_path / "shims")
    shims.add("nvidia-smi", {"query-gpu": (0, GPU)})
    shims.add("my-server", {})
    monkeypatch.setenv("PATH", str(shims.folder))
    return shims


def doctor(folder: Path, status: int, **config: Any) -> dict[str, dict[str, str]]:
    models = {"chat": {"command": ["my-server", "{port}"]}}
    text = {"models": models, "state_dir": "state", "listen": f"127.0.0.1:{free_port()}", **config}
    (folder / "mine.yaml").write_text(yaml.safe_dump(text))
    words = ["doctor", "--stack", str(folder), "-c", str(folder / "mine.yaml"), "--json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == status, done.output
    return {one["name"]: one for one in json.loads(done.stdout)["checks"]}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert isinstance(port, int)
        return port


def test_all_is_well(tmp_path: Path, shims: Shims) -> None:
    checks = doctor(tmp_path, 0)
    assert {one["state"] for one in checks.values()} == {"ok"}
    assert set(checks) == {"config", "program of chat", "keys", "port", "state", "gpu 0"}
    assert checks["program of chat"]["message"] == str(shims.folder / "my-server")


def test_what_is_wrong(tmp_path: Path, shims: Shims) -> None:
    (shims.folder / "nvidia-smi").unlink()
    models = {
        "chat": {"command": ["no-such-server", "{port}"]},
        "coder": {"command": ["./serve.sh", "{port}"], "cwd": str(tmp_path / "nowhere")},
        "tiny": {"command": ["bin/serve", "{port}"], "cwd": str(tmp_path)},
    }
    with socket.create_server(("127.0.0.1", 0)) as other:
        checks = doctor(tmp_path, 1, models=models, listen=f"127.0.0.1:{other.getsockname()[1]}")
    wrong = {name for name, one in checks.items() if one["state"] == "error"}
    assert wrong == {"program of chat", "program of coder", "program of tiny", "port"}
    assert "no-such-server" in checks["program of chat"]["message"]
    assert "mkdir -p" in checks["program of coder"]["fix"]
    assert checks["gpu"]["state"] == "warning"


def test_a_program_is_looked_for_where_the_model_starts(tmp_path: Path, shims: Shims) -> None:
    program = tmp_path / "bin" / "serve"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    checks = doctor(tmp_path, 0, models={"x": {"command": ["bin/serve", "{port}"], "cwd": str(tmp_path)}})
    assert checks["program of x"]["message"] == str(program)


def test_the_running_launcher_has_the_port(tmp_path: Path, shims: Shims) -> None:
    folder = tmp_path / "running"
    folder.mkdir()
    for running in serving(Hotseat(folder, {"chat": []}, env={"PATH": os.defpath})):
        checks = doctor(tmp_path, 0, listen=f"127.0.0.1:{running.port}")
        assert checks["port"]["message"].endswith("is in use by hotseat")


def test_a_broken_file_is_told_with_the_stack(tmp_path: Path, shims: Shims) -> None:
    checks = doctor(tmp_path, 1, models={"chat": {"command": []}})
    assert checks["config"]["state"] == "error"
    assert "compose files" in checks  # nobody knows what it was to be


def test_a_compose_file_is_looked_at(tmp_path: Path, shims: Shims) -> None:
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    assert "compose files" in doctor(tmp_path, 1)
