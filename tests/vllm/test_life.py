"""What vLLM does to its launcher, shown on the real one: slow starts, swallowed signals, deaths.

``chat`` dies twice; a second death within a minute has it left alone for a second, which the start of
another model outlasts.
"""

from __future__ import annotations

import os
import signal

import pytest

from fakes.hotseat import Hotseat
from fakes.real_vllm import LONG, chat, chunks, errors, phases, process_of, stream
from hotseat.runtimes.process import procfs

pytestmark = pytest.mark.vllm


def test_a_start_that_is_cancelled_leaves_nothing(hotseat: Hotseat) -> None:
    since = len(hotseat.lines)
    assert hotseat.send("POST", "/admin/start", {"route": "chat"}).status == 200
    hotseat.told(lambda line: line["event"] == "loading" and line["model"] == "chat", since)
    api_server = process_of(hotseat, "chat", "api_server")
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
    told = phases(hotseat, "chat", since)
    assert told[:3] == ["starting engine", "loading weights", "compiling"]
    assert "starting server" in told
    assert any(f": hotseat chat: starting, {phase}, ".encode() in raw for phase in told)
    made = chunks(raw)
    assert made[-1]["choices"][0]["finish_reason"] == "length"
    chat(hotseat, "chat")


def test_a_worker_killed_in_mid_stream_is_an_error_and_the_next_request_starts_anew(hotseat: Hotseat) -> None:
    chat(hotseat, "chat")
    starts = hotseat.model("chat")["starts"]
    worker = process_of(hotseat, "chat", "VLLM::Worker")
    since = len(hotseat.lines)
    with stream(hotseat, "chat", tokens=LONG) as response:
        assert response.readline().startswith(b"data: ")
        os.kill(worker, signal.SIGKILL)
        raw = response.read()
    assert len(errors(raw)) == 1, raw[-2000:]
    crashed = hotseat.told(lambda line: line.get("cause") in ("crashed", "unhealthy"), since)
    assert crashed["model"] == "chat"
    chat(hotseat, "chat")
    assert hotseat.model("chat")["starts"] == starts + 1


def test_an_api_server_killed_leaves_no_engine_process(hotseat: Hotseat) -> None:
    chat(hotseat, "chat")
    assert len(hotseat.engines()) >= 3  # the API server, its engine, its worker
    since = len(hotseat.lines)
    os.kill(process_of(hotseat, "chat", "api_server"), signal.SIGKILL)
    crashed = hotseat.told(lambda line: line.get("cause") == "crashed", since)
    assert crashed["reason"] == "killed by SIGKILL"
    assert hotseat.engines() == []


def test_answers_that_a_stop_cuts_off_do_not_look_whole(hotseat: Hotseat) -> None:
    """``curt`` drains for no time; vLLM ends what it is told to stop as if it were whole."""
    chat(hotseat, "curt")
    paths = ("/v1/chat/completions", "/v1/messages")
    streams = [stream(hotseat, "curt", tokens=LONG, path=path) for path in paths]
    for response in streams:
        while b"delta" not in response.readline():
            pass
    assert hotseat.send("POST", "/admin/stop", {"route": "curt", "wait": True}).status == 200
    for response in streams:
        with response:
            raw = response.read()
        assert b"its server is being stopped: cut off after 0 s of draining" in raw
        assert b"[DONE]" not in raw
        assert b"message_stop" not in raw
