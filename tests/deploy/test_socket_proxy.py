"""The socket proxy, for real: what the launcher may ask the Engine, and what it may not."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.engine_api import FakeEngineApi

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = [
    ("GET", "/_ping"),
    ("GET", "/version"),
    ("GET", "/v1.44/events?filters=%7B%7D&since=1"),
    ("GET", "/v1.44/containers/sitechat/json"),
    ("GET", "/v1.44/containers/sitechat/logs?stdout=1&follow=1"),
    ("GET", "/v1.44/images/vllm/vllm-openai:v0.33.0/json"),
    ("GET", "/v1.44/images/sha256:abcdef/json"),
    ("POST", "/v1.44/containers/sitechat/start"),
    ("POST", "/containers/sitechat/stop?t=30"),
    ("POST", "/v1.44/containers/sitechat/unpause"),
]
DENIED = [
    ("POST", "/v1.44/containers/create?name=evil"),
    ("POST", "/v1.44/containers/sitechat/exec"),
    ("POST", "/v1.44/exec/abc/start"),
    ("POST", "/v1.44/containers/sitechat/update"),
    ("POST", "/v1.44/containers/sitechat/attach"),
    ("PUT", "/v1.44/containers/sitechat/archive?path=/"),
    ("DELETE", "/v1.44/containers/sitechat"),
    ("GET", "/v1.44/containers/sitechat/start"),
    ("POST", "/v1.44/containers/sitechat/json"),
    ("GET", "/v1.44/containers/sitechat/archive?path=/etc"),
    ("GET", "/v1.44/secrets"),
    ("POST", "/v1.44/build"),
    ("POST", "/v1.44/images/create?fromImage=evil"),
    ("POST", "/v1.44/volumes/create"),
    ("GET", "/v1.44/containers/x/../../secrets/x/json"),
    ("POST", "/v1.44/containers/create%2Fstart"),
    ("POST", "/v1.44/containers/../build?x=/start"),
    ("POST", "//v1.44/containers/create/start"),
    ("POST", "/v1.44/containers/create;/start"),
    ("GET", "/v1.44/images/x/%2e%2e/%2e%2e/secrets/x/json"),
]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngineApi]:
    answers = {path: {} for _, path in [*ALLOWED, *DENIED]}
    with FakeEngineApi(tmp_path / "docker.sock", answers) as fake:
        yield fake


@pytest.fixture
def proxy(engine: FakeEngineApi, tmp_path: Path) -> Iterator[int]:
    """HAProxy with our file; only its two addresses are others."""
    port = free_port()
    text = (ROOT / "deploy" / "compose" / "socket-proxy" / "haproxy.cfg").read_text(encoding="utf-8")
    moved = text.replace("bind :2375", f"bind 127.0.0.1:{port}")
    moved = moved.replace("unix@/var/run/docker.sock", f"unix@{engine.url.removeprefix('unix://')}")
    assert moved.count(str(port)) == 1
    assert "/var/run" not in moved
    file = tmp_path / "haproxy.cfg"
    file.write_text(moved, encoding="utf-8")
    process = subprocess.Popen(["haproxy", "-db", "-f", str(file)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, "haproxy ended"
            assert time.monotonic() < deadline, "haproxy does not listen"
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


def status(port: int, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.putrequest(method, path)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.system("haproxy")
def test_the_launcher_may_look_start_and_stop_and_nothing_else(proxy: int, engine: FakeEngineApi) -> None:
    assert {one: status(proxy, *one) for one in ALLOWED} == dict.fromkeys(ALLOWED, 200)
    assert {one: status(proxy, *one) for one in DENIED} == dict.fromkeys(DENIED, 403)
    assert set(engine.asked) == set(ALLOWED)
