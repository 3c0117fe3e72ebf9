"""What goes wrong with models, on real processes behind a running hotseat; one case for each fault.

All cases share one hotseat: a model that fails must not disturb the others anyway.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fakes.hotseat import LIMIT_S, Answer, Hotseat, serving

MOODY = ("health-hangs", "health-503", "hangs", "500", "dead", "aborts")


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("moods")


@pytest.fixture(scope="module")
def hotseat(tmp_path_factory: pytest.TempPathFactory, moods: Path) -> Iterator[Hotseat]:
    folder = tmp_path_factory.mktemp("hotseat")
    moody = {
        f"moody-{mood}": {"options": ["--mood", str(moods / mood)], "health_every": "500ms"} for mood in MOODY
    }
    made = Hotseat(
        folder,
        {
            "good": [],
            "fails": {"options": ["--start-fails"], "engine": "vllm"},
            "exits-0": ["--exits-after", "0", "--exit-code", "0", "--health-status", "503"],
            "second-try": ["--fails-until", str(folder / "tried")],
            "hangs-at-start": {"options": ["--never-ready"], "start_timeout": "1s", "stop_grace": "1s"},
            "health-hangs": {"options": ["--health-hangs"], "start_timeout": "1s"},
            "resets": {"options": ["--resets"], "start_timeout": "1s"},
            "lies": ["--exits-after", "0.3", "--exit-code", "0"],
            "slow": {"options": ["--start-s", "2"], "start_timeout": "60s"},
            "deaf": {"options": ["--ignores-stop"], "stop_grace": "1s"},
            "deaf-loading": {"options": ["--deaf-while-loading", "--never-ready"], "start_timeout": "1s"},
            "deaf-child": {"options": ["--child-escapes"], "stop_grace": "1s"},
            "no-such": {"command": ["no-such-program", "{port}"]},
            "dies-in-stream": ["--dies-in-stream", "2"],
            "mute": {"options": ["--hangs"], "first_byte_timeout": "500ms"},
            **moody,
        },
    )
    yield from serving(made)


def refused(answer: Answer) -> str:
    """What a client is told that gets no answer; it is told when to come back."""
    assert answer.status == 503, answer
    assert int(answer.headers["retry-after"]) >= 1
    return str(answer.error["message"])


# Starts


def test_a_start_that_fails_says_why_and_backs_off(hotseat: Hotseat) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: hotseat.ask("fails"), range(8)))
    assert "not enough free GPU memory" in refused(answers[0])
    assert "lower --gpu-memory-utilization" in refused(answers[-1])
    stats = hotseat.model("fails")
    assert stats["starts"] <= 2
    assert stats["failures"] >= 1
    assert "Free memory on device" in "".join(stats["last_error"]["lines"])
    assert "Free memory on device" not in answers[0].body.decode()  # lines are for admins


def test_a_start_that_exits_with_0_is_a_failure_too(hotseat: Hotseat) -> None:
    assert "exited with code 0" in refused(hotseat.ask("exits-0"))
    assert hotseat.model("exits-0")["failures"] >= 1


def test_a_second_try_that_works(hotseat: Hotseat) -> None:
    refused(hotseat.ask("second-try"))
    hotseat.send("POST", "/admin/start", {"route": "second-try", "wait": True})  # now, backoff or not
    assert hotseat.ask("second-try").status == 200
    assert hotseat.model("second-try")["starts"] == 2


@pytest.mark.parametrize("model", ["hangs-at-start", "health-hangs", "resets", "deaf-loading"])
def test_a_start_that_never_gets_ready_ends_at_its_timeout(hotseat: Hotseat, model: str) -> None:
    answer = hotseat.ask(model)
    assert answer.error["code"] == "start_timeout"
    assert "was not ready within 1 s" in refused(answer)
    hotseat.until(model, lambda stats: stats["run"] is None)


def test_a_start_that_takes_longer_than_usual_is_waited_for(hotseat: Hotseat) -> None:
    answer = hotseat.ask("slow")
    assert answer.status == 200
    assert hotseat.model("slow")["starts"] == 1


def test_a_model_that_says_it_is_well_and_dies_is_started_again_and_then_left_alone(hotseat: Hotseat) -> None:
    seen = []
    deadline = time.monotonic() + LIMIT_S
    while hotseat.model("lies")["state"] != "backoff":
        assert time.monotonic() < deadline
        seen.append(hotseat.ask("lies").status)
        hotseat.until("lies", lambda stats: stats["state"] in ("stopped", "backoff"))
    assert set(seen) <= {200, 502, 503}
    assert hotseat.model("lies")["starts"] == 2  # the first death of what had served is forgiven


def test_a_program_that_is_not_there_is_not_worth_waiting_for(hotseat: Hotseat) -> None:
    answer = hotseat.ask("no-such")
    assert answer.status == 503
    assert "command not found: no-such-program" in answer.error["message"]
    assert answer.headers["x-should-retry"] == "false"


# Ready models


@pytest.mark.parametrize("mood", ["health-hangs", "health-503"])
def test_a_ready_model_whose_health_goes_is_replaced(hotseat: Hotseat, moods: Path, mood: str) -> None:
    model = f"moody-{mood}"
    first = hotseat.ask(model).pid
    (moods / mood).write_text(mood)
    told = hotseat.told(lambda line: line.get("model") == model and line.get("cause") == "unhealthy")
    assert "does not answer its health check any more" in told["reason"]
    (moods / mood).unlink()
    assert hotseat.ask(model).pid != first


def test_a_model_that_takes_requests_and_says_nothing_is_replaced(hotseat: Hotseat, moods: Path) -> None:
    for answer in (hotseat.ask("mute"), hotseat.ask("mute", stream=True)):
        assert answer.status == 504
        assert answer.error["code"] == "upstream_timeout"
        assert "sent nothing for 0.5 s" in answer.error["message"]
    told = hotseat.told(lambda line: line.get("model") == "mute" and line.get("cause") == "unhealthy")
    assert "sent nothing" in told["reason"]


def test_a_model_that_answers_500_only_is_replaced(hotseat: Hotseat, moods: Path) -> None:
    first = hotseat.ask("moody-500").pid
    (moods / "500").write_text("500")
    for _ in range(5):
        assert hotseat.ask("moody-500").status == 500  # passed on as it came
    hotseat.told(lambda line: line.get("model") == "moody-500" and line.get("cause") == "unhealthy")
    (moods / "500").unlink()
    assert hotseat.ask("moody-500").pid != first


def test_a_dead_engine_is_replaced_at_its_first_word(hotseat: Hotseat, moods: Path) -> None:
    first = hotseat.ask("moody-dead").pid
    (moods / "dead").write_text("dead")
    assert hotseat.ask("moody-dead").status == 500
    hotseat.told(lambda line: line.get("model") == "moody-dead" and line.get("cause") == "unhealthy")
    (moods / "dead").unlink()
    assert hotseat.ask("moody-dead").pid != first


def test_an_answer_cut_short_in_silence_is_logged(hotseat: Hotseat, moods: Path) -> None:
    (moods / "aborts").write_text("aborts")
    answer = hotseat.ask("moody-aborts", stream=True)
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    hotseat.told(lambda line: "moody-aborts: its server cut an answer short" in line["event"])


def test_a_crash_in_mid_stream_is_an_error_event_and_the_next_request_is_answered(hotseat: Hotseat) -> None:
    answer = hotseat.ask("dies-in-stream", stream=True)
    assert answer.status == 200
    last = answer.body.removesuffix(b"\n\n").rsplit(b"data: ", 1)[-1]
    assert "killed by SIGKILL" in json.loads(last)["error"]["message"]
    assert hotseat.ask("dies-in-stream").status == 200


def test_kill_9_of_a_model_costs_one_error_at_most(hotseat: Hotseat) -> None:
    pid = hotseat.ask("good").pid
    os.kill(pid, signal.SIGKILL)
    answers = [hotseat.ask("good") for _ in range(3)]
    assert [answer.status for answer in answers].count(200) >= 2
    assert answers[-1].pid != pid


# Stops


@pytest.mark.parametrize("model", ["deaf", "deaf-child"])
def test_a_stop_that_hangs_ends_by_force_with_all_that_was_started(hotseat: Hotseat, model: str) -> None:
    before = set(hotseat.engines())
    assert hotseat.ask(model).status == 200
    started = set(hotseat.engines()) - before
    assert len(started) == (2 if model == "deaf-child" else 1)
    answer = hotseat.send("POST", "/admin/stop", {"route": model, "wait": True})
    assert answer.json["state"] == "stopped"
    assert not started & set(hotseat.engines())


def test_while_one_model_hangs_in_its_stop_others_are_served(hotseat: Hotseat) -> None:
    assert hotseat.ask("deaf").status == 200
    assert hotseat.ask("good").status == 200
    stopping = threading.Thread(
        target=hotseat.send, args=["POST", "/admin/stop", {"route": "deaf", "wait": True}]
    )
    stopping.start()
    hotseat.until("deaf", lambda stats: stats["state"] == "stopping")
    for _ in range(5):
        assert hotseat.ask("good").status == 200
    assert hotseat.model("deaf")["state"] == "stopping"
    stopping.join()


# Clients


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_while_it_waits_does_not_cancel_the_start(tmp_path: Path, stream: bool) -> None:
    made = Hotseat(tmp_path, {"chat": ["--start-s", "1"]})
    for one in serving(made):
        connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=LIMIT_S)
        body = json.dumps({"model": "chat", "stream": stream})
        connection.request("POST", "/chat/v1/chat/completions", body, {"Content-Type": "application/json"})
        one.moved("chat", "starting")
        connection.close()
        one.moved("chat", "ready")
        assert one.ask("chat").status == 200
        assert one.model("chat")["starts"] == 1
        assert one.model("chat")["in_flight"] == 0
