"""What somebody does to containers on the shell, behind a running hotseat: the state is right, and whoever
waits or reads is answered.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fakes.container_hotseat import Boxed, under_way
from fakes.dockerd import Dockerd
from fakes.hotseat import serving
from faults.cases import error_event

pytestmark = pytest.mark.system("dockerd", "docker", "iptables", "ip")

PHASES = ("idle", "loading", "streaming")


def kill_process(it: Boxed, name: str) -> None:
    """SIGKILL the container's first process, past the engine."""
    os.kill(int(it.state_of(name)["Pid"]), signal.SIGKILL)


ACTS: dict[str, tuple[Callable[[Boxed, str], object], str]] = {
    "stop": (lambda it, name: it.dockerd.docker("stop", "-t", "1", name), "stopped by somebody else"),
    "kill": (lambda it, name: it.dockerd.docker("kill", name), "stopped by somebody else"),
    "rm": (lambda it, name: it.dockerd.docker("rm", "-f", name), "its container was"),
    "kill-9": (kill_process, "killed by signal 9 (SIGKILL)"),
    "pause": (lambda it, name: it.dockerd.docker("pause", name), "its container is paused"),
}
"""What somebody does, and what is said of it."""
CASES = [(act, phase) for act in ACTS for phase in PHASES]


def named(act: str, phase: str) -> str:
    return f"{act}-{phase}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hotseat")


@pytest.fixture(scope="module")
def hotseat(machine: Dockerd, folder: Path) -> Iterator[Boxed]:
    """A model for each case, and two that do not fit beside each other."""
    models: dict[str, object] = {named(act, phase): _options(folder, act, phase) for act, phase in CASES}
    for phase in PHASES:
        for name in (f"first-{phase}", f"second-{phase}"):
            models[name] = {"options": _options(folder, "start", phase, name), "footprint": 0.4}
    made = Boxed(machine, folder, models, gpu={"budget": 0.7})  # type: ignore[arg-type]
    yield from serving(made)  # type: ignore[misc]


def _options(folder: Path, act: str, phase: str, name: str = "") -> list[str]:
    options = ["--tokens", "40", "--token-interval-s", "0.05"] if phase == "streaming" else []
    if phase == "loading" and not name.startswith("second"):
        options += ["--ready-when", str(folder / (name or named(act, phase)))]
    return options


@pytest.mark.parametrize(("act", "phase"), [case for case in CASES if case[1] == "idle"])
def test_an_idle_model(hotseat: Boxed, act: str, phase: str) -> None:
    model, (do, words) = named(act, phase), ACTS[act]
    assert hotseat.ask(model).status == 200
    do(hotseat, model)
    told = hotseat.told(lambda line: line.get("model") == model and words in line.get("reason", ""))
    assert told["cause"] == {"kill-9": "crashed", "pause": "unhealthy"}.get(act, "stopped_outside")
    stats = hotseat.until(model, lambda stats: stats["state"] == "stopped")
    assert words in stats["last_error"]["summary"]
    assert stats["run"] is None
    _and_it_serves_again(hotseat, model, act)


def _and_it_serves_again(hotseat: Boxed, model: str, act: str, starts: int = 2) -> None:
    if act == "rm":
        hotseat.create(model, [])
    hotseat.send("POST", "/admin/start", {"route": model, "wait": True})  # now, back-off or not
    assert hotseat.send("GET", f"/{model}/v1/models").status == 200
    assert hotseat.model(model)["starts"] == starts


@pytest.mark.parametrize(("act", "phase"), [case for case in CASES if case[1] == "loading"])
def test_a_loading_model(hotseat: Boxed, folder: Path, act: str, phase: str) -> None:
    model, (do, words) = named(act, phase), ACTS[act]
    client = under_way(hotseat, model, phase)
    do(hotseat, model)
    (folder / model).touch()
    if act == "pause":  # it is as slow as it is paused
        assert hotseat.model(model)["state"] == "starting"
        hotseat.dockerd.docker("unpause", model)
        assert client.answer().status == 200
        return
    answer = client.answer()
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) >= 1
    crash = act == "kill-9"
    assert (words if crash else "was stopped by its operator") in answer.error["message"]
    assert answer.error["code"] == ("model_backoff" if crash else "model_stopped")
    stats = hotseat.until(model, lambda stats: stats["state"] == ("backoff" if crash else "stopped"))
    assert words in stats["last_error"]["summary"]
    _and_it_serves_again(hotseat, model, act)


@pytest.mark.parametrize(("act", "phase"), [case for case in CASES if case[1] == "streaming"])
def test_a_streaming_model(hotseat: Boxed, act: str, phase: str) -> None:
    model, (do, words) = named(act, phase), ACTS[act]
    client = under_way(hotseat, model, phase)
    do(hotseat, model)
    if act == "stop":  # a server that is asked to end ends its answers, and says so
        assert b'"finish_reason": "abort"' in client.answer().body
        hotseat.told(lambda line: f"{model}: its server cut a response short" in line["event"])
    else:
        assert words in error_event(client.answer())
    stats = hotseat.until(model, lambda stats: (stats["state"], stats["in_flight"]) == ("stopped", 0))
    assert words in stats["last_error"]["summary"]
    _and_it_serves_again(hotseat, model, act)


@pytest.mark.parametrize("phase", PHASES)
def test_a_start_is_believed_and_counts_against_the_budget(hotseat: Boxed, folder: Path, phase: str) -> None:
    """The model that was there serves whoever it has, and then makes room for the newcomer."""
    first, second = f"first-{phase}", f"second-{phase}"
    client = None
    if phase == "idle":
        assert hotseat.ask(first).status == 200
    else:
        client = under_way(hotseat, first, phase)
    hotseat.dockerd.docker("start", second)
    hotseat.told(lambda line: line["event"] == "found running" and line["model"] == second)
    hotseat.moved(second, "ready")
    if client is not None:
        (folder / first).touch()
        assert client.answer().status == 200
    hotseat.until(first, lambda stats: stats["run"] is None)
    stats = hotseat.model(second)
    assert (stats["state"], stats["starts"]) == ("ready", 0)
    assert hotseat.send("GET", f"/{second}/v1/models").status == 200
    assert hotseat.send("GET", f"/{first}/v1/models").status == 200  # and gets it back
    hotseat.until(second, lambda stats: stats["run"] is None)
