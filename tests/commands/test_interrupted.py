"""Ctrl-C on each command while it waits for the launcher: quick, quiet, and told by the exit status."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hotseat.cli import main
from hotseat.commands import COMMANDS

LIMIT_S = 60


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A launcher that takes a request and never answers it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT_S)
        yield server


LINES = (
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


@pytest.mark.parametrize("line", LINES)
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
        assert "The launcher carries on with the order." in errors


WORDS = {
    "start": ["chat"],
    "stop": ["chat"],
    "logs": ["chat"],
    "capture": ["chat"],
    "clients": ["curl"],
    "switch": ["chat"],
}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("bench", "export")])
def test_every_command_ends_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "callback", interrupted)
    done = CliRunner().invoke(main, [name, *WORDS.get(name, [])])
    assert (done.exit_code, done.stderr, done.stdout) == (130, "Interrupted.\n", "")
