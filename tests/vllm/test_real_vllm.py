"""What vLLM does to its launcher, shown on the real one: slow starts, swallowed signals, deaths, sleep.

The cases share one hotseat and take what the one before has left, since a start is dear; each brings its
model into the state that it needs.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fakes.hotseat import Hotseat
from hotseat.runtimes import procfs

pytestmark = pytest.mark.vllm
HELLO = [{"role": "user", "content": "Hello"}]
LONG = 1900
"""Tokens: seconds of generation, and still within the model's context."""


def stream(hotseat: Hotseat, model: str, tokens: int) -> http.client.HTTPResponse:
    """The response to a chat that streams; its headers have come."""
    connection = http.client.HTTPConnection("127.0.0.1", hotseat.port, timeout=hotseat.limit_s)
    body = {
        "model": model,
        "messages": HELLO,
        "stream": True,
        "max_tokens": tokens,
        "ignore_eos": True,
    }
    head = {"Content-Type": "application/json"}
    connection.request("POST", f"/{model}/v1/chat/completions", json.dumps(body), head)
    return connection.getresponse()


def chunks(raw: bytes) -> list[dict[str, Any]]:
    """The objects of a finished stream; it must have been ended properly."""
    events = [line[6:] for line in raw.decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", raw[-1000:]
    return [json.loads(event) for event in events[:-1]]


def chat(hotseat: Hotseat, model: str) -> None:
    """Ask for four tokens and get them, starting whatever must be started."""
    answer = hotseat.ask(model, messages=HELLO, max_tokens=4, ignore_eos=True)
    assert answer.status == 200, answer.body
    assert answer.json["usage"]["completion_tokens"] == 4


def process_of(hotseat: Hotseat, title: str) -> int:
    """The one process of the engines that calls itself so."""
    told = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in hotseat.engines()}
    [pid] = [pid for pid, name in told.items() if title in name]
    return pid


def output(hotseat: Hotseat, model: str) -> str:
    """What the model's runs wrote."""
    said = hotseat.command("logs", model, "-n", "2000")
    assert said.returncode == 0, said.stderr
    return said.stdout


def test_a_start_that_is_cancelled_leaves_nothing(hotseat: Hotseat) -> None:
    since = len(hotseat.lines)
    assert hotseat.send("POST", "/admin/start", {"route": "chat"}).status == 200
    hotseat.told(lambda line: line["event"] == "loading" and line["model"] == "chat", since)
    api_server = process_of(hotseat, "api_server")
    assert hotseat.send("POST", "/admin/stop", {"route": "chat", "wait": True}).status == 200
    assert hotseat.model("chat")["state"] == "stopped"
    assert procfs.stat(api_server) is None
    assert hotseat.engines() == []


def test_a_cold_start_tells_its_phases_and_the_waiting_stream_is_served(hotseat: Hotseat) -> None:
    since = len(hotseat.lines)
    with stream(hotseat, "chat", tokens=5) as response:
        assert response.status == 200
        raw = response.read()
    hotseat.moved("chat", "ready", since)
    phases = [line["phase"] for line in hotseat.lines[since:] if line["event"] == "loading"]
    assert phases[:3] == ["starting engine", "loading weights", "compiling"]
    assert "starting server" in phases
    assert any(f": hotseat chat: starting, {phase}, ".encode() in raw for phase in phases)
    made = chunks(raw)
    assert made[-1]["choices"][0]["finish_reason"] == "length"
    chat(hotseat, "chat")


def test_a_worker_killed_in_mid_stream_is_an_error_and_the_next_request_starts_anew(hotseat: Hotseat) -> None:
    chat(hotseat, "chat")
    since = len(hotseat.lines)
    with stream(hotseat, "chat", tokens=LONG) as response:
        assert response.readline().startswith(b"data: ")
        os.kill(process_of(hotseat, "VLLM::Worker"), signal.SIGKILL)
        raw = response.read()
    errors = [line for line in raw.splitlines() if line.startswith(b'data: {"error"')]
    assert len(errors) == 1, raw[-2000:]
    crashed = hotseat.told(lambda line: line.get("cause") in ("crashed", "unhealthy"), since)
    assert crashed["model"] == "chat"
    chat(hotseat, "chat")
    assert hotseat.model("chat")["starts"] == 3


def test_an_api_server_killed_leaves_no_engine_process(hotseat: Hotseat) -> None:
    chat(hotseat, "chat")
    assert len(hotseat.engines()) >= 3  # the API server, its engine, its worker
    since = len(hotseat.lines)
    os.kill(process_of(hotseat, "api_server"), signal.SIGKILL)
    crashed = hotseat.told(lambda line: line.get("cause") == "crashed", since)
    assert crashed["reason"] == "killed by SIGKILL"
    assert hotseat.engines() == []


def test_it_sleeps_is_woken_by_a_request_and_is_warm_then(hotseat: Hotseat) -> None:
    since = len(hotseat.lines)
    chat(hotseat, "drowsy")
    hotseat.moved("drowsy", "asleep", since)
    assert hotseat.model("drowsy")["state"] == "asleep"
    with ThreadPoolExecutor() as clients:
        for held in [clients.submit(chat, hotseat, "drowsy") for _ in range(3)]:
            held.result()
    ready = [line for line in hotseat.lines[since:] if line["event"] == "ready" and line["model"] == "drowsy"]
    assert [line["was"] for line in ready] == ["starting", "waking"]
    said = output(hotseat, "drowsy")
    order = [
        said.index(f'"POST {path}') for path in ("/sleep?level=1&mode=wait", "/wake_up", "/v1/completions")
    ]
    assert order == sorted(order)


def test_a_wake_that_fails_is_followed_by_a_start_and_sleep_is_not_trusted_again(hotseat: Hotseat) -> None:
    chat(hotseat, "drowsy")
    hotseat.until("drowsy", lambda model: model["state"] == "asleep")
    # It cannot notice the death of its worker before it is asked to wake.
    api_server = process_of(hotseat, "api_server")
    os.kill(api_server, signal.SIGSTOP)
    os.kill(process_of(hotseat, "VLLM::Worker"), signal.SIGKILL)
    since = len(hotseat.lines)
    with ThreadPoolExecutor() as clients:
        held = clients.submit(chat, hotseat, "drowsy")
        hotseat.moved("drowsy", "waking", since)
        os.kill(api_server, signal.SIGCONT)
        hotseat.told(lambda line: line.get("cause") in ("wake_failed", "crashed"), since)
        held.result()
    since = len(hotseat.lines)
    gone = hotseat.told(lambda line: line["event"] in ("asleep", "stopped"), since)
    assert gone["event"] == "stopped"
    assert hotseat.engines() == []
