"""hotseat in front of the demo's real engine, for the official SDKs."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parents[3] / "demo" / "engine.py"
LIMIT_S = 60

CONFIG = """
listen: 127.0.0.1:{port}
state_dir: {folder}/state
gpu: {{budget: 0.90}}
# Streams get their headers at once, so every cold start is told in comments, and SDKs must bear them.
hold_headers_s: 0
models:
  chat:
    command: [{python}, {engine}, --port, "{{port}}", --alias, chat, --threads, "1"]
    served_name: chat
    footprint: 0.6
    aliases: [gpt-4o-mini]
  coder:
    command: [{python}, {engine}, --port, "{{port}}", --alias, coder, --threads, "1"]
    served_name: coder
    footprint: 0.6
  missing:
    command: [no-such-command-anywhere, "{{port}}"]
    footprint: 0.1
  dying:
    command: [sh, -c, "sleep 0.5; echo giving up on {{port}}; exit 3"]
    footprint: 0.1
"""


@pytest.fixture(scope="session")
def hotseat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running hotseat; everything it started has ended afterwards."""
    folder = tmp_path_factory.mktemp("hotseat")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "hotseat.yaml"
    config.write_text(CONFIG.format(port=port, folder=folder, python=sys.executable, engine=ENGINE))
    ours = ("HOTSEAT_CONFIG", "LISTEN", "START_TIMEOUT_SECONDS", "IDLE_SECONDS", "VLLM_API_KEY")
    env = {name: value for name, value in os.environ.items() if name not in ours}
    log = folder / "hotseat.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "hotseat", "serve", "-c", str(config)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_up(process, port, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            assert process.wait(LIMIT_S) == 0, log.read_text()
        finally:
            process.kill()


def wait_until_up(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when hotseat listens; fail with its log when it ends instead."""
    while process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
            return
        except ConnectionRefusedError:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        finally:
            connection.close()
    raise AssertionError(f"hotseat ended with status {process.returncode}:\n{log.read_text()}")
