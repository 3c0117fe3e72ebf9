"""What goes wrong with models, as tests over a running hotseat: a subclass for each way to run models.

class TestProcesses(FaultsOfModels):
    ...

It needs fixtures of the module: ``hotseat`` (with ``models(moods)``) and ``moods``.
All cases share one hotseat: a model that fails must not disturb the others anyway.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fakes.hotseat import LIMIT_S, Answer, Hotseat

MOODY = ("health-hangs", "health-503", "hangs", "500", "dead", "aborts")


def models(moods: Path) -> dict[str, list[str] | dict[str, Any]]:
    """The models of the cases; ``moods`` is a folder that their servers see at the same path."""
    moody = {
        f"moody-{mood}": {"options": ["--mood", str(moods / mood)], "health_every": "500ms"} for mood in MOODY
    }
    return {
        "good": [],
        "fails": {"options": ["--start-fails"], "engine": "vllm"},
        "exits-0": ["--exits-after", "0", "--exit-code", "0", "--health-status", "503"],
        "second-try": ["--fails-until", str(moods / "tried")],
        "hangs-at-start": {"options": ["--never-ready"], "start_timeout": "1s", "stop_grace": "1s"},
        "health-hangs": {"options": ["--health-hangs"], "start_timeout": "1s"},
        "resets": {"options": ["--resets"], "start_timeout": "1s"},
        "lies": ["--exits-after", "0.3", "--exit-code", "0"],
        "slow": {"options": ["--start-s", "2"], "start_timeout": "60s"},
        "deaf": {"options": ["--ignores-stop"], "stop_grace": "1s"},
        "deaf-loading": {"options": ["--deaf-while-loading", "--never-ready"], "start_timeout": "1s"},
        "endless": {"options": ["--tokens", "100000", "--token-interval-s", "0.01"], "drain_timeout": "0s"},
        "dies-in-stream": ["--dies-in-stream", "2"],
        "mute": {"options": ["--hangs"], "first_byte_timeout": "500ms"},
        **moody,
    }


def refused(answer: Answer) -> str:
    """What a client is told that gets no answer; it is told when to come back."""
    assert answer.status == 503, answer
    assert int(answer.headers["retry-after"]) >= 1
    return str(answer.error["message"])


def unhealthy(hotseat: Hotseat, model: str) -> str:
    """Why the model was found to be unhealthy; waits until it is."""
    told = hotseat.told(lambda line: line.get("model") == model and line.get("cause") == "unhealthy")
    return str(told["reason"])


def error_event(answer: Answer) -> str:
    """What the error event says with which a stream ended."""
    assert answer.status == 200, answer
    last = answer.body.removesuffix(b"\n\n").rsplit(b"data: ", 1)[-1]
    return str(json.loads(last)["error"]["message"])


class FaultsOfModels:
    """One case for each fault."""

    # Starts

    @pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
    def test_an_answer_that_a_stop_cuts_off_does_not_look_whole(self, hotseat: Hotseat, path: str) -> None:
        """vLLM ends it with ``[DONE]``, or with an ordinary ``end_turn``, when it is told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", hotseat.port, timeout=LIMIT_S)
        body = json.dumps({"model": "endless", "messages": [], "max_tokens": 9, "stream": True})
        connection.request("POST", f"/endless{path}", body, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            while b"token1 " not in response.readline():
                pass
            ordered = hotseat.send("POST", "/admin/stop", {"route": "endless"})
            assert ordered.status == 200
            rest = response.read()
        assert b"its server is being stopped: cut off after 0 s of draining" in rest
        assert b"[DONE]" not in rest
        assert b"message_stop" not in rest

    def test_a_start_that_fails_says_why_and_backs_off(self, hotseat: Hotseat) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: hotseat.ask("fails"), range(8)))
        assert "not enough free GPU memory" in refused(answers[0])
        assert "lower --gpu-memory-utilization" in refused(answers[-1])
        stats = hotseat.model("fails")
        assert stats["starts"] <= 2
        assert stats["failures"] >= 1
        assert "Free memory on device" in "".join(stats["last_error"]["lines"])
        assert "Free memory on device" not in answers[0].body.decode()  # lines are for admins

    def test_a_start_that_exits_with_0_is_a_failure_too(self, hotseat: Hotseat) -> None:
        assert "exited with code 0" in refused(hotseat.ask("exits-0"))
        assert hotseat.model("exits-0")["failures"] >= 1

    def test_a_second_try_that_works(self, hotseat: Hotseat) -> None:
        refused(hotseat.ask("second-try"))
        hotseat.send("POST", "/admin/start", {"route": "second-try", "wait": True})  # now, backoff or not
        assert hotseat.ask("second-try").status == 200
        assert hotseat.model("second-try")["starts"] == 2

    @pytest.mark.parametrize("model", ["hangs-at-start", "health-hangs", "resets", "deaf-loading"])
    def test_a_start_that_never_gets_ready_ends_at_its_timeout(self, hotseat: Hotseat, model: str) -> None:
        answer = hotseat.ask(model)
        assert answer.error["code"] == "start_timeout"
        assert "was not ready within 1 s" in refused(answer)
        hotseat.until(model, lambda stats: stats["run"] is None)

    def test_a_start_that_takes_longer_than_usual_is_waited_for(self, hotseat: Hotseat) -> None:
        assert hotseat.ask("slow").status == 200
        assert hotseat.model("slow")["starts"] == 1

    def test_a_model_that_says_it_is_well_and_dies_is_started_again_and_then_left_alone(
        self, hotseat: Hotseat
    ) -> None:
        seen = []
        deadline = time.monotonic() + LIMIT_S
        while hotseat.model("lies")["state"] != "backoff":
            assert time.monotonic() < deadline
            seen.append(hotseat.ask("lies").status)
            hotseat.until("lies", lambda stats: stats["state"] in ("stopped", "backoff"))
        assert set(seen) <= {200, 502, 503}
        assert hotseat.model("lies")["starts"] == 2  # the first death of what had served is forgiven

    # Ready models

    @pytest.mark.parametrize("mood", ["health-hangs", "health-503"])
    def test_a_ready_model_whose_health_goes_is_replaced(
        self, hotseat: Hotseat, moods: Path, mood: str
    ) -> None:
        model = f"moody-{mood}"
        assert hotseat.ask(model).status == 200
        (moods / mood).write_text(mood)
        assert "no longer answers its health check" in unhealthy(hotseat, model)
        (moods / mood).unlink()
        assert hotseat.ask(model).status == 200
        assert hotseat.model(model)["starts"] == 2

    def test_a_model_that_takes_requests_and_says_nothing_is_replaced(self, hotseat: Hotseat) -> None:
        for answer in (hotseat.ask("mute"), hotseat.ask("mute", stream=True)):
            assert answer.status == 504
            assert answer.error["code"] == "upstream_timeout"
            assert "sent nothing for 0.5 s" in answer.error["message"]
        assert "sent nothing" in unhealthy(hotseat, "mute")

    def test_a_model_that_answers_500_only_is_replaced(self, hotseat: Hotseat, moods: Path) -> None:
        assert hotseat.ask("moody-500").status == 200
        (moods / "500").write_text("500")
        for _ in range(5):
            assert hotseat.ask("moody-500").status == 500  # passed on as it came
        unhealthy(hotseat, "moody-500")
        (moods / "500").unlink()
        assert hotseat.ask("moody-500").status == 200
        assert hotseat.model("moody-500")["starts"] == 2

    def test_a_dead_engine_is_replaced_at_its_first_word(self, hotseat: Hotseat, moods: Path) -> None:
        assert hotseat.ask("moody-dead").status == 200
        (moods / "dead").write_text("dead")
        assert hotseat.ask("moody-dead").status == 500
        unhealthy(hotseat, "moody-dead")
        (moods / "dead").unlink()
        assert hotseat.ask("moody-dead").status == 200
        assert hotseat.model("moody-dead")["starts"] == 2

    def test_an_answer_cut_short_in_silence_is_logged_and_counted(
        self, hotseat: Hotseat, moods: Path
    ) -> None:
        (moods / "aborts").write_text("aborts")
        answer = hotseat.ask("moody-aborts", stream=True)
        assert answer.status == 200
        assert answer.body.endswith(b"data: [DONE]\n\n")
        hotseat.told(lambda line: "moody-aborts: its server cut a response short" in line["event"])

        cut = 'hotseat_requests_cut_total{model="moody-aborts",why="truncated"} 1.0'
        assert cut in hotseat.send("GET", "/metrics").body.decode()

    def test_a_crash_in_mid_stream_is_an_error_event_and_the_next_request_is_answered(
        self, hotseat: Hotseat
    ) -> None:
        assert "SIGKILL" in error_event(hotseat.ask("dies-in-stream", stream=True))
        assert hotseat.ask("dies-in-stream").status == 200

    # Stops

    def test_a_stop_that_hangs_ends_by_force(self, hotseat: Hotseat) -> None:
        before = set(hotseat.engines())
        assert hotseat.ask("deaf").status == 200
        started = set(hotseat.engines()) - before
        assert len(started) == 1
        answer = hotseat.send("POST", "/admin/stop", {"route": "deaf", "wait": True})
        assert answer.json["state"] == "stopped"
        assert not started & set(hotseat.engines())
        killed = "killed: did not end within its grace"
        told = hotseat.told(lambda line: line["event"] == killed and line["model"] == "deaf")
        assert told["grace_s"] == 1.0

    def test_while_one_model_hangs_in_its_stop_others_are_served(self, hotseat: Hotseat) -> None:
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
