"""Models that are containers of the fake server, for tests with a real Docker Engine."""

from __future__ import annotations

from typing import Any

from fakes.dockerd import IMAGE, Dockerd
from hotseat.core.spec import ComposeSpec, ModelSpec, SchedulingSpec
from hotseat.runtimes.docker.spec import DockerSpec

PORT = 8000
ENGINE = ("python3", "-I", "-S", "/opt/fakes/engine.py", "--host", "0.0.0.0", "--port", str(PORT))


def command(name: str, **faults: Any) -> list[str]:
    """The command of a container that is the fake server (``fakes.engine``) with these faults."""
    words = [*ENGINE, "--name", name]
    for fault, value in faults.items():
        flag = "--" + fault.replace("_", "-")
        if isinstance(value, tuple):
            words += [word for line in value for word in (flag, line)]
        elif value is not False:
            words += [flag] if value is True else [flag, str(value)]
    return words


def create(dockerd: Dockerd, name: str, *options: str, **faults: Any) -> None:
    """Make a container of the fake server; ``options`` are those of ``docker create``."""
    dockerd.docker("create", "--name", name, *options, IMAGE, *command(name, **faults))


def model(name: str, compose: ComposeSpec | None = None, **launch: Any) -> ModelSpec:
    """A model that is the container of this name."""
    seat = SchedulingSpec(name=name, footprint={"0": 900_000})
    docker = DockerSpec(container=name, compose=compose, **launch)
    return ModelSpec(name=name, scheduling=seat, launch=docker, runtime="docker")
