"""The front door of ``hotseat serve`` as a process: keys enforced, reloaded, and in no output."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes import engine

LIMIT_S = 60
SECRETS = {
    "VLLM_API_KEY": "sk-default-0123456789",
    "ADMIN_API_KEY": "sk-admin-0123456789",
    "UPSTREAM_API_KEY": "sk-upstream-0123456789",
    "FRIEND": "sk-friend-0123456789",
    "WRONG": "sk-wrong-0123456789",
    "QUERY": "sk-query-0123456789",
    "COOKIE": "cookie-0123456789",
    "WORDS": "words-that-nobody-else-says",
}


class Serving:
    def __init__(self, process: subprocess.Popen[str], port: int, tls: ssl.SSLContext | None) -> None:
        self.process, self.port, self._tls = process, port, tls
        self.output = ""

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection: http.client.HTTPConnection
        if self._tls:
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=LIMIT_S, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        content = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, content, {
            "Content-Type": "application/json", **fields,
        })  # fmt: skip
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        return answer.status, json.loads(raw)

    def stop(self) -> tuple[str, str]:
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=LIMIT_S)
        assert self.process.returncode == 0
        return out, self.output + err


@contextmanager
def serving(
    folder: Path, config: Mapping[str, Any], tls: ssl.SSLContext | None = None, **env: str
) -> Iterator[Serving]:
    path = folder / "hotseat.yaml"
    path.write_text(yaml.safe_dump(dict(config)))
    ours = ("HOTSEAT_", "VLLM_API_KEY", "ADMIN_API_KEY", "REQUIRE_AUTH")
    outer = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    process = subprocess.Popen(
        [sys.executable, "-m", "hotseat", "serve", "-c", str(path), "--log-level", "debug"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**outer, "LISTEN": "127.0.0.1:0", **env},
    )
    assert process.stderr is not None
    try:
        told = b""
        while b'"listening"' not in told or not told.endswith(b"\n"):
            # A byte at a time: what a file object reads ahead, communicate() would not get.
            byte = os.read(process.stderr.fileno(), 1)
            assert byte, told
            told += byte
        lines = told.decode()
        port = int(json.loads(lines.splitlines()[-1])["url"].rpartition(":")[2])
        found = Serving(process, port, tls)
        found.output = lines
        yield found
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=LIMIT_S)


def config(**more: Any) -> dict[str, Any]:
    command = [*engine.command("--name", "chat", "--api-key", SECRETS["UPSTREAM_API_KEY"])]
    return {"state_dir": "state", "models": {"chat": {"command": command}}, **more}


def bearer(name: str) -> str:
    return f"Bearer {SECRETS[name]}"


def test_keys_are_enforced_and_no_secret_is_in_any_output(tmp_path: Path) -> None:
    keys = {"friend": {"key": "${FRIEND}", "models": ["chat"], "rate_limit": "2/hour"}}
    body = {"model": "chat", "messages": [{"role": "user", "content": SECRETS["WORDS"]}], "max_tokens": 2}
    chat = "/v1/chat/completions"
    with_query = f"{chat}?api_key={SECRETS['QUERY']}"
    env = {name: SECRETS[name] for name in ("VLLM_API_KEY", "ADMIN_API_KEY", "UPSTREAM_API_KEY", "FRIEND")}
    with serving(tmp_path, config(keys=keys), **env) as launcher:
        cookie = f"session={SECRETS['COOKIE']}"
        assert launcher.ask(with_query, body)[0] == 401
        assert launcher.ask(chat, body, Authorization=bearer("WRONG"))[0] == 401
        assert launcher.ask(chat, body, x_api_key=SECRETS["VLLM_API_KEY"], Cookie=cookie)[0] == 200
        statuses = [
            launcher.ask(chat, body, Authorization=bearer("FRIEND"), X_Request_ID=SECRETS["FRIEND"])[0]
            for _ in range(3)
        ]
        assert statuses == [200, 200, 429]
        assert launcher.ask("/stats", Authorization=bearer("VLLM_API_KEY"))[0] == 403
        assert launcher.ask("/stats", Authorization=bearer("ADMIN_API_KEY"))[0] == 200
        assert launcher.ask("/healthz") == (200, {"status": "ok"})
        mapped = launcher.ask("/healthz", Authorization=bearer("FRIEND"))[1]
        assert mapped["routes"]["chat"]["state"] == "ready"
        assert launcher.ask("/v1/messages", body, x_api_key=SECRETS["WRONG"])[0] == 401
        out, err = launcher.stop()
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 11
    assert lines[0]["path"] == chat
    assert [line.get("key") for line in lines[2:5]] == ["VLLM_API_KEY", "friend", "friend"]
    for name, secret in SECRETS.items():
        assert secret not in out, name
        assert secret not in err, name


def test_a_revoked_key_is_refused_after_a_reload(tmp_path: Path) -> None:
    env_file = tmp_path / "keys.env"
    env_file.write_text("VLLM_API_KEY=sk-first-0123456789\n")
    with serving(tmp_path, config(), HOTSEAT_ENV_FILE=str(env_file)) as launcher:
        first = {"Authorization": "Bearer sk-first-0123456789"}
        second = {"Authorization": "Bearer sk-second-0123456789"}
        assert launcher.ask("/v1/models", **first)[0] == 200
        env_file.write_text("VLLM_API_KEY=sk-second-0123456789\n")
        assert launcher.ask("/admin/reload", {}, **first)[0] == 200
        assert launcher.ask("/v1/models", **first)[0] == 401
        assert launcher.ask("/v1/models", **second)[0] == 200
        # the old one is good for its time of grace
        env_file.write_text(
            "VLLM_API_KEY=sk-third-0123456789\nVLLM_API_KEY_OLD=sk-second-0123456789\n"
            "VLLM_API_KEY_OLD_UNTIL=2999-01-01T00:00:00Z\n"
        )
        assert launcher.ask("/admin/reload", {}, **second)[0] == 200
        assert launcher.ask("/v1/models", **second)[0] == 200
        out, err = launcher.stop()
        assert "sk-second" not in out + err


def test_the_opt_out_is_loud(tmp_path: Path) -> None:
    with serving(tmp_path, config(), REQUIRE_AUTH="false", VLLM_API_KEY=SECRETS["VLLM_API_KEY"]) as launcher:
        assert launcher.ask("/v1/models")[0] == 200
        assert launcher.ask("/stats")[0] == 401
        _, err = launcher.stop()
    [warning] = [line for line in map(json.loads, err.splitlines()) if line["level"] == "warning"]
    assert "AUTH IS OFF" in warning["event"]


@pytest.mark.system("openssl")
def test_https_by_hotseat_itself(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = {"cert": "cert.pem", "key": "key.pem"}
    with serving(tmp_path, config(tls=tls), ssl.create_default_context(cafile=str(cert))) as launcher:
        assert launcher.ask("/healthz")[0] == 200
        launcher.stop()
