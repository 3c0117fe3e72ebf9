"""``logs --follow`` and ``status --watch``: they go on until they are told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from fakes.admin_api import error, stats

LIMIT_S = 60


class Slow:
    """A launcher whose logs go on for as long as the test wants."""

    def __init__(self) -> None:
        self.more = threading.Event()
        self.asked: list[str] = []
        self.status = 200
        slow = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                slow.asked.append(self.path)
                if not self.path.startswith("/logs/") or slow.status != 200:
                    responses = {"/routes": {"routes": {}}, "/stats": stats(), "/healthz": {"status": "ok"}}
                    missing = slow.status != 200
                    body = json.dumps(error("no such model") if missing else responses[self.path]).encode()
                    self.send_response(slow.status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    return
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.say(b"one\n\x1b[31mtwo\n")
                slow.more.wait(LIMIT_S)
                self.say(b"three\n")
                self.wfile.write(b"0\r\n\r\n")

            def say(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def launcher() -> Iterator[Slow]:
    made = Slow()
    threading.Thread(target=made.server.serve_forever, args=[0.01], daemon=True).start()
    yield made
    made.more.set()
    made.server.shutdown()
    made.server.server_close()


def begun(launcher: Slow, *words: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.endswith("_KEY")}
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "hotseat", *words, "--url", launcher.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**env, "TERM": "dumb"},
    )


def test_lines_come_at_once_and_cannot_steer_the_terminal(launcher: Slow) -> None:
    with begun(launcher, "logs", "-f", "-n", "2", "chat") as command:
        assert command.stdout is not None
        assert [command.stdout.readline(), command.stdout.readline()] == ["one\n", " [31mtwo\n"]
        assert launcher.asked == ["/logs/chat?lines=2&follow=1"]
        launcher.more.set()
        rest, errors = command.communicate(timeout=LIMIT_S)
        assert (rest, errors, command.returncode) == ("three\n", "", 0)


def test_ctrl_c_ends_following_quietly(launcher: Slow) -> None:
    with begun(launcher, "logs", "--follow", "chat") as command:
        assert command.stdout is not None
        command.stdout.readline()
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=LIMIT_S)
        assert (errors, command.returncode) == ("", 0)


def test_a_reader_that_closes_its_end_is_no_error(launcher: Slow) -> None:
    with begun(launcher, "logs", "--follow", "chat") as command:
        assert command.stdout is not None
        command.stdout.readline()
        command.stdout.close()
        launcher.more.set()
        assert command.wait(LIMIT_S) in (0, 1)
        assert command.stderr is not None
        assert "Traceback" not in command.stderr.read()


def test_what_cannot_be_followed_is_said(launcher: Slow) -> None:
    launcher.status = 404
    with begun(launcher, "logs", "--follow", "nobody") as command:
        _, errors = command.communicate(timeout=LIMIT_S)
        assert "no such model" in errors
        assert command.returncode == 1
    with begun(launcher, "logs", "--follow", "--json", "chat") as command:
        _, errors = command.communicate(timeout=LIMIT_S)
        assert command.returncode == 2
        assert "--follow" in errors


def test_status_is_shown_again_until_ctrl_c(launcher: Slow) -> None:
    with begun(launcher, "status", "--watch") as command:
        assert command.stdout is not None
        heads = 0
        while heads < 2:
            line = command.stdout.readline()
            assert line
            heads += line.startswith("MODEL")
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate(timeout=LIMIT_S)
        assert (errors, command.returncode) == ("", 0)
