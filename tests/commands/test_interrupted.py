"""Ctrl-C on each command while it waits for the launcher: quick, quiet, and told by the exit status."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

LIMIT_S = 60


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A launcher that takes a request and never answers it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT_S)
        yield server


COMMANDS = (
    "status",
    "start chat --wait",
    "stop chat",
    "switch chat",
    "reload",
    "capture chat",
    "logs chat",
    "clients continue",
    "check chat",
)


@pytest.mark.parametrize("line", COMMANDS)
def test_ctrl_c(silent: socket.socket, tmp_path: Path, line: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.endswith("_KEY")}
    words = [*line.split(), "--url", f"http://127.0.0.1:{silent.getsockname()[1]}"]
    with subprocess.Popen(
        [sys.executable, "-m", "hotseat", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=tmp_path,
    ) as command:  # fmt: skip
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(LIMIT_S)
            assert connection.recv(4096)
            command.send_signal(signal.SIGINT)
            out, errors = command.communicate(timeout=LIMIT_S)
    assert command.returncode == 130, errors
    assert errors.startswith("Interrupted.")
    assert len(errors.splitlines()) == 1
    assert out == ""
    if line.startswith(("start", "stop")):
        assert "The order stands." in errors
