"""The registry of runtimes; a third one is a folder, and nothing else in hotseat knows of it.

``fakes/third_runtime`` is hotseat's own command line with one more folder to look for runtimes in. It brings
a key for models (``script``), one for the top of the file (``interpreter``), a launch and a runtime.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes import engine
from fakes.hotseat import Hotseat, serving
from hotseat.core.spec import ComposeSpec, ModelSpec, Program, SchedulingSpec
from hotseat.runtimes import registry
from hotseat.runtimes.docker.spec import DockerSpec, docker_spec
from hotseat.runtimes.process.spec import ProcessSpec

THIRD = (str(Path(engine.__file__).parent / "third_runtime"),)
SCRIPT = {"script": engine.__file__}


class ScriptHotseat(Hotseat):
    """A launcher that knows the third runtime; its models are scripts."""

    PROGRAM = THIRD

    def _launch(self, name: str, options: list[str]) -> dict[str, Any]:
        return dict(SCRIPT)


@pytest.fixture
def hotseat(tmp_path: Path) -> Iterator[Hotseat]:
    yield from serving(ScriptHotseat(tmp_path, {"fake": []}, interpreter=sys.executable))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *THIRD, *words], capture_output=True, text=True, check=False)


def written(folder: Path, **config: Any) -> str:
    """The configuration as a file; JSON is YAML."""
    file = folder / "hotseat.yaml"
    file.write_text(json.dumps({"state_dir": str(folder / "state"), **config}))
    return str(file)


# what hotseat itself comes with


def test_the_default_runtime_comes_first() -> None:
    assert list(registry.KINDS) == ["process", "docker", "kubernetes"]
    assert registry.KINDS[registry.DEFAULT].name == registry.DEFAULT


def test_a_key_belongs_to_its_runtime() -> None:
    assert registry.owners("command") == ["process"]
    assert registry.owners("container") == ["docker"]
    assert registry.owners("idle") == []


def test_only_the_named_runtimes_are_created(tmp_path: Path) -> None:
    made = registry.create({"docker"}, tmp_path)
    assert {name: runtime.name for name, runtime in made.items()} == {"docker": "docker"}
    assert registry.create([], tmp_path) == {}


def test_the_client_of_docker_is_imported_for_its_models_alone(tmp_path: Path) -> None:
    file = written(tmp_path, models={"m": {"command": "serve {port}"}})
    program = (
        "import sys; from hotseat import app, config; "
        f"app.App(config.load({file!r}, {{}})); "
        "print([name for name in ('aiodocker', 'aiohttp', 'hotseat.runtimes.docker.runtime') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_process_describes_itself_by_its_program() -> None:
    launch = ProcessSpec(command=("serve", "{port}"), env={"A": "1"}, cwd="/srv")
    assert (launch.target, launch.describe()) == ("serve", "serve")
    assert launch.program == Program(command=("serve", "{port}"), env={"A": "1"}, cwd="/srv")
    assert (launch.container_name, launch.compose_project) == (None, None)


def test_a_container_describes_itself_by_its_name() -> None:
    compose = ComposeSpec(file="docker-compose.yml")
    launch = DockerSpec(container="coder3b", compose=compose)
    assert (launch.target, launch.describe()) == ("coder3b", "container coder3b")
    assert (launch.program, launch.container_name, launch.compose_project) == (None, "coder3b", compose)


def test_the_docker_runtime_refuses_a_launch_of_another() -> None:
    launch = ProcessSpec(command=("serve", "{port}"))
    model = ModelSpec(name="m", scheduling=SchedulingSpec(name="m", footprint={}), launch=launch)
    with pytest.raises(TypeError, match="m is not launched by docker"):
        docker_spec(model)


# a third runtime


def test_a_third_runtime_brings_its_keys(tmp_path: Path) -> None:
    file = written(tmp_path, models={"m": SCRIPT}, interpreter=sys.executable)
    done = run("check-config", "-c", file)
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("m "))
    assert row.split() == ["m", "script", "/m", "90%", "1800s", "script", "engine.py"]


def test_its_keys_are_checked_as_those_of_the_others(tmp_path: Path) -> None:
    models = {
        "a": {"runtime": "script"},
        "b": {"script": "b.py", "container": "x"},
        "c": {"runtime": "podman"},
        "d": {"scirpt": "d.py"},
        "e": {},
    }
    done = run("check-config", "-c", written(tmp_path, models=models))
    assert done.returncode == 2
    for expected in (
        "models.a: names no script (write script: FILE.py)",
        "models.b.script: is for models with runtime script; this model has runtime docker "
        "(remove this line)",
        "models.c.runtime: expected 'process', 'docker', 'kubernetes' or 'script'",
        "models.d.scirpt: unknown key (did you mean script?)",
        "models.e: does not say what to start (add command: [program, arguments…] or container: NAME "
        "or workload: deployment/NAME or script: FILE.py)",
    ):
        assert expected in done.stdout + done.stderr


def test_its_keys_are_in_the_schema(tmp_path: Path) -> None:
    done = run("check-config", "--schema")
    schema = json.loads(done.stdout)
    assert schema["properties"]["interpreter"]["description"] == "The Python that runs scripts."
    model = schema["$defs"]["ModelConfig"]["properties"]
    assert model["script"]["description"] == "The Python file to run."
    assert model["runtime"]["anyOf"][0]["enum"] == ["process", "docker", "kubernetes", "script"]


def test_doctor_sees_that_its_programs_run_on_this_machine(tmp_path: Path) -> None:
    file = written(tmp_path, models={"m": SCRIPT}, interpreter=sys.executable, listen="127.0.0.1:0")
    done = run("doctor", "--stack", str(tmp_path), "-c", file, "--json")
    checks = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert checks["program of m"]["state"] == "ok"
    assert checks["program of m"]["message"] == sys.executable
    assert "docker" not in checks


def test_its_models_start_and_stop(hotseat: Hotseat) -> None:
    answer = hotseat.ask("fake")
    assert answer.status == 200
    assert answer.pid in hotseat.engines()
    status = hotseat.command("status")
    assert status.returncode == 0, status.stderr
    assert any(line.split()[:2] == ["fake", "ready"] for line in status.stdout.splitlines())
    launch = hotseat.send("GET", "/admin/launch/fake").json
    assert (launch["runtime"], launch["target"]) == ("script", engine.__file__)
    assert launch["command"][:2] == [sys.executable, engine.__file__]
    assert hotseat.command("stop", "fake", "--wait").returncode == 0
    hotseat.until("fake", lambda model: model["state"] == "stopped")
