"""hotseat as it is run, with models that are containers of a private Docker Engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fakes.containers import ENGINE
from fakes.dockerd import IMAGE, Dockerd
from fakes.hotseat import Hotseat


class Boxed(Hotseat):
    """A running launcher on the host; the container of a model has its name."""

    def __init__(
        self,
        dockerd: Dockerd,
        folder: Path,
        models: Mapping[str, list[str] | dict[str, Any]],
        *,
        url: str | None = None,
        options: Mapping[str, list[str]] | None = None,
        **config: Any,
    ) -> None:
        """``url``: of the engine, as hotseat sees it. ``options``: those of ``docker create``, by model."""
        self.dockerd, self._options = dockerd, dict(options or {})
        super().__init__(folder, models, env={**dockerd.env, "DOCKER_HOST": url or dockerd.url}, **config)

    def _launch(self, name: str, options: list[str]) -> dict[str, Any]:
        if not self.exists(name):
            self.create(name, options)
        return {"container": name}

    def create(self, name: str, options: list[str]) -> None:
        """Make the container of a fake engine with these options; it sees our folder at its place."""
        given = [f"--volume={self.folder}:{self.folder}", *self._options.get(name, [])]
        self.dockerd.docker("create", "--name", name, *given, IMAGE, *ENGINE, "--name", name, *options)

    def exists(self, name: str) -> bool:
        """Whether there is such a container."""
        return self.dockerd.docker("inspect", "--type", "container", name, check=False).returncode == 0

    def state_of(self, name: str) -> dict[str, Any]:
        """What the engine says of a container's state."""
        state = self.dockerd.inspect(name)["State"]
        assert isinstance(state, dict)
        return state

    def engines(self) -> list[int]:
        """The first processes of all containers that run."""
        if not (ids := self.dockerd.docker("ps", "-aq").stdout.split()):
            return []
        found = self.dockerd.docker("inspect", "-f", "{{.State.Running}} {{.State.Pid}}", *ids).stdout
        return [int(pid) for running, pid in map(str.split, found.splitlines()) if running == "true"]

    def sweep(self) -> None:
        """After a test: no container is left."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if not self.dockerd.running:
            self.dockerd.start()
        self.dockerd.remove_containers()

    def started(self, name: str) -> str:
        """Wait until the container runs; returns since when, which tells its starts from each other."""
        deadline = time.monotonic() + self.limit_s
        while not (state := self.state_of(name))["Running"]:
            assert time.monotonic() < deadline, state
        return str(state["StartedAt"])
