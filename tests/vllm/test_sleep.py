"""The sleep protocol against the real server, in dev mode. Of the memory nothing is freed on a CPU."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from fakes.hotseat import Hotseat
from fakes.real_vllm import LONG, chat, chunks, hello, output, process_of, processes_of, stream

pytestmark = pytest.mark.vllm

WARM_UP = "/v1/completions"
LEVELS = {
    "deep": [
        "/sleep?level=2&mode=wait",
        "/wake_up?tags=weights",
        "/collective_rpc",
        "/wake_up?tags=kv_cache",
        "/reset_prefix_cache",
        WARM_UP,
    ],
    "drowsy": ["/sleep?level=1&mode=wait", "/wake_up", WARM_UP],
}
"""The calls of a sleep and the waking after it, by model."""


def calls(hotseat: Hotseat, model: str) -> list[str]:
    """The POSTs that this run has answered, with their status, as its access log tells them."""
    lines = [line.partition('"POST ')[2] for line in output(hotseat, model)]
    return [line.replace(' HTTP/1.1"', "") for line in lines if line]


def words(hotseat: Hotseat, model: str) -> str:
    """An answer that chance has no part in."""
    answer = hotseat.ask(model, **hello(max_tokens=16, temperature=0, ignore_eos=True))
    assert answer.status == 200, answer.body
    return str(answer.json["choices"][0]["message"]["content"])


def asleep(hotseat: Hotseat, model: str) -> None:
    hotseat.until(model, lambda stats: stats["state"] == "asleep")


def test_an_eviction_lets_the_answers_under_way_end(hotseat: Hotseat) -> None:
    """A SIGTERM, and a sleep in its default mode, would end them with ``finish_reason: abort``."""
    chat(hotseat, "chat")
    with ThreadPoolExecutor() as clients:
        with stream(hotseat, "chat", tokens=LONG, stream_options={"include_usage": True}) as response:
            assert response.readline().startswith(b"data: ")
            other = clients.submit(chat, hotseat, "deep")
            hotseat.until("chat", lambda stats: stats["state"] == "draining")
            made = chunks(response.read())
        other.result()
    assert made[-2]["choices"][0]["finish_reason"] == "length"
    assert made[-1]["usage"]["completion_tokens"] == LONG
    assert hotseat.model("chat")["state"] == "stopped"


@pytest.mark.parametrize("model", LEVELS)
def test_it_sleeps_is_woken_by_requests_that_are_held_and_is_warm_then(hotseat: Hotseat, model: str) -> None:
    said = words(hotseat, model)
    asleep(hotseat, model)
    before = len(calls(hotseat, model))
    with ThreadPoolExecutor() as clients:
        for held in [clients.submit(chat, hotseat, model) for _ in range(3)]:
            held.result()
    assert words(hotseat, model) == said  # its weights are what they were
    ready = [line for line in hotseat.lines if line["event"] == "ready" and line["model"] == model]
    first, *later = (line["was"] for line in ready)
    assert first == "starting"
    assert set(later) == {"waking"}
    asleep(hotseat, model)
    told = calls(hotseat, model)[before - 1 :]
    count = len(LEVELS[model])
    assert told[:count] == [f"{call} 200 OK" for call in LEVELS[model]]
    assert told[count : count + 3] == ["/v1/chat/completions 200 OK"] * 3


def test_a_wake_that_fails_is_followed_by_a_start_and_sleep_is_not_trusted_again(hotseat: Hotseat) -> None:
    chat(hotseat, "drowsy")
    asleep(hotseat, "drowsy")
    # It cannot notice the death of its worker before it is asked to wake.
    api_server = process_of(hotseat, "drowsy", "api_server")
    os.kill(api_server, signal.SIGSTOP)
    os.kill(process_of(hotseat, "drowsy", "VLLM::Worker"), signal.SIGKILL)
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
    assert processes_of(hotseat, "drowsy") == {}
