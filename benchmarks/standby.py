"""Swaps of the real vLLM, plain and from standby: CPU and wall time from the demand to the first token.

    make bench BENCH=standby

Needs what ``make test-vllm`` installs (its CPU build and a tiny model), and ten minutes. Two launchers
alternate, one with ``standby: off`` and one with ``standby: keep``. In each round another model takes the
seat, so that vLLM leaves it, and then vLLM is asked for. What vLLM has done before it was asked for is
printed apart. The last line holds the ratios of the medians.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks import machine
from hotseat.runtimes.process import procfs
from hotseat.runtimes.process.gates import host_mib
from hotseat.runtimes.process.launch_records import OWNER, PREFIX, owner_of

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".vllm"
ROUNDS = 5
LIMIT_S = 600.0
CLOCK_HZ = os.sysconf("SC_CLK_TCK")
MAX_CPU, MAX_WALL = 0.2, 0.25
"""The largest ratios that are accepted."""
OTHER = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
"""A server that takes the seat in no time."""


@dataclass
class Figures:
    """What the rounds of one launcher took, in seconds."""

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    before_s: list[float] = field(default_factory=list)
    """CPU time before the demand."""
    memory_mib: list[int] = field(default_factory=list)
    """Host memory before the demand."""


class Launcher:
    """One hotseat with vLLM and the other model, which exclude each other."""

    def __init__(self, folder: Path, standby: str) -> None:
        self.standby = standby
        env = {
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "VLLM_CACHE_ROOT": str(HOME / "cache"),
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }
        vllm = [str(HOME / "bin/python"), "-m", "vllm.entrypoints.openai.api_server"]
        vllm += ["--model", str(HOME / "tiny"), "--served-model-name", "tiny", "--max-num-seqs", "4"]
        vllm += ["--enforce-eager", "--host", "127.0.0.1", "--port", "{port}"]
        models = {
            "chat": {"command": vllm, "env": env, "start_timeout": "10m", "stop_grace": "30s"},
            "other": {"command": [sys.executable, "-c", OTHER, "{port}"]},
        }
        common = {"footprint": 0.9, "residency": "0s", "idle": "0s"}
        config = {
            "state_dir": str(folder / "state"),
            "standby": standby,
            "models": {name: {**common, **terms} for name, terms in models.items()},
        }
        folder.mkdir()
        self._owner = owner_of(folder / "state")
        (folder / "hotseat.yaml").write_text(yaml.safe_dump(config))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hotseat", "serve", "-c", str(folder / "hotseat.yaml")],
            env={**os.environ, "LISTEN": f"127.0.0.1:{self.port}"},
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(LIMIT_S)
        self._log.close()

    def first_token_s(self, model: str) -> float:
        """Ask, and return the seconds until the first byte of the body."""
        body = {"model": model, "prompt": "Once upon a time", "max_tokens": 4, "stream": True}
        begun = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/{model}/v1/completions", json.dumps(body), headers)
        response = connection.getresponse()
        while not (line := response.readline()).startswith((b"data:", b"{")):
            assert line, f"status {response.status} without a token"
        seconds = time.monotonic() - begun
        assert response.status == 200, line
        response.read()
        connection.close()
        return seconds

    def state(self, model: str) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        connection.request("GET", "/stats")
        stats: Mapping[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return str(stats["models"][model]["state"])

    def until(self, model: str, state: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while self.state(model) != state:
            assert time.monotonic() < deadline, f"{model} is {self.state(model)}, not {state}"
            time.sleep(0.2)

    def members(self) -> list[procfs.Stat]:
        """The processes of vLLM."""
        marks = {OWNER: self._owner, PREFIX + "MODEL": "chat"}
        return procfs.processes(lambda one: marks.items() <= procfs.environ(one.pid).items())

    def cpu_s(self) -> float:
        """CPU time of vLLM's processes and of what they have waited for."""
        total = 0
        for one in self.members():
            try:
                fields = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(int(ticks) for ticks in fields[11:15])
        return total / CLOCK_HZ

    def leave(self) -> None:
        """Have vLLM give way to the other model, and wait until it does nothing any more."""
        self.first_token_s("other")
        self.until("chat", "standby" if self.standby == "keep" else "stopped")

    def measure(self, figures: Figures) -> None:
        """Ask for vLLM while the other model has the seat."""
        before_s = self.cpu_s()
        figures.before_s.append(before_s)
        figures.memory_mib.append(host_mib(self.members()) or 0)
        figures.wall_s.append(self.first_token_s("chat"))
        figures.cpu_s.append(self.cpu_s() - before_s)


@contextmanager
def _running(folder: Path, standby: str) -> Iterator[Launcher]:
    launcher = Launcher(folder, standby)
    try:
        deadline = time.monotonic() + LIMIT_S
        while True:
            try:
                launcher.state("chat")
                break
            except OSError:
                assert launcher.process.poll() is None, "hotseat did not start"
                assert time.monotonic() < deadline
                time.sleep(0.1)
        launcher.first_token_s("chat")  # fills caches, and shows its gate
        launcher.leave()
        yield launcher
    finally:
        launcher.stop()


def main() -> int:
    """Measure; the exit status is 1 where standby saves too little."""
    if not (HOME / "tiny").is_dir():
        print("the real vLLM is not installed: make test-vllm does it", file=sys.stderr)
        return 1
    print(machine.describe())
    kinds = ("off", "keep")
    figures = {kind: Figures() for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="hotseat-standby-") as folder, ExitStack() as stack:
        launchers = {kind: stack.enter_context(_running(Path(folder) / kind, kind)) for kind in kinds}
        for _ in range(ROUNDS):
            for kind, launcher in launchers.items():
                launcher.measure(figures[kind])
                one = figures[kind]
                print(
                    f"{'standby' if kind == 'keep' else 'plain':8} CPU {one.cpu_s[-1]:6.1f} s, "
                    f"wall {one.wall_s[-1]:6.1f} s; before: CPU {one.before_s[-1]:5.1f} s, "
                    f"{one.memory_mib[-1]} MiB",
                    flush=True,
                )
                launcher.leave()
    plain, standby = (figures[kind] for kind in kinds)
    cpu = statistics.median(standby.cpu_s) / statistics.median(plain.cpu_s)
    wall = statistics.median(standby.wall_s) / statistics.median(plain.wall_s)
    print(f"standby/plain: CPU {cpu:.2f}, wall {wall:.2f}")
    return 0 if cpu <= MAX_CPU and wall <= MAX_WALL else 1
