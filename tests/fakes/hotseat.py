"""A real launcher: ``hotseat serve`` in a process of its own, its log read line by line."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from fakes.engine import command
from hotseat.runtimes.process import procfs
from hotseat.runtimes.process.launch_records import OWNER, owner_of

LIMIT_S = 60.0
"""Seconds; longer than anything here takes on any machine."""
_OURS = ("HOTSEAT_CONFIG", "HOTSEAT_URL", "HOTSEAT_ENV_FILE", "VLLM_API_KEY", "ADMIN_API_KEY", "LISTEN")


@dataclass(frozen=True)
class Answer:
    """A whole response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object."""
        error = self.json["error"]
        assert isinstance(error, dict)
        return error

    @property
    def pid(self) -> int:
        """Process id of the fake engine that answered."""
        return int(self.json["id"].removeprefix("fake-"))


class Hotseat:
    """A launcher with its configuration, state and log in one folder."""

    PROGRAM: Sequence[str] = ("-m", "hotseat")
    """What Python is told to run."""

    def __init__(
        self,
        folder: Path,
        models: Mapping[str, list[str] | dict[str, Any]],
        *,
        files: int | None = None,
        env: Mapping[str, str] | None = None,
        limit_s: float = LIMIT_S,
        **config: Any,
    ) -> None:
        """``models``: options of fake engines, or whole models of the configuration.

        ``files``: limit of its file descriptors. ``limit_s``: time-out of every wait.
        """
        self.folder, self.file = folder, folder / "hotseat.yaml"
        self.state = folder / "state"
        self.access_log = folder / "access.log"
        self.write(models, **config)
        self._files = files
        self.environment = dict(env or {})
        """Variables that it gets besides those of this process."""
        self.limit_s = limit_s
        self.lines: list[dict[str, Any]] = []
        """Its log so far, of all starts together."""
        self._heard = threading.Condition()
        self._reader: threading.Thread | None = None
        self.process: subprocess.Popen[str] | None = None
        self.port = 0

    def write(self, models: Mapping[str, list[str] | dict[str, Any]], **config: Any) -> None:
        """Write the configuration; models fit together unless their footprint is given."""
        written = {}
        for name, terms in models.items():
            given = terms if isinstance(terms, dict) else {"options": terms}
            given = {"footprint": 0.01, "stop_grace": "5s", **given}
            written[name] = {**self._launch(name, given.pop("options", [])), **given}
        self.file.write_text(yaml.safe_dump({"state_dir": str(self.state), "models": written, **config}))

    def _launch(self, name: str, options: list[str]) -> dict[str, Any]:
        """The part of the configuration that launches a fake engine with these options."""
        return {"command": list(command(*options, name=name))}

    def start(self) -> Self:
        """Start the launcher and wait until it listens."""
        env = {name: value for name, value in os.environ.items() if name not in _OURS}
        since = len(self.lines)
        with open(self.access_log, "ab") as access_log:
            self.process = subprocess.Popen(
                [sys.executable, *self.PROGRAM, "serve", "-c", str(self.file)],
                stdout=access_log,
                stderr=subprocess.PIPE,
                text=True,
                env={**env, "LISTEN": f"127.0.0.1:{self.port}", **self.environment},
                preexec_fn=self._limit if self._files else None,
            )
        self._reader = threading.Thread(target=self._read, args=[self.process], daemon=True)
        self._reader.start()
        listening = self.told(lambda line: line["event"] == "listening", since=since)
        port = str(listening["url"]).rpartition(":")[2]
        self.port = int(port) if port.isdigit() else 0  # a Unix socket has none
        return self

    def _limit(self) -> None:
        assert self._files is not None
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._files, self._files))

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            with self._heard:
                try:
                    self.lines.append(json.loads(line))
                except ValueError:
                    self.lines.append({"event": line, "level": "none"})
                self._heard.notify_all()
        with self._heard:
            self.lines.append({"event": "hotseat has ended", "level": "none"})
            self._heard.notify_all()

    def told(self, wanted: Callable[[dict[str, Any]], bool], since: int = 0) -> dict[str, Any]:
        """Wait for a line of the log that satisfies ``wanted``, from line ``since`` on."""
        deadline = time.monotonic() + self.limit_s
        seen = since
        with self._heard:
            while True:
                while seen < len(self.lines):
                    line = self.lines[seen]
                    seen += 1
                    if wanted(line):
                        return line
                    assert line["event"] != "hotseat has ended" or seen < len(self.lines), self.lines
                assert self._heard.wait(deadline - time.monotonic()), self.lines

    def moved(self, model: str, state: str, since: int = 0) -> dict[str, Any]:
        """Wait for the log line of a model's move to this state."""
        return self.told(lambda line: line["event"] == state and line.get("model") == model, since)

    def ask(self, model: str, path: str = "/v1/chat/completions", **body: Any) -> Answer:
        """Send a request to a model."""
        return self.send("POST", f"/{model}{path}", {"model": model, **body})

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.limit_s)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another ``hotseat`` command against this launcher."""
        return subprocess.run(
            [sys.executable, *self.PROGRAM, *words],
            capture_output=True,
            text=True,
            timeout=self.limit_s,
            check=False,
            env={**os.environ, "HOTSEAT_URL": f"http://127.0.0.1:{self.port}"},
        )

    def model(self, name: str) -> dict[str, Any]:
        """The model in ``/stats``."""
        stats = self.send("GET", "/stats").json["models"][name]
        assert isinstance(stats, dict)
        return stats

    def until(self, name: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Poll ``/stats`` until the model satisfies ``wanted``."""
        deadline = time.monotonic() + self.limit_s
        while not wanted(stats := self.model(name)):
            assert time.monotonic() < deadline, stats
            time.sleep(0.05)
        return stats

    def kill(self) -> None:
        """Kill the launcher, as ``kill -9`` does."""
        assert self.process is not None
        self.process.kill()
        self.exit_status()

    def stop(self) -> int:
        """Stop the launcher, as ``systemctl stop`` does; returns the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.exit_status()

    def exit_status(self) -> int:
        """Wait until it has ended, and return its status."""
        assert self.process is not None
        status = self.process.wait(self.limit_s)
        assert self._reader is not None
        self._reader.join(self.limit_s)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status

    def engines(self) -> list[int]:
        """Process ids of all fake engines that this launcher, in any of its starts, has left running."""
        owner = owner_of(self.state)
        return [one.pid for one in procfs.processes(lambda p: procfs.environ(p.pid).get(OWNER) == owner)]

    def sweep(self) -> None:
        """Kill everything that is left after a failed test."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        for pid in self.engines():
            os.kill(pid, signal.SIGKILL)


def serving(launcher: Hotseat) -> Iterator[Hotseat]:
    """Start a launcher; at the end, check that it stops with status 0 and leaves nothing. For fixtures."""
    try:
        yield launcher.start()
        assert launcher.stop() == 0, launcher.lines[-5:]
        assert launcher.engines() == []
    finally:
        launcher.sweep()
