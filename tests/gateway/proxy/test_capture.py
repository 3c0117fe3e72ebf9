"""The debug capture: off unless ordered, bounded in time and size, for one model, and without credentials."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from fakes.gateway import Front, front, model, settings
from fakes.hotseat import Hotseat, serving
from fakes.wire import PATIENCE_S, SSE_HEAD, Served, always, chunk, ok
from hotseat import logs
from hotseat.core.access_spec import AuthSpec, BasicSpec, KeySpec, PolicySpec
from hotseat.core.spec import RouteSpec
from hotseat.gateway.proxy import capture
from hotseat.gateway.proxy.capture import Captures

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0
SECRET = "sk-client-0123456789"
KEY = ("Authorization", f"Bearer {SECRET}")
AUTH = AuthSpec(keys=(KeySpec(name="alice", digest=hashlib.sha256(SECRET.encode()).digest()),))
SITE = (RouteSpec(name="site", model="chat", path="/site", policy=PolicySpec(clamp={"n": 1})),)
ANSWER = b'{"ok":1,"usage":{"prompt_tokens":5,"completion_tokens":7}}'


class Caught:
    def __init__(self, gate: Front, captures: Captures, folder: Path) -> None:
        self.gate, self.captures, self.folder = gate, captures, folder

    def records(self, of: str = "chat") -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / f"{of}.jsonl").read_text().splitlines()]


@asynccontextmanager
async def catching(folder: Path, answer: bytes = ok(ANSWER), script: Any = None) -> AsyncIterator[Caught]:
    captures = Captures(folder / "captures", lambda: NOW)
    config = settings(model("chat", served_names=("inner",)), model("coder"), routes=SITE, auth=AUTH)
    async with (
        Served(script or always(answer)) as server,
        front(config, ready={"chat": server.port, "coder": server.port}, captures=captures) as gate,
    ):
        yield Caught(gate, captures, folder / "captures")


async def test_what_is_asked_and_answered_is_written_while_it_is_on_and_not_else(tmp_path: Path) -> None:
    async with catching(tmp_path) as caught:
        body = b'{"model":"site","n":5,"messages":[{"content":"h\\u00e9llo"}]}'
        await caught.gate.ask("/site/v1/chat/completions", body, headers=[KEY])
        assert not caught.folder.exists()
        told = caught.captures.start("chat", 60)
        assert told == {
            "file": str(caught.folder / "chat.jsonl"),
            "until": "2027-01-15T08:01:00.000Z",
            "requests": 0,
            "bytes": 0,
        }
        await caught.gate.ask("/site/v1/chat/completions", body, headers=[KEY, ("X-Request-ID", "one")])
        await caught.gate.ask("/coder/v1/embeddings", b'{"input":"not this one"}', headers=[KEY])
        assert caught.captures.told()["chat"]["requests"] == 1
        caught.captures.stop("chat")
        await caught.gate.ask("/site/v1/chat/completions", body, headers=[KEY])
        [record] = caught.records()
        sent = '{"model":"inner","n":1,"messages":[{"content":"h\\u00e9llo"}]}'
        assert record == {
            "time": "2027-01-15T08:00:00.000Z",
            "id": "one",
            "key": "alice",
            "route": "site",
            "method": "POST",
            "target": "/v1/chat/completions",
            "status": 200,
            "whole": True,
            "code": "",
            "failure": None,
            "request_bytes": len(sent),
            "request": sent,
            "answer_bytes": len(ANSWER),
            "answer": ANSWER.decode(),
        }
        assert caught.captures.told() == {}


async def test_the_file_is_its_owners_alone_and_replaces_the_last_one(tmp_path: Path) -> None:
    async with catching(tmp_path) as caught:
        old = os.umask(0)
        try:
            caught.captures.start("chat", 60)
        finally:
            os.umask(old)
        file = caught.folder / "chat.jsonl"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(caught.folder.stat().st_mode) == 0o700
        await caught.gate.ask("/chat/v1/x", b'{"a":1}', headers=[KEY])
        caught.captures.stop("chat")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_text("mine")
        file.unlink()
        file.symlink_to(elsewhere)
        caught.captures.start("chat", 60)
        await caught.gate.ask("/chat/v1/x", b'{"b":1}', headers=[KEY])
        caught.captures.close()
        assert [record["request"] for record in caught.records()] == ['{"b":1}']
        assert elsewhere.read_text() == "mine"
        assert not file.is_symlink()


async def test_no_credential_gets_into_it(tmp_path: Path) -> None:
    registered, second, password = "sk-registered-01234", "second-factor-01234", "pass-word-01234"
    logs.hide(registered)
    auth = AuthSpec(
        keys=AUTH.keys,
        api_secret=hashlib.sha256(second.encode()).digest(),
        basic=BasicSpec(
            user=hashlib.sha256(b"me").digest(), password=hashlib.sha256(password.encode()).digest()
        ),
    )
    secrets = [SECRET, registered, second, password, "sk-query-0123", "cookie-0123", "upstream-01234"]
    captures = Captures(tmp_path, lambda: NOW)
    try:
        async with (
            Served(always(ok(json.dumps({"echo": secrets[:4]}).encode()))) as server,
            front(
                settings(model("chat", upstream_key="upstream-01234"), auth=auth),
                ready={"chat": server.port},
                captures=captures,
            ) as gate,
        ):
            captures.start("chat", 60)
            basic = base64.b64encode(f"me:{password}".encode()).decode()
            answer = await gate.ask(
                "/chat/v1/x?api_key=sk-query-0123&a=b",
                json.dumps({"messages": secrets[:4]}).encode(),
                headers=[
                    ("Authorization", f"Basic {basic}"),
                    ("x-api-key", SECRET),
                    ("X-API-Secret", second),
                    ("Cookie", "s=cookie-0123"),
                ],
            )
            assert answer.status == 200
            captures.stop("chat")
    finally:
        logs.forget()
    text = (tmp_path / "chat.jsonl").read_text()
    assert '"target":"/v1/x?a=b"' in text
    assert text.count("***") == 8
    for secret in (*secrets, basic):
        assert secret not in text, secret


async def test_it_ends_by_itself_and_writes_what_has_come_of_a_stream(tmp_path: Path) -> None:
    async def script(served: Served, reader: Any, writer: Any) -> None:
        await served.take(reader)
        writer.write(SSE_HEAD + chunk(b"data: 1\n\n"))
        await served.release.wait()

    async with catching(tmp_path, script=script) as caught, await caught.gate.open() as wire:
        with capture_logs() as told:
            caught.captures.start("chat", 3600)
            await wire.ask("/chat/v1/x", b'{"stream":true}', headers=[KEY])
            await wire.until(b"data: 1\n\n")
            caught.captures.start("chat", 0.01)  # the time counts anew, the file goes on
            async with asyncio.timeout(PATIENCE_S):
                while caught.captures.on:  # noqa: ASYNC110  # a timer ends it, and tells nobody
                    await asyncio.sleep(0)
        [record] = caught.records()
        assert (record["answer"], record["whole"], record["status"]) == ("data: 1\n\n", False, 200)
        assert [line["event"] for line in told] == [
            "CAPTURE ON: prompts and answers are written to a file",
        ] * 2 + ["CAPTURE OFF"]
        assert {line["log_level"] for line in told} == {"warning"}
        assert told[-1]["why"] == "its time is up"


async def test_it_is_bounded_in_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "MAX_BYTES", 2000)
    monkeypatch.setattr(capture, "MAX_BYTES_EACH", 100)
    async with catching(tmp_path, answer=ok(b"x" * 5000)) as caught:
        with capture_logs() as told:
            caught.captures.start("chat", 60)
            body = b'{"a":"' + b"y" * 5000 + b'"}'
            for _ in range(20):
                answer = await caught.gate.ask("/chat/v1/x", body, headers=[KEY])
                assert len(answer.body) == 5000
        records = caught.records()
        assert 1 < len(records) < 5
        assert all(len(one["request"]) == 100 and one["request_bytes"] == len(body) for one in records)
        assert all(one["answer"] == "x" * 100 and one["answer_bytes"] == 5000 for one in records)
        assert (caught.folder / "chat.jsonl").stat().st_size <= 2000
        assert told[-1]["why"] == "its file is full"


async def test_what_many_streams_hold_in_memory_is_bounded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "MAX_BYTES", 1000)

    async def script(served: Served, reader: Any, writer: Any) -> None:
        await served.take(reader)
        writer.write(SSE_HEAD + chunk(b"x" * 900) + chunk(b"data: 1\n\n"))
        await served.release.wait()

    async with catching(tmp_path, script=script) as caught:
        caught.captures.start("chat", 60)
        wires = [await caught.gate.open() for _ in range(5)]
        for wire in wires:
            await wire.ask("/chat/v1/x", b'{"stream":true}', headers=[KEY])
            await wire.until(b"data: 1\n\n")
        assert caught.captures.on["chat"].held == 1000
        for wire in wires:
            wire.close()


async def test_a_model_that_is_configured_away_is_captured_no_more(tmp_path: Path) -> None:
    async with catching(tmp_path) as caught:
        caught.captures.start("chat", 60)
        caught.captures.start("coder", 60)
        caught.gate.gateway.configure(settings(model("coder"), auth=AUTH), local_only=False)
        assert list(caught.captures.on) == ["coder"]
        caught.gate.gateway.close()
        assert not caught.captures.on


async def test_a_full_disk_ends_it_and_harms_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(capture, "_write_all", full)
    async with catching(tmp_path) as caught:
        caught.captures.start("chat", 60)
        assert (await caught.gate.ask("/chat/v1/x", b"{}", headers=[KEY])).status == 200
        assert not caught.captures.on


# as it is run


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Hotseat]:
    env = {"VLLM_API_KEY": SECRET, "ADMIN_API_KEY": "sk-admin-0123456789"}
    yield from serving(Hotseat(tmp_path, {"chat": [], "coder": []}, env=env))


def test_an_admin_orders_it_and_everybody_can_see_that_it_is_on(
    running: Hotseat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", SECRET)
    refused = running.command("capture", "chat")
    assert (refused.returncode, "admin key" in refused.stderr) == (1, True)
    monkeypatch.setenv("ADMIN_API_KEY", "sk-admin-0123456789")
    ordered = running.command("capture", "chat", "--for", "120")
    assert ordered.returncode == 0, ordered.stderr
    assert "chat: CAPTURING prompts and answers until" in ordered.stdout
    running.told(lambda line: line["event"].startswith("CAPTURE ON") and line["model"] == "chat")
    assert "CAPTURING chat until" in running.command("status").stdout
    words = {"messages": [{"role": "user", "content": "a word to look for"}]}
    asked = running.send("POST", "/chat/v1/chat/completions", words, Authorization=f"Bearer {SECRET}")
    assert asked.status == 200
    ended = running.command("capture", "chat", "--stop")
    assert "capture ended, 1 requests in" in ended.stdout
    assert "nothing was captured" in running.command("capture", "chat", "--stop").stdout
    assert "CAPTURING" not in running.command("status").stdout
    text = (running.state / "captures" / "chat.jsonl").read_text()
    assert "a word to look for" in text
    assert SECRET not in text
    running.command("capture", "chat")
    running.stop()
    running.start()
    assert "CAPTURING" not in running.command("status").stdout
