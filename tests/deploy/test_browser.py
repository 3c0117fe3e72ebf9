"""A page in a real browser: from an allowed origin it chats and sees a stream, from another it cannot."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fakes.engine import command
from fakes.hotseat import Hotseat

pytestmark = pytest.mark.system("chromium")
LIMIT_S = 90.0
KEY = "a-key-that-may-be-published"

PAGE = """<!doctype html><title>chat</title><pre id="answer"></pre><script>
async function chat() {
  const response = await fetch("%(url)s/chat/v1/chat/completions", {
    method: "POST",
    headers: {"Content-Type": "application/json", "Authorization": "Bearer %(key)s"},
    body: JSON.stringify({model: "chat", stream: true, messages: [{role: "user", content: "hello"}]}),
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pieces = 0, text = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) break;
    pieces += 1;
    text += value;
    document.getElementById("answer").textContent = text;
  }
  return {status: response.status, pieces, text};
}
async function wrong() {
  const response = await fetch("%(url)s/chat/v1/chat/completions", {
    method: "POST", body: "{}",
    headers: {"Content-Type": "application/json", "Authorization": "Bearer wrong"},
  });
  return {status: response.status, error: (await response.json()).error.code};
}
(async () => {
  const told = {};
  for (const [name, what] of Object.entries({chat, wrong}))
    try { told[name] = await what(); } catch (error) { told[name] = {failed: error.name}; }
  await fetch("/told", {method: "POST", body: JSON.stringify(told)});
})();
</script>"""


class Site:
    """A web site with one page, which tells it how it fared."""

    def __init__(self) -> None:
        self.page = b""
        self.told: queue.Queue[dict[str, Any]] = queue.Queue()
        site = self

        class Answers(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/" else 404)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(site.page if self.path == "/" else b"")

            def do_POST(self) -> None:
                site.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def hotseat(tmp_path: Path, site: Site) -> Iterator[Hotseat]:
    running = Hotseat(tmp_path, {}, env={"SITE_KEY": KEY})
    words = list(command("--start-s", "1", "--tokens", "20", "--token-interval-s", "0.05", name="chat"))
    origin = f"http://localhost:{site.port}"
    running.file.write_text(
        json.dumps(
            {
                "state_dir": str(tmp_path / "state"),
                "keys": {"site": {"key": "${SITE_KEY}", "models": ["chat"], "origins": [origin]}},
                "models": {"chat": {"command": words, "cors": [origin]}},
            }
        )
    )
    running.start()
    yield running
    running.stop()


def visit(site: Site, hotseat: Hotseat, host: str, profile: Path) -> dict[str, Any]:
    """Open the site's page under this host name; returns what the page tells."""
    values = {"url": f"http://127.0.0.1:{hotseat.port}", "key": KEY}
    site.page = (PAGE % values).encode()
    words = [
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", f"http://{host}:{site.port}/",
    ]  # fmt: skip
    with subprocess.Popen(words, stdout=sys.stderr, stderr=subprocess.DEVNULL) as browser:
        try:
            return site.told.get(timeout=LIMIT_S)
        finally:
            browser.kill()


def test_a_page_of_an_allowed_origin_chats(site: Site, hotseat: Hotseat, tmp_path: Path) -> None:
    told = visit(site, hotseat, "localhost", tmp_path / "profile")
    assert told["chat"]["status"] == 200, told
    assert told["chat"]["pieces"] > 5
    assert "token19" in told["chat"]["text"]
    assert told["chat"]["text"].rstrip().endswith("data: [DONE]")
    assert told["wrong"] == {"status": 401, "error": "invalid_api_key"}, "an error must be readable"


def test_the_same_page_of_another_origin_cannot(site: Site, hotseat: Hotseat, tmp_path: Path) -> None:
    told = visit(site, hotseat, "127.0.0.1", tmp_path / "profile")
    assert told == {"chat": {"failed": "TypeError"}, "wrong": {"failed": "TypeError"}}
    assert hotseat.send("GET", "/health").status == 200
    assert not [line for line in hotseat.lines if line["event"] == "starting"], "it woke a model"
