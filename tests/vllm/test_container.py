"""The real vLLM in a container of a real Docker Engine: start, phases, chat, cancel, stop, death."""

from __future__ import annotations

import os
import signal

import pytest

from fakes.container_hotseat import Boxed
from fakes.real_vllm import LONG, chat, chunks, errors, phases, stream

pytestmark = [pytest.mark.vllm, pytest.mark.system("docker", "dockerd", "iptables", "ip")]


def process_of(boxed: Boxed, title: str) -> int:
    """The one process in the container that calls itself so, by its number on the host."""
    lines = boxed.dockerd.docker("top", "boxed", "-eo", "pid,args").stdout.splitlines()
    [pid] = [int(line.split()[0]) for line in lines[1:] if title in line]
    return pid


def stop(boxed: Boxed) -> None:
    assert boxed.send("POST", "/admin/stop", {"route": "boxed", "wait": True}).status == 200
    assert boxed.model("boxed")["state"] == "stopped"


def test_a_start_that_is_cancelled_is_killed_since_it_swallows_sigterm(boxed: Boxed) -> None:
    since = len(boxed.lines)
    assert boxed.send("POST", "/admin/start", {"route": "boxed"}).status == 200
    boxed.told(lambda line: line["event"] == "loading", since)
    stop(boxed)
    told = boxed.state_of("boxed")
    assert (told["Status"], told["ExitCode"]) == ("exited", 128 + signal.SIGKILL)


def test_a_cold_start_tells_its_phases_and_the_waiting_stream_is_served(boxed: Boxed) -> None:
    since = len(boxed.lines)
    with stream(boxed, "boxed", tokens=5) as response:
        assert response.status == 200
        raw = response.read()
    boxed.moved("boxed", "ready", since)
    told = phases(boxed, "boxed", since)
    assert told[:3] == ["starting engine", "loading weights", "compiling"]
    assert "starting server" in told
    assert any(f": hotseat boxed: starting, {phase}, ".encode() in raw for phase in told)
    made = chunks(raw)
    assert made[-1]["model"] == "tiny"  # the name that it knows was read from the container's own command
    chat(boxed, "boxed")


def test_a_worker_killed_in_mid_stream_is_an_error_and_the_next_request_starts_anew(boxed: Boxed) -> None:
    chat(boxed, "boxed")
    began = boxed.state_of("boxed")["StartedAt"]
    worker = process_of(boxed, "VLLM::Worker")
    since = len(boxed.lines)
    with stream(boxed, "boxed", tokens=LONG) as response:
        assert response.readline().startswith(b"data: ")
        os.kill(worker, signal.SIGKILL)
        raw = response.read()
    assert len(errors(raw)) == 1, raw[-2000:]
    crashed = boxed.told(lambda line: line.get("cause") in ("crashed", "unhealthy"), since)
    assert crashed["model"] == "boxed"
    chat(boxed, "boxed")
    assert boxed.state_of("boxed")["StartedAt"] != began


def test_a_ready_one_ends_by_itself_when_it_is_stopped(boxed: Boxed) -> None:
    chat(boxed, "boxed")
    stop(boxed)
    told = boxed.state_of("boxed")
    assert (told["Status"], told["ExitCode"]) == ("exited", 0)
