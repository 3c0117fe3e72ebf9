"""hotseat as it is run, with models that are containers of a private Docker Engine."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fakes.containers import ENGINE
from fakes.dockerd import IMAGE, Dockerd
from fakes.hotseat import LIMIT_S, Answer, Hotseat


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


class Client:
    """Somebody whose request is under way."""

    def __init__(self, hotseat: Boxed, model: str, *, stream: bool) -> None:
        self._wire = http.client.HTTPConnection("127.0.0.1", hotseat.port, timeout=LIMIT_S)
        body = json.dumps({"model": model, "stream": stream})
        self._wire.request("POST", f"/{model}/v1/completions", body, {"Content-Type": "application/json"})
        self.streaming = threading.Event()
        """Set when the first bytes of the response's body are here."""
        self._pool = ThreadPoolExecutor(1)
        self._answer: Future[Answer] = self._pool.submit(self._read)

    def _read(self) -> Answer:
        response = self._wire.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        first = response.read1(1)
        self.streaming.set()
        return Answer(response.status, headers, first + response.read())

    def answer(self) -> Answer:
        """What came of it."""
        try:
            return self._answer.result(LIMIT_S)
        finally:
            self._pool.shutdown()
            self._wire.close()


def under_way(hotseat: Boxed, model: str, phase: str) -> Client:
    """A client who waits for the model's start, or reads its stream."""
    client = Client(hotseat, model, stream=phase == "streaming")
    if phase == "streaming":
        assert client.streaming.wait(LIMIT_S)
    else:
        hotseat.until(model, lambda stats: stats["state"] == "starting" and stats["waiting"] == 1)
        hotseat.started(model)
    return client
