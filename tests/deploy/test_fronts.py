"""Caddy and nginx themselves in front of hotseat, with the files that we ship."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from string import Template
from typing import Any

import pytest

import fakes.lockstep
from fakes.hotseat import Hotseat

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0
SERVER = [sys.executable, str(fakes.lockstep.__file__), "--port", "{port}", "--start-s", "2"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Asked = tuple[http.client.HTTPConnection, http.client.HTTPResponse]


class Front:
    """A running front: its address, and how to connect to it."""

    def __init__(self, port: int, tls: bool) -> None:
        self.port, self.tls = port, tls

    def connect(self) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        trusting = ssl._create_unverified_context()
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=LIMIT_S, context=trusting)

    def post(
        self, path: str, body: dict[str, Any]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        connection = self.connect()
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return connection, connection.getresponse()


@pytest.fixture
def hotseat(tmp_path: Path) -> Iterator[Hotseat]:
    running = Hotseat(tmp_path, {}, default_model="chat", hold_headers_s=0.2)
    running.file.write_text(
        json.dumps(
            {
                "state_dir": str(tmp_path / "state"),
                "hold_headers_s": 0.2,
                "models": {"chat": {"command": SERVER}},
            }
        )
    )
    running.start()
    yield running
    running.stop()


def caddy(hotseat: Hotseat, tmp_path: Path) -> tuple[list[str], dict[str, str], Front]:
    port = free_port()
    env = {"SITE": f"http://:{port}", "HOTSEAT": f"127.0.0.1:{hotseat.port}", "HOME": str(tmp_path)}
    shipped = (ROOT / "deploy/caddy/Caddyfile").read_text()
    config = tmp_path / "Caddyfile"
    config.write_text("{\n\tadmin off\n\tauto_https off\n}\n" + shipped)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)], env, Front(port, tls=False)


def nginx(hotseat: Hotseat, tmp_path: Path) -> tuple[list[str], dict[str, str], Front]:
    port, certificate, key = free_port(), tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    text = (ROOT / "deploy/nginx/hotseat.conf.template").read_text()
    server = Template(text).safe_substitute(
        LISTEN=f"127.0.0.1:{port}",
        SERVER_NAME="localhost",
        HOTSEAT=f"127.0.0.1:{hotseat.port}",
        CERTIFICATE=certificate,
        CERTIFICATE_KEY=key,
    )
    (tmp_path / "hotseat.conf").write_text(server)
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off; pid {tmp_path}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy;\n"
        f"fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"include {tmp_path}/hotseat.conf; }}\n"
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    return [program, "-c", str(config)], {}, Front(port, tls=True)


@pytest.fixture(
    params=[
        pytest.param(caddy, marks=pytest.mark.system("caddy"), id="caddy"),
        pytest.param(nginx, marks=pytest.mark.system("nginx", "openssl"), id="nginx"),
    ]
)
def front(request: pytest.FixtureRequest, hotseat: Hotseat, tmp_path: Path) -> Iterator[Front]:
    words, env, front = request.param(hotseat, tmp_path)
    with subprocess.Popen(words, env={**os.environ, **env}, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + LIMIT_S
        while True:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            try:
                socket.create_connection(("127.0.0.1", front.port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield front
        process.terminate()
        process.communicate(timeout=LIMIT_S)


def test_a_cold_start_is_survived_and_a_stream_arrives_step_by_step(front: Front) -> None:
    """Each step is sent only after the one before has been read here: a front that buffers would hang."""
    connection, response = front.post("/chat/v1/chat/completions", {"model": "chat", "stream": True})
    with closing(connection):
        assert response.status == 200
        lines: list[bytes] = []
        while len(steps := [line for line in lines if line.startswith(b"data: step")]) < fakes.lockstep.STEPS:
            line = response.readline()
            assert line, lines
            lines.append(line)
            if line.startswith(b"data: step") and len(steps) + 1 < fakes.lockstep.STEPS:
                other, told = front.post("/chat/v1/next", {})
                assert told.status == 200
                told.read()
                other.close()
        assert any(line.startswith(b": hotseat chat") for line in lines), "no word while the model started"
        assert response.read().strip() == b"data: [DONE]"


def test_errors_pass_as_they_are(front: Front) -> None:
    connection, response = front.post("/nobody/v1/chat/completions", {"model": "x"})
    with closing(connection):
        assert response.status == 404
        assert json.loads(response.read())["error"]["code"] == "not_found"
