"""Engine of the demo: endpoints and shutdown."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ENGINE = Path(__file__).resolve().parents[2] / "demo" / "engine.py"
LIMIT_S = 60


@contextmanager
def launched(port: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Run an engine; it is killed afterwards."""
    command = [sys.executable, str(ENGINE), "--port", str(port), "--alias", "chat"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """Read up to the first log line that contains ``word``."""
    assert process.stderr is not None
    for line in process.stderr:
        if word in line:
            return line
    raise AssertionError(f"the engine ended with status {process.wait(LIMIT_S)} before it wrote {word!r}")


def wait_until_ready(process: subprocess.Popen[str]) -> str:
    """Wait for the ready line; returns the address in it."""
    found = re.search(r"ready on (http://\S+)", read_until(process, "ready on"))
    assert found is not None
    return found.group(1)


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    """Address of a running engine."""
    with launched() as process:
        yield wait_until_ready(process)
        process.terminate()
        assert process.wait(LIMIT_S) == 0


def post(url: str, body: object) -> str:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=LIMIT_S) as response:
        text: str = response.read().decode()
    return text


MESSAGES = [{"role": "user", "content": "Say hello."}]


def test_health_and_models(engine: str) -> None:
    with urllib.request.urlopen(f"{engine}/health", timeout=LIMIT_S) as response:
        assert response.status == 200
    with urllib.request.urlopen(f"{engine}/v1/models", timeout=LIMIT_S) as response:
        assert [model["id"] for model in json.load(response)["data"]] == ["chat"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": MESSAGES, "max_tokens": 4}),
        ("/v1/completions", {"prompt": "One two", "max_tokens": 4}),
        ("/v1/messages", {"messages": MESSAGES, "max_tokens": 4}),
        ("/v1/responses", {"input": "Say hello.", "max_output_tokens": 4}),
    ],
)
def test_every_style_answers_and_counts_its_tokens(engine: str, path: str, body: dict[str, object]) -> None:
    usage = json.loads(post(engine + path, {"model": "chat", **body}))["usage"]
    assert 1 <= usage.get("completion_tokens", usage.get("output_tokens")) <= 4


def test_a_stream_ends_with_usage_and_done(engine: str) -> None:
    body = {"messages": MESSAGES, "max_tokens": 4, "stream": True, "stream_options": {"include_usage": True}}
    events = [
        line.removeprefix("data: ") for line in post(f"{engine}/v1/chat/completions", body).split("\n\n")
    ]
    assert [event for event in events if event][-1] == "[DONE]"
    assert any(
        1 <= json.loads(event)["usage"]["completion_tokens"] <= 4 for event in events if '"usage"' in event
    )


def test_wrong_parameters_are_a_400_with_an_error_object(engine: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(f"{engine}/v1/chat/completions", {"messages": "not a list"})
    assert caught.value.code == 400
    assert "messages" in json.load(caught.value)["error"]["message"]


def test_sigterm_ends_it_while_it_loads() -> None:
    with launched() as process:
        read_until(process, "loading")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0


def test_sigterm_does_not_wait_for_a_running_stream() -> None:
    body = json.dumps({"messages": MESSAGES, "max_tokens": 2000, "stream": True, "ignore_eos": True}).encode()
    with launched() as process:
        url = wait_until_ready(process) + "/v1/chat/completions"
        with urllib.request.urlopen(url, body, timeout=LIMIT_S) as stream:
            assert stream.readline().startswith(b"data:")
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) == 0
            try:
                rest = stream.read()
            except http.client.IncompleteRead as cut:
                rest = cut.partial
    assert b"[DONE]" not in rest


def test_a_taken_port_is_a_clear_failure() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with launched(port) as process:
            assert f"127.0.0.1:{port}" in read_until(process, "cannot serve")
            assert process.wait(LIMIT_S) == 1
