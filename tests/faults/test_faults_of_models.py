"""What goes wrong with models, on real processes behind a running hotseat; one case for each fault."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.hotseat import LIMIT_S, Hotseat, serving
from faults.cases import FaultsOfModels, models


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("moods")


@pytest.fixture(scope="module")
def hotseat(tmp_path_factory: pytest.TempPathFactory, moods: Path) -> Iterator[Hotseat]:
    ours = {
        "deaf-child": {"options": ["--child-escapes"], "stop_grace": "1s"},
        "no-such": {"command": ["no-such-program", "{port}"]},
    }
    yield from serving(Hotseat(tmp_path_factory.mktemp("hotseat"), {**models(moods), **ours}))


class TestProcesses(FaultsOfModels):
    """The cases of all models, and those of processes alone."""

    def test_a_program_that_is_not_there_is_not_worth_waiting_for(self, hotseat: Hotseat) -> None:
        answer = hotseat.ask("no-such")
        assert answer.status == 400
        assert "command not found: no-such-program" in answer.error["message"]
        assert answer.headers["x-should-retry"] == "false"

    def test_kill_9_of_a_model_costs_one_error_at_most(self, hotseat: Hotseat) -> None:
        pid = hotseat.ask("good").pid
        os.kill(pid, signal.SIGKILL)
        answers = [hotseat.ask("good") for _ in range(3)]
        assert [answer.status for answer in answers].count(200) >= 2
        assert answers[-1].pid != pid

    def test_a_stop_that_hangs_takes_all_that_was_started(self, hotseat: Hotseat) -> None:
        before = set(hotseat.engines())
        assert hotseat.ask("deaf-child").status == 200
        started = set(hotseat.engines()) - before
        assert len(started) == 2
        answer = hotseat.send("POST", "/admin/stop", {"route": "deaf-child", "wait": True})
        assert answer.json["state"] == "stopped"
        assert not started & set(hotseat.engines())


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
