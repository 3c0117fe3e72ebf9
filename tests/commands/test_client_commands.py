"""``status``, ``start``, ``stop`` and ``logs`` against a launcher that is a few lines of ``http.server``."""

from __future__ import annotations

import datetime
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner, Result

from fakes.admin_api import error, model_status, route, stats
from hotseat.admin.schema import ModelStatus
from hotseat.cli import main
from hotseat.commands.status import render

KEYS = ("HOTSEAT_ADMIN_KEY", "ADMIN_API_KEY", "VLLM_API_KEY")
MODEL = model_status(
    run=3,
    in_flight=2,
    waiting=1,
    requests=40,
    starts=3,
    spin_up_s=[9.0, 8.04],
    last_hit="2026-01-01T11:58:00Z",
)
ROUTES = {"chat": route("chat", default=True)}


class StubLauncher:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.answers: dict[str, tuple[int, Any]] = {
            "GET /routes": (200, {"routes": ROUTES}),
            "GET /stats": (200, stats(chat=MODEL)),
            "GET /healthz": (200, {"status": "ok"}),
        }
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                stub.answer(self)

            do_POST = do_GET  # noqa: N815 - the base's name

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        raw = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.command, request.path, headers, json.loads(raw) if raw else None))
        status, body = self.answers.get(f"{request.command} {request.path}", (404, error("none")))
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*KEYS, "HOTSEAT_URL", "HOTSEAT_CONFIG", "LISTEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubLauncher]:
    made = StubLauncher()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HOTSEAT_URL", made.url)
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def hotseat(*words: str) -> Result:
    result = CliRunner().invoke(main, words, prog_name="hotseat")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_status_is_a_table(stub: StubLauncher) -> None:
    result = hotseat("status")
    assert result.exit_code == 0
    url, _, head, row = result.output.splitlines()
    assert url == stub.url
    assert head.split()[:6] == ["MODEL", "STATE", "RUNNING", "WAITING", "REQUESTS", "STARTS"]
    assert row.split()[:7] == ["chat", "ready", "2", "1", "40", "3", "8.0"]
    assert row.endswith("/chat/v1 (default)")


def test_status_as_json(stub: StubLauncher) -> None:
    stub.answers["GET /healthz"] = (503, {"status": "unavailable", "runtimes": {"docker": "no socket"}})
    told = json.loads(hotseat("status", "--json").output)
    assert told == {
        "url": stub.url,
        "routes": ROUTES,
        "models": {"chat": MODEL},
        "unusable_runtimes": {"docker": "no socket"},
    }
    assert "Runtime docker cannot be used: no socket" in hotseat("status").output


def test_states_in_words() -> None:
    now = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)

    def shown(**changes: Any) -> str:
        return click.unstyle(
            render("url", {}, {"chat": msgspec.convert({**MODEL, **changes}, ModelStatus)}, now)
        )

    assert "starting (compiling, about 35 s left)" in shown(state="starting", phase="compiling", eta_s=35.2)
    assert "starting " in shown(state="starting", phase="starting")
    assert "left" not in shown(state="stopped", waiting=0, eta_s=3.0)
    assert " queued (start takes about 3 s)" in shown(state="stopped", eta_s=3.0)
    assert "backoff (next try in 4 s)" in shown(state="backoff", retry_in_s=4.2)
    assert "2 m ago" in shown()
    for then, ago in (("11:59:58", "2 s ago"), ("09:00:00", "3 h ago"), ("12:00:05", "0 s ago")):
        assert ago in shown(last_hit=f"2026-01-01T{then}Z")
    assert "2 d ago" in shown(last_hit="2025-12-30T11:00:00Z")
    assert " ago" not in shown(last_hit=None)
    assert " ago" not in shown(last_hit="yesterday")
    failed = shown(
        last_error={"summary": "exited with code 3", "hint": "free \x1b[31mmemory", "lines": ["x"]}
    )
    assert failed.splitlines()[-1] == "chat: exited with code 3: free  [31mmemory"


