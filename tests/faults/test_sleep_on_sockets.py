"""Sleep instead of stop, through a running hotseat: real processes that follow vLLM's sleep protocol."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes.hotseat import Answer, Hotseat, serving

pytestmark = pytest.mark.system


@contextmanager
def running(made: Hotseat) -> Iterator[Hotseat]:
    yield from serving(made)


def sleeper(*options: str, **terms: Any) -> dict[str, Any]:
    return {
        "options": ["--tells-calls", *options],
        "engine": "vllm",
        "served_name": terms.pop("served_name", "chat"),
        "sleep": 1,
        "idle": "500ms",
        **terms,
    }


def calls(made: Hotseat, model: str = "chat") -> list[str]:
    lines = made.send("GET", f"/logs/{model}?lines=200").json["lines"]
    return [line.removeprefix("call POST ") for line in lines if line.startswith("call ")]


def test_a_quiet_model_sleeps_and_wakes_warm_for_all_who_wait(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": sleeper()})
    with running(made):
        pid = made.ask("chat").pid
        made.moved("chat", "asleep")
        answers: list[Answer] = []
        waiting = [threading.Thread(target=lambda: answers.append(made.ask("chat"))) for _ in range(5)]
        for one in waiting:
            one.start()
        for one in waiting:
            one.join()
        assert [(answer.status, answer.pid) for answer in answers] == [(200, pid)] * 5
        assert made.model("chat")["starts"] == 1
        told = calls(made)
        woken = told.index("/wake_up")
        assert told[woken - 1] == "/sleep?level=1&mode=wait"
        assert '"max_tokens": 1' in told[woken + 1]  # the warm-up, before anybody's request
        assert all(call.startswith("/v1/chat") for call in told[woken + 2 : woken + 7])


def test_level_2_and_its_order_of_calls(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": sleeper(sleep=2)})
    with running(made):
        made.ask("chat")
        made.moved("chat", "asleep")
        assert made.ask("chat").status == 200
        told = [call for call in calls(made) if not call.startswith("/v1/")]
        assert told[:5] == [
            "/sleep?level=2&mode=wait",
            "/wake_up?tags=weights",
            '/collective_rpc {"method": "reload_weights"}',
            "/wake_up?tags=kv_cache",
            "/reset_prefix_cache",
        ]


def test_a_model_that_does_not_wake_is_started_anew_and_trusted_no_more(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": sleeper("--wake-fails")})
    with running(made):
        pid = made.ask("chat").pid
        made.moved("chat", "asleep")
        answer = made.ask("chat")
        assert answer.status == 200
        assert answer.pid != pid
        told = made.told(lambda line: line.get("cause") == "wake_failed")
        assert "/wake_up answered HTTP 500" in told["reason"]
        since = len(made.lines)
        assert made.moved("chat", "stopping", since - 1)["cause"] in ("idle", "wake_failed")
        made.moved("chat", "stopped", since - 1)
        assert not any(line["event"] == "asleep" for line in made.lines[since - 1 :])


def test_a_model_that_does_not_sleep_is_stopped(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": sleeper("--sleep-fails")})
    with running(made):
        made.ask("chat")
        told = made.told(lambda line: line.get("cause") == "sleep_failed")
        assert "/sleep answered HTTP 500" in told["reason"]
        made.moved("chat", "stopped")
        assert made.ask("chat").status == 200


def test_eviction_puts_to_sleep_and_a_swap_back_is_a_wake(tmp_path: Path) -> None:
    terms = {"footprint": 0.6, "idle": 0, "sleep": {"level": 1, "leftover": 0.02}}
    made = Hotseat(
        tmp_path,
        {"chat": sleeper(**terms), "coder": sleeper(served_name="coder", **terms)},
    )
    with running(made):
        pids = {name: made.ask(name).pid for name in ("chat", "coder")}
        assert made.model("chat")["state"] == "asleep"
        assert made.model("chat")["footprint"] == {"0": 0.02}
        assert made.ask("chat").pid == pids["chat"]
        assert made.ask("coder").pid == pids["coder"]
        assert made.model("chat")["starts"] == made.model("coder")["starts"] == 1


def test_beyond_the_host_memory_the_oldest_sleeper_is_stopped(tmp_path: Path) -> None:
    made = Hotseat(
        tmp_path,
        {
            name: sleeper(served_name=name, sleep={"level": 1, "host_memory": "40GiB"})
            for name in ("one", "two")
        },
        sleep={"level": 1, "host_memory": "64GiB"},
    )
    with running(made):
        made.ask("one")
        made.moved("one", "asleep")
        made.ask("two")
        made.moved("two", "asleep")
        assert made.told(lambda line: line.get("model") == "one" and line["event"] == "stopping")[
            "cause"
        ] == ("evicted")
        assert made.ask("two").status == 200


def test_asleep_for_long_it_is_stopped(tmp_path: Path) -> None:
    made = Hotseat(tmp_path, {"chat": sleeper(sleep={"level": 1, "idle": "500ms"})})
    with running(made):
        made.ask("chat")
        made.moved("chat", "asleep")
        assert made.moved("chat", "stopping")["cause"] == "idle"


def test_a_preloaded_model_is_there_and_the_default_comes_back(tmp_path: Path) -> None:
    big = {"footprint": 0.9}
    made = Hotseat(
        tmp_path,
        {"chat": {**big, "residency": 0}, "coder": big, "site": {"preload": True, "footprint": 0.0}},
        default_model="chat",
        return_to_default=True,
    )
    with running(made):
        made.moved("site", "ready")
        made.moved("chat", "ready")
        since = len(made.lines)
        assert made.ask("coder").status == 200
        made.moved("chat", "ready", since)
        assert made.model("coder")["state"] == "stopped"
