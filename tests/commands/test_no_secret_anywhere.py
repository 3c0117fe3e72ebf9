"""A full run with every kind of secret, and a search for each of them in all that hotseat left and said.

Looked at: both outputs at level debug, every answer of our own pages (metrics and events too), every
error, all files below ``state_dir`` (the history's database, the runs, the servers' own logs, a
capture), what the commands printed, and what came to the model's server.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes import engine

LIMIT_S = 60.0

CLIENTS = {
    "default": "sk-default-1c0ffee1",
    "previous": "sk-previous-2c0ffee2",
    "admin": "sk-admin-3c0ffee3",
    "friend": "sk-friend-4c0ffee4",
    "from_a_file": "sk-docker-secret-5c0ffee5",
    "hashed": "sk-hashed-6c0ffee6",
    "expired": "sk-expired-7c0ffee7",
    "second": "second-factor-8c0ffee8",
}
"""What clients prove themselves by."""
SERVERS = {
    "upstream": "sk-upstream-0adadad0",
    "own_upstream": "sk-own-upstream-1adadad1",
    "environment": "hf-token-2adadad2",
}
"""What models' servers are given."""
STRANGERS = {
    "wrong": "sk-wrong-0bababa0",
    "wrong_password": "wrong-password-1bababa1",
    "wrong_second": "wrong-second-2bababa2",
    "query": "sk-query-3bababa3",
    "cookie": "cookie-4bababa4",
    "other_header": "other-header-5bababa5",
}
"""What only their senders know; nothing of it is registered anywhere."""
WORDS = {"asked": "a-word-that-was-asked-6feedfee"}
SECRETS = {**CLIENTS, **SERVERS, **STRANGERS}