def test_orders_are_posted_as_json(stub: StubLauncher) -> None:
    stub.answers["POST /admin/start"] = (200, {"model": "chat", **model_status("starting", eta_s=30.0)})
    result = hotseat("start", "chat")
    assert (result.exit_code, result.output) == (0, "chat: starting (about 30 s left)\n")
    method, path, headers, body = stub.asked[-1]
    assert (method, path, body) == ("POST", "/admin/start", {"route": "chat", "wait": False})
    assert headers["content-type"] == "application/json"
    assert "authorization" not in headers
    stub.answers["POST /admin/stop"] = (200, {"model": "chat", **model_status("stopped")})
    assert json.loads(hotseat("stop", "chat", "--wait", "--json").output)["state"] == "stopped"
    assert stub.asked[-1][3] == {"route": "chat", "wait": True, "sleep": False}


def test_a_refusal_is_told_and_fails(stub: StubLauncher) -> None:
    stub.answers["POST /admin/start"] = (503, error("chat: out of GPU memory"))
    result = hotseat("start", "chat", "--wait")
    assert (result.exit_code, result.stderr) == (1, "Error: chat: out of GPU memory\n")


def test_logs(stub: StubLauncher) -> None:
    stub.answers["GET /logs/a/b?lines=2"] = (200, {"model": "a/b", "lines": ["one\ttab", "  \x1b[2Jtwo"]})
    result = hotseat("logs", "a/b", "-n", "2")
    assert (result.exit_code, result.output) == (0, "one     tab\n   [2Jtwo\n")
    assert json.loads(hotseat("logs", "a/b", "-n", "2", "--json").output)["lines"][1] == "  \x1b[2Jtwo"
    assert hotseat("logs", "chat", "-n", "0").exit_code == 2


