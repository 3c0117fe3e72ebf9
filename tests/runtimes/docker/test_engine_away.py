"""The Docker Engine restarted, and the way to it cut, behind a running hotseat: whoever can be served is, the
others are told, and afterwards the state is right.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakes.container_hotseat import Boxed, under_way
from fakes.cuttable_socket import CuttableSocket
from fakes.dockerd import Dockerd
from fakes.hotseat import serving

pytestmark = pytest.mark.system("dockerd", "docker", "iptables", "ip")

MODELS = ("idle", "loading", "streaming", "stopped")


@contextmanager
def running(made: Boxed) -> Iterator[Boxed]:
    yield from serving(made)  # type: ignore[misc]


@pytest.fixture
def engine(dockerd: Dockerd) -> Iterator[Dockerd]:
    """The engine, as it is on other days afterwards."""
    yield dockerd
    dockerd.live_restore = False


def boxed(engine: Dockerd, folder: Path, url: str | None = None, tokens: int = 40) -> Boxed:
    """A model for each phase; a stream lasts ``tokens`` times 50 ms."""
    streams = ["--tokens", str(tokens), "--token-interval-s", "0.05"]
    models: dict[str, list[str] | dict[str, object]] = {
        "idle": [],
        "loading": ["--ready-when", str(folder / "ready")],
        "streaming": streams,
        "stopped": [],
    }
    return Boxed(engine, folder, models, url=url)


def away(hotseat: Boxed) -> None:
    """While the engine is away: /healthz says so, and a model that must be started is refused calmly."""
    hotseat.told(lambda line: line["event"] == "runtime unusable")
    health = hotseat.send("GET", "/healthz")
    assert health.status == 503
    assert "Docker Engine" in health.json["runtimes"]["docker"]
    answer = hotseat.ask("stopped")
    assert (answer.status, answer.error["code"]) == (503, "runtime_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


def back(hotseat: Boxed) -> None:
    """Once it is back, all is well by itself."""
    hotseat.told(lambda line: line["event"] == "runtime usable")
    assert hotseat.send("GET", "/healthz").status == 200
    for model in MODELS:
        assert hotseat.send("GET", f"/{model}/v1/models").status == 200, model


def test_an_engine_that_takes_its_containers_with_it(engine: Dockerd, tmp_path: Path) -> None:
    with running(boxed(engine, tmp_path, tokens=10_000)) as hotseat:
        assert hotseat.ask("idle").status == 200
        waiting = under_way(hotseat, "loading", "loading")
        reading = under_way(hotseat, "streaming", "streaming")
        engine.stop()
        assert b'"finish_reason": "abort"' in reading.answer().body  # as a server that is asked to end
        answer = waiting.answer()
        assert (answer.status, answer.error["code"]) == (503, "model_stopped")
        away(hotseat)
        assert hotseat.ask("idle").error["code"] == "runtime_unavailable"
        (tmp_path / "ready").touch()
        engine.start()
        back(hotseat)
        for model in ("idle", "loading", "streaming"):
            assert hotseat.model(model)["starts"] == 2
            assert hotseat.model(model)["failures"] == 0  # it was no crash


def test_an_engine_that_leaves_its_containers_running(engine: Dockerd, tmp_path: Path) -> None:
    """``live-restore``: what serves serves on, a start goes on, and nothing is started a second time."""
    engine.stop()
    engine.live_restore = True
    engine.start()
    with running(boxed(engine, tmp_path)) as hotseat:
        assert hotseat.ask("idle").status == 200
        waiting = under_way(hotseat, "loading", "loading")
        reading = under_way(hotseat, "streaming", "streaming")
        began = {model: hotseat.started(model) for model in ("idle", "loading", "streaming")}
        engine.stop()
        away(hotseat)
        assert hotseat.ask("idle").status == 200
        (tmp_path / "ready").touch()
        assert waiting.answer().status == 200
        assert reading.answer().body.endswith(b"data: [DONE]\n\n")
        engine.start()
        back(hotseat)
        assert {model: hotseat.started(model) for model in began} == began
        engine.docker("stop", "idle")  # and it hears again
        hotseat.told(lambda line: line.get("cause") == "stopped_outside" and line["model"] == "idle")


def test_a_cut_way_to_the_engine(engine: Dockerd, tmp_path: Path) -> None:
    """What happens meanwhile is seen afterwards, with its reason."""
    socket = CuttableSocket(tmp_path / "docker.sock", engine.socket)
    with socket, running(boxed(engine, tmp_path, socket.url)) as hotseat:
        for model in ("idle", "streaming"):
            assert hotseat.send("GET", f"/{model}/v1/models").status == 200
        waiting = under_way(hotseat, "loading", "loading")
        reading = under_way(hotseat, "streaming", "streaming")
        socket.cut()
        away(hotseat)
        engine.docker("stop", "idle")
        engine.docker("start", "stopped")
        os.kill(int(hotseat.state_of("loading")["Pid"]), signal.SIGKILL)
        assert reading.answer().body.endswith(b"data: [DONE]\n\n")
        socket.restore()
        answer = waiting.answer()
        assert answer.status == 503
        assert "killed by signal 9" in answer.error["message"]
        found = hotseat.told(lambda line: line["event"] == "found running")
        assert (found["model"], found["external"]) == ("stopped", True)
        told = hotseat.told(lambda line: line.get("cause") == "stopped_outside")
        assert (told["model"], told["reason"]) == ("idle", "its container was stopped by somebody else")
        assert hotseat.model("streaming")["starts"] == 1


def test_a_way_that_is_cut_for_a_moment_costs_nothing(engine: Dockerd, tmp_path: Path) -> None:
    socket = CuttableSocket(tmp_path / "docker.sock", engine.socket)
    with socket, running(boxed(engine, tmp_path, socket.url)) as hotseat:
        assert hotseat.ask("idle").status == 200
        for _ in range(3):
            socket.cut()
            socket.restore()
            assert hotseat.ask("idle").status == 200
        assert hotseat.ask("stopped").status == 200
        assert hotseat.model("idle")["starts"] == 1
        engine.docker("stop", "idle")
        told = hotseat.told(lambda line: line.get("cause") == "stopped_outside")
        assert told["reason"] == "its container was stopped by somebody else"