class Run:
    """A launcher, and all that it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: dict[str, bytes] = {}
        self.port = 0

    def note(self, what: str, text: bytes | str) -> None:
        self.said[f"{len(self.said)}: {what}"] = text if isinstance(text, bytes) else text.encode()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> int:
        """A request; its answer, header and body, is kept."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        content = json.dumps(body) if isinstance(body, dict) else body
        try:
            connection.request(method, path, content, {"Content-Type": "application/json", **fields})
            answer = connection.getresponse()
            told = str(answer.getheaders()).encode() + answer.read()
        finally:
            connection.close()
        self.note(f"{method} {path.partition('?')[0]} -> {answer.status}", told)
        return answer.status

    def raw(self, data: bytes) -> bytes:
        """Bytes as they are; what comes back is kept."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT_S) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            told = b""
            with contextlib.suppress(ConnectionError):
                while piece := sock.recv(65536):
                    told += piece
        self.note("raw", told)
        return told

    def command(self, *words: str, **env: str) -> int:
        done = subprocess.run(
            [sys.executable, "-m", "hotseat", *words, "--url", f"http://127.0.0.1:{self.port}"],
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
            env={**os.environ, **env},
        )
        self.note(f"hotseat {words[0]}", done.stdout + done.stderr)
        return done.returncode

    def find(self, secrets: dict[str, str]) -> list[tuple[str, str]]:
        """Which secret stands where, in any of its spellings."""
        said = dict(self.said)
        for file in sorted(self.folder.rglob("*")):
            if file.is_file() and file.parent != self.folder:
                said[str(file.relative_to(self.folder))] = file.read_bytes()
        return [
            (name, where)
            for name, secret in secrets.items()
            for spelling in spellings(secret)
            for where, text in said.items()
            if spelling in text
        ]


def spellings(secret: str) -> Iterator[bytes]:
    plain = secret.encode()
    yield plain
    yield plain.hex().encode()
    yield secret.encode("utf-16-le")
    for before in (b"", b"m", b"me"):  # inside Base64, whatever stands before it
        inner = base64.b64encode(before + plain)
        yield inner[4:-4]


def config(folder: Path) -> dict[str, Any]:
    (folder / "docker-secret").write_text(CLIENTS["from_a_file"] + "\n")
    chat = [*engine.command("--api-key", SERVERS["upstream"], name="chat")]
    return {
        "state_dir": "state",
        "api_secret": "${SECOND}",
        "keys": {
            "friend": {"key": "${FRIEND}", "models": ["chat"], "rate_limit": "2/hour"},
            "filed": {"key_file": "docker-secret"},
            "hashed": {"sha256": hashlib.sha256(CLIENTS["hashed"].encode()).hexdigest()},
            "expired": {"key": "${EXPIRED}", "expires": "2020-01-01"},
        },
        "models": {
            "chat": {"command": chat, "footprint": 0.1},
            "own": {
                "command": [*engine.command(name="own")],
                "footprint": 0.1,
                "upstream_key": "${OWN_UPSTREAM}",
                "env": {"HF_TOKEN": "${HUB}"},
            },
            "broken": {"command": [*engine.command("--start-fails")], "footprint": 0.1},
            "dies": {"command": [*engine.command("--dies-in-stream", "2", name="dies")], "footprint": 0.1},
        },
        "routes": {
            "chat": {"model": "chat"},
            "site": {"model": "chat", "system_prompt": "Be kind.", "clamp": {"max_tokens": 5}},
        },
        "default_model": "chat",
    }


def environment() -> dict[str, str]:
    return {
        "VLLM_API_KEY": CLIENTS["default"],
        "VLLM_API_KEY_OLD": CLIENTS["previous"],
        "VLLM_API_KEY_OLD_UNTIL": "2999-01-01",
        "ADMIN_API_KEY": CLIENTS["admin"],
        "FRIEND": CLIENTS["friend"],
        "EXPIRED": CLIENTS["expired"],
        "SECOND": CLIENTS["second"],
        "UPSTREAM_API_KEY": SERVERS["upstream"],
        "OWN_UPSTREAM": SERVERS["own_upstream"],
        "HUB": SERVERS["environment"],
    }


@contextmanager
def launched(folder: Path) -> Iterator[Run]:
    run = Run(folder)
    file = folder / "hotseat.yaml"
    file.write_text(yaml.safe_dump(config(folder)))
    ours = ("HOTSEAT_", "VLLM_API_KEY", "ADMIN_API_KEY", "REQUIRE_AUTH", "UPSTREAM_API_KEY")
    outer = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    outputs = [folder / "stdout", folder / "stderr"]
    with outputs[0].open("wb") as out, outputs[1].open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "hotseat", "serve", "-c", str(file), "--log-level", "debug"],
            stdout=out,
            stderr=err,
            env={**outer, "LISTEN": "127.0.0.1:0", **environment()},
        )
        try:
            wait(lambda: b'"listening"' in outputs[1].read_bytes())
            lines = map(json.loads, outputs[1].read_text().splitlines())
            url = next(line["url"] for line in lines if line["event"] == "listening")
            run.port = int(url.rpartition(":")[2])
            # The events have an end when hotseat ends.
            events = threading.Thread(target=run.ask, args=("GET", "/events"), kwargs=ADMIN, daemon=True)
            events.start()
            yield run
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) == 0
            events.join(LIMIT_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(LIMIT_S)
    for output in outputs:
        run.note(output.name, output.read_bytes())


def wait(so: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()}


SECOND = {"X_API_Secret": CLIENTS["second"]}
ADMIN = {**bearer(CLIENTS["admin"]), **SECOND}
OWNER = {**bearer(CLIENTS["default"]), **SECOND}
BODY = {"messages": [{"role": "user", "content": WORDS["asked"]}], "max_tokens": 2, "prompt": WORDS["asked"]}
STYLES = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings")


def use_everything(run: Run) -> set[int]:
    """Requests of all kinds; the statuses that came back."""
    seen = set()

    def ask(method: str, path: str, body: Any = None, **headers: str) -> None:
        seen.add(run.ask(method, path, body, **headers))

    # good ones, in each style and by each way to send a key
    for style in STYLES:
        ask("POST", style, {"model": "chat", **BODY}, **OWNER)
        ask("POST", f"/site{style}", BODY, **OWNER)
        ask("POST", f"/own{style}", {**BODY, "stream": True}, **OWNER)
        ask("POST", style, {"model": "chat", **BODY}, x_api_key=CLIENTS["previous"], **SECOND)
    for name in ("from_a_file", "hashed", "friend", "friend", "friend", "expired"):
        ask("POST", STYLES[0], {"model": "chat", **BODY}, **bearer(CLIENTS[name]), **SECOND)
    # credentials where they do not belong
    names = ("api_key", "key", "token", "access_token", "password", "api%5Fkey", "Secret", "sig", "auth")
    query = "&".join(f"{name}={STRANGERS['query']}" for name in names)
    for path in (*STYLES, "/v1/models", "/stats", "/healthz", "/nope", "/chat/v1/echo"):
        ask("POST" if "/v1/" in path else "GET", f"{path}?{query}&a=b", BODY, **OWNER)
        ask("GET", f"{path}?{query}", None)
    others = {
        "Cookie": f"session={STRANGERS['cookie']}",
        "Proxy_Authorization": f"Bearer {STRANGERS['other_header']}",
        "api_key": STRANGERS["other_header"],
        "x_goog_api_key": STRANGERS["other_header"],
        "X_Auth_Token": STRANGERS["other_header"],
        "CF_Access_Client_Secret": STRANGERS["other_header"],
    }
    ask("POST", "/chat/v1/echo", BODY, **OWNER, **others)
    # wrong ones
    for path in ("/v1/chat/completions", "/v1/messages", "/own/v1/models", "/stats", "/admin/start", "/nope"):
        for wrong in (
            {**bearer(STRANGERS["wrong"]), **SECOND},
            {"x_api_key": STRANGERS["wrong"], **SECOND},
            {**basic(STRANGERS["wrong_password"]), **SECOND},
            {**bearer(CLIENTS["default"]), "X_API_Secret": STRANGERS["wrong_second"]},
            {"Authorization": STRANGERS["wrong"]},
            {"Authorization": f"Token {STRANGERS['wrong']}"},
            bearer(CLIENTS["admin"]),
        ):
            ask("POST", path, BODY, **wrong)
    # secrets that we know, where a client may write what it likes
    for name in ("default", "admin", "friend", "second"):
        secret = CLIENTS[name]
        ask("POST", f"/chat/v1/responses/{secret}", BODY, **OWNER)
        ask("GET", f"/{secret}", None, **OWNER)
        ask("POST", STYLES[0], {"model": "chat", **BODY}, X_Request_ID=secret, **OWNER)
        ask("POST", STYLES[0], {"model": "chat", **BODY}, traceparent=secret, User_Agent=secret, **OWNER)
    # what goes wrong
    for body in (b"{", b'{"max_tokens":"x"}', b"\xff", b"[" * 99_999):
        ask("POST", f"/site{STYLES[0]}", body, **OWNER)
    ask("POST", STYLES[0], b"{}", Content_Encoding="br", **OWNER)
    ask("POST", "/broken/v1/chat/completions", BODY, **OWNER)
    ask("POST", "/dies/v1/chat/completions", {**BODY, "stream": True}, **OWNER)
    ask("PUT", "/stats", None, **ADMIN)
    for malformed in (
        f"GET / HTTP/1.1\r\nAuthorization: Bearer {CLIENTS['default']}\r\nX: \x00\r\n\r\n",
        f"GET /?key={STRANGERS['query']} HTTP/1.1\r\nAuthorization: Bearer {CLIENTS['default']}\r\n"
        f"X: {'y' * 40_000}\r\n\r\n",
        f"GET / HTTP/1.1\r\nAuthorization: Bearer {CLIENTS['default']}\r\n"
        f"authorization: Bearer {STRANGERS['wrong']}\r\n\r\n",
        f"{CLIENTS['default']} / HTTP/1.1\r\n\r\n",
    ):
        run.raw(malformed.encode())
    # our own pages and orders
    for path in ("/healthz", "/routes", "/stats", "/metrics", "/metrics/models", "/openapi.json"):
        ask("GET", path, None, **ADMIN)
    for model in ("chat", "own", "broken", "dies"):
        ask("GET", f"/logs/{model}?lines=10000", None, **ADMIN)
        ask("GET", f"/admin/launch/{model}", None, **ADMIN)
    ask("POST", "/admin/start", {"route": CLIENTS["default"]}, **ADMIN)
    (run.folder / "hotseat.yaml").write_text("nonsense: true\n")
    ask("POST", "/admin/reload", {}, **ADMIN)
    (run.folder / "hotseat.yaml").write_text(yaml.safe_dump(config(run.folder)))
    ask("POST", "/admin/reload", {}, **ADMIN)
    # a capture, of texts with all secrets that the configuration knows
    known = [secret for name, secret in SECRETS.items() if name in CLIENTS | SERVERS and name != "hashed"]
    ask("POST", "/admin/capture", {"route": "chat", "seconds": 60}, **ADMIN)
    ask("POST", f"{STYLES[0]}?{query}", {"model": "chat", **BODY, "user": " ".join(known)}, **OWNER)
    ask("POST", "/chat/v1/echo", {"said": f"Authorization: Bearer {CLIENTS['hashed']}"}, **OWNER, **others)
    # the commands
    admin = {"ADMIN_API_KEY": CLIENTS["admin"], "HOTSEAT_API_SECRET": CLIENTS["second"]}
    client = {"VLLM_API_KEY": CLIENTS["default"], "HOTSEAT_API_SECRET": CLIENTS["second"]}
    assert run.command("status", **admin) == 0
    assert run.command("check", "chat", **client) == 0
    assert run.command("status", **{**admin, "HOTSEAT_API_SECRET": STRANGERS["wrong_second"]}) == 1
    assert run.command("status", **{**admin, "ADMIN_API_KEY": STRANGERS["wrong"]}) == 1
    ask("POST", "/admin/stop", {"route": "chat", "wait": True}, **ADMIN)
    return seen


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with launched(tmp_path_factory.mktemp("run")) as made:
        seen = use_everything(made)
    assert {200, 400, 401, 403, 404, 405, 415, 429, 503} <= seen
    return made


def test_no_secret_stands_anywhere(run: Run) -> None:
    # The fake server's echo tells what came to it: its own key, and what a client wrote as plain text.
    echoed = {("upstream", "/chat/v1/echo"), ("hashed", "/chat/v1/echo")}
    found = [(name, where) for name, where in run.find(SECRETS) if (name, path_of(where)) not in echoed]
    assert found == []


def path_of(where: str) -> str:
    """Of an answer that was kept (``12: POST /v1/models -> 200``)."""
    words = where.split()
    return words[2] if len(words) > 2 else ""


def test_no_prompt_stands_outside_of_the_capture(run: Run) -> None:
    where = {where for _, where in run.find(WORDS) if path_of(where) != "/chat/v1/echo"}
    assert where == {"state/captures/chat.jsonl"}


def test_what_is_searched_was_there(run: Run) -> None:
    """The run left what it should have: else the search finds nothing for want of anything to find."""
    texts = {where.split(": ", 1)[1]: text for where, text in run.said.items()}
    access = [json.loads(line) for line in texts["stdout"].splitlines()]
    assert len(access) > 120
    assert {"VLLM_API_KEY", "VLLM_API_KEY_OLD", "ADMIN_API_KEY", "friend", "filed", "hashed"} <= {
        line.get("key") for line in access
    }
    assert len(texts["stderr"].splitlines()) > 10
    assert b"hotseat_requests_total" in texts["GET /metrics -> 200"]
    assert b"event: move" in texts["GET /events -> 200"]
    files = {str(file.relative_to(run.folder)) for file in run.folder.rglob("*") if file.is_file()}
    assert {"state/history.sqlite3", "state/captures/chat.jsonl"} <= files
    assert any(name.startswith("state/logs/chat") for name in files)


def test_a_secret_that_stands_somewhere_is_found(run: Run) -> None:
    planted = CLIENTS["hashed"]
    for spelled in (planted, planted.encode().hex(), base64.b64encode(f"me:{planted}".encode()).decode()):
        copy = Run(run.folder)
        copy.note("planted", f"x {spelled} y")
        assert ("hashed", "0: planted") in copy.find({"hashed": planted})