@pytest.mark.parametrize("name", KEYS)
def test_the_key_is_sent_and_never_shown(
    stub: StubLauncher, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for later in KEYS[KEYS.index(name) :]:
        monkeypatch.setenv(later, f"value-of-{later}")
    stub.answers["GET /routes"] = (403, error(f"value-of-{name}"))
    result = hotseat("status")
    assert stub.asked[-1][2]["authorization"] == f"Bearer value-of-{name}"
    assert result.exit_code == 1
    assert "requires an admin key: set HOTSEAT_ADMIN_KEY" in result.stderr
    assert "value-of" not in result.output


def test_a_key_that_is_no_header_is_refused_quietly(
    stub: StubLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bad in ("schlüssel-€", "two\nlines"):
        monkeypatch.setenv("HOTSEAT_ADMIN_KEY", bad)
        result = hotseat("status")
        assert result.exit_code == 1
        assert "the key has characters that a header cannot carry" in result.stderr
        assert bad not in result.output
    assert stub.asked == []


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff", b"", b"{}", b'{"routes": {"chat": {}}}'])
def test_somebody_else_at_that_address(stub: StubLauncher, body: bytes) -> None:
    stub.answers["GET /routes"] = (200, body)
    result = hotseat("status")
    assert result.exit_code == 1
    assert "is not a hotseat launcher's" in result.stderr


def test_nobody_at_that_address(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: refused for sure
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for command in (["status"], ["start", "chat"], ["stop", "chat"], ["logs", "chat"]):
            result = hotseat(*command, "--url", f"http://127.0.0.1:{port}")
            assert result.exit_code == 3
            assert f"no launcher answers at http://127.0.0.1:{port} (connection refused)" in result.stderr
            assert "hotseat serve" in result.stderr
        (tmp_path / "hotseat.yaml").write_text(f"listen: :{port}\n")
        assert f"http://127.0.0.1:{port} (" in hotseat("status").stderr
        (tmp_path / "other.yaml").write_text(f"listen: 'localhost:{port}'\n")
        assert f"http://localhost:{port} (" in hotseat("status", "-c", "other.yaml").stderr


def test_a_launcher_that_breaks_off_or_stays_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = hotseat("start", "chat", "--wait", "--timeout", "0.05", "--url", f"127.0.0.1:{port}")
        assert result.exit_code == 1
        assert "sent nothing for 0.05 seconds" in result.stderr

        for _ in range(2):  # those of the command that gave up, and asked how far the start is
            server.accept()[0].close()

        def hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")

        thread = threading.Thread(target=hang_up)
        thread.start()
        result = hotseat("status", "--url", f"127.0.0.1:{port}")
        thread.join()
        assert result.exit_code == 1
        assert "closed the connection early" in result.stderr


@pytest.mark.parametrize(
    "url", ["", "ftp://x", "http://", "http://u:p@h", "http://h:port", "http://[x", "http://h?x"]
)
def test_what_is_no_url(url: str) -> None:
    result = hotseat("status", "--url", url)
    assert result.exit_code == 2
    assert "expected a URL such as http://127.0.0.1:8000" in result.stderr


def test_a_broken_configuration_is_usage(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("listen: nowhere\n")
    result = hotseat("status", "-c", "bad.yaml")
    assert result.exit_code == 2
    assert "bad.yaml:1: listen: expected an address" in result.stderr


THREE = {
    "chat": route("chat"),
    "site": route("chat", path="/site/v1"),
    "coder": route("coder", state="stopped"),
    "tiny": route("tiny", state="asleep"),
}


def test_switch_stops_the_others_and_starts_one(
    stub: StubLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker-compose.yml").write_text("services: {}\n")
    monkeypatch.chdir(tmp_path)  # a launcher that is named goes before the folder's stack
    stub.answers["GET /routes"] = (200, {"routes": THREE})
    stub.answers["POST /admin/stop"] = (200, {"model": "chat", **model_status("draining")})
    queued = model_status("stopped", requested=True, eta_s=5.0)
    stub.answers["POST /admin/start"] = (200, {"model": "coder", **queued})
    stub.answers["GET /stats"] = (200, stats(chat=model_status("ready", footprint={"0": 0.9}), coder=queued))
    result = hotseat("switch", "coder")
    assert result.exit_code == 0
    assert result.stdout == "coder: queued; chat must stop first (start takes about 5 s)\n"
    assert result.stderr == "chat: stopping\ntiny: stopping\n"
    assert [(path, body) for _, path, _, body in stub.asked[1:]] == [
        ("/admin/stop", {"route": "chat", "wait": False, "sleep": False}),
        ("/admin/stop", {"route": "tiny", "wait": False, "sleep": False}),
        ("/admin/start", {"route": "coder", "wait": False}),
        ("/stats", None),
    ]


def test_switch_to_a_route_of_a_ready_model(stub: StubLauncher) -> None:
    stub.answers["GET /routes"] = (200, {"routes": THREE})
    result = hotseat("switch", "site", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "stop tiny\nstart site\n")
    assert [path for _, path, _, _ in stub.asked] == ["/routes"]


@pytest.mark.parametrize("name", ["q7b", "qwen7b-bnb4"])
def test_switch_takes_an_alias_or_a_container(stub: StubLauncher, name: str) -> None:
    qwen = route("qwen", state="stopped", aliases=["q7b"], runtime="docker", target="qwen7b-bnb4")
    stub.answers["GET /routes"] = (200, {"routes": {**THREE, "qwen7b": qwen}})
    result = hotseat("switch", name, "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "stop chat\nstop tiny\nstart qwen7b\n")


def test_switch_to_nobody_stops_nobody(stub: StubLauncher) -> None:
    stub.answers["GET /routes"] = (200, {"routes": THREE})
    result = hotseat("switch", "llama")
    assert result.exit_code == 2
    assert "there are chat, coder, site, tiny" in result.stderr
    assert len(stub.asked) == 1
