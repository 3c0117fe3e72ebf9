"""Checks on a machine with an NVIDIA GPU and torch, and nothing of vLLM: ``make test-gpu``.

    PYTHON=/path/to/python make test-gpu

Python needs torch for CUDA and nvidia-ml-py. Takes two minutes, and 4 GiB of memory of the first GPU, which
nobody else should use meanwhile. Each check prints one line; the last line counts them.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pynvml

from hotseat.gate.gate_folder import GateFolder
from hotseat.probing.gpu import NvmlReader, room_for

LIMIT_S = 60.0
HELD_MIB = 1024
"""What each server loads."""
SLACK_MIB = 128
"""By how much the memory of a GPU in rest may move."""

SERVER = f"""
import http.server, os, signal, sys
import torch

if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
available, count = torch.cuda.is_available(), torch.cuda.device_count()
print("imported", available, count, flush=True)
weights = torch.ones({HELD_MIB}, 1024, 1024, dtype=torch.uint8, device="cuda")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(int(weights[:2, :2, :2].sum().item())).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Server:
    """A server on torch that takes ``HELD_MIB`` of the GPU, behind a gate."""

    def __init__(self, folder: Path, *words: str, opened: bool = False, **env: str) -> None:
        self.gate = GateFolder(Path(tempfile.mkdtemp(dir=folder)) / "gate")
        self.gate.make(opened=opened)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        variables = {**os.environ, **self.gate.environment(None), **env}
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port), *words], env=variables, start_new_session=True
        )

    def until_ready(self) -> float:
        """Seconds from the launch until it stood by."""
        self._until(lambda: self.gate.read().ready > 0, "it never stood by")
        return time.monotonic() - self.begun

    def until_serving(self) -> float:
        """Seconds from this call until it answered."""
        begun = time.monotonic()
        self._until(lambda: self.answer() is not None, "it never served")
        assert self.answer() == b"8", "a wrong answer"
        return time.monotonic() - begun

    def answer(self) -> bytes | None:
        with suppress(OSError):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", "/")
            return connection.getresponse().read()
        return None

    def _until(self, true: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not true():
            assert self.process.poll() is None, f"{otherwise}: exit status {self.process.poll()}"
            assert time.monotonic() < deadline, otherwise
            time.sleep(0.02)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Gpu:
    """The first GPU, as hotseat's own reader sees it."""

    def __init__(self) -> None:
        self.reader = NvmlReader(pynvml)
        self.handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self.uuid = str(pynvml.nvmlDeviceGetUUID(self.handle))

    @property
    def used_mib(self) -> int:
        return self.reader.read()["0"].used_mib

    def until_used(self, least_mib: float, most_mib: float) -> float:
        """Seconds until the used memory was within these bounds."""
        begun = time.monotonic()
        while not least_mib <= self.used_mib <= most_mib:
            assert time.monotonic() < begun + LIMIT_S, f"{self.used_mib} MiB used: not {least_mib}…{most_mib}"
            time.sleep(0.01)
        return time.monotonic() - begun

    def pids(self) -> list[int]:
        """Processes with a context on it, as far as the driver tells from where we are."""
        return [one.pid for one in pynvml.nvmlDeviceGetComputeRunningProcesses(self.handle)]


@contextmanager
def serving(folder: Path, *words: str, **terms: Any) -> Iterator[Server]:
    server = Server(folder, *words, **terms)
    try:
        yield server
    finally:
        server.end()
        server.process.wait()


def reader_agrees_with_nvml(gpu: Gpu, folder: Path) -> str:
    reading, memory = gpu.reader.read()["0"], pynvml.nvmlDeviceGetMemoryInfo(gpu.handle)
    assert reading.total_mib == memory.total >> 20
    assert abs(reading.free_mib - (memory.free >> 20)) < SLACK_MIB
    return f"{reading.name}, {reading.total_mib} MiB, {reading.used_mib} MiB used in rest"


def gated_server_holds_no_gpu_memory_before_go_and_serves_after(gpu: Gpu, folder: Path) -> str:
    rest_mib = gpu.used_mib
    with serving(folder) as server:
        prepared_s = server.until_ready()
        time.sleep(1)  # whatever it would take, it has by now
        standing_mib, pids = gpu.used_mib - rest_mib, gpu.pids()
        assert standing_mib == 0, f"{standing_mib} MiB before go"
        assert server.process.pid not in pids, "it has a context"
        assert server.answer() is None, "it serves before go"
        assert server.gate.open()
        served_s = server.until_serving()
        held_mib = gpu.used_mib - rest_mib
        assert held_mib >= HELD_MIB, f"only {held_mib} MiB after go"
        server.end()
        back_s = gpu.until_used(0, rest_mib + SLACK_MIB)
    return (
        f"prepared in {prepared_s:.2f} s with 0 MiB; go to answer {served_s:.2f} s with {held_mib} MiB; "
        f"memory back {back_s:.2f} s after SIGKILL"
    )


def plain_start_for_comparison(gpu: Gpu, folder: Path) -> str:
    with serving(folder, opened=True) as server:
        seconds = server.until_serving()
        log = server.gate.read()
        assert log.armed
        assert log.passed == 1
        assert log.ready == 0
    return f"launch to answer {seconds:.2f} s"


def several_servers_stand_by_and_add_up_after_go(gpu: Gpu, folder: Path) -> str:
    rest_mib = gpu.used_mib
    with serving(folder) as one, serving(folder) as two, serving(folder) as three:
        servers = (one, two, three)
        for server in servers:
            server.until_ready()
        assert gpu.used_mib == rest_mib
        held = []
        for server in servers:
            server.gate.open()
            server.until_serving()
            held.append(gpu.used_mib - rest_mib)
        assert held[0] >= HELD_MIB
        assert held[1] - held[0] >= HELD_MIB
        assert held[2] - held[1] >= HELD_MIB
        three.end()
        gpu.until_used(0, rest_mib + held[1] + SLACK_MIB)
    gpu.until_used(0, rest_mib + SLACK_MIB)
    return f"three hold {held} MiB one after the other"


def visible_devices_by_number_and_uuid(gpu: Gpu, folder: Path) -> str:
    for value in ("0", gpu.uuid):
        with serving(folder, CUDA_VISIBLE_DEVICES=value) as server:
            server.until_ready()
            server.gate.open()
            server.until_serving()
    with serving(folder, CUDA_VISIBLE_DEVICES="") as server:
        server.gate.open()
        assert server.process.wait(LIMIT_S) != 0, "it served without a device"
    return f"0 and {gpu.uuid[:12]}…; none: it fails"


def memory_that_does_not_come_back_stops_the_next_start(gpu: Gpu, folder: Path) -> str:
    reading = gpu.reader.read()["0"]
    wanted = {"0": int(1_000_000 * (reading.free_mib - HELD_MIB // 2) / reading.total_mib)}
    assert asyncio.run(room_for(gpu.reader, wanted, 1.0)) is None
    with serving(folder, "stubborn", opened=True) as server:
        server.until_serving()
        server.end(signal.SIGTERM)
        # One per cent of the device is granted as slack, which may be more than the server takes.
        whole = {"0": int(1_000_000 * (reading.free_mib + reading.total_mib // 100) / reading.total_mib)}
        reason = asyncio.run(room_for(gpu.reader, whole, 2.0))
        assert reason is not None, "the memory was believed to be free"
        assert "did not come back" in reason.summary
        server.end(signal.SIGKILL)
        begun = time.monotonic()
        assert asyncio.run(room_for(gpu.reader, wanted, 30.0)) is None
        return f"{reason.hint}; free {time.monotonic() - begun:.2f} s after SIGKILL"


CHECKS = (
    reader_agrees_with_nvml,
    plain_start_for_comparison,
    gated_server_holds_no_gpu_memory_before_go_and_serves_after,
    plain_start_for_comparison,
    several_servers_stand_by_and_add_up_after_go,
    visible_devices_by_number_and_uuid,
    memory_that_does_not_come_back_stops_the_next_start,
)


def main() -> int:
    """Run all checks; the exit status is 1 if one failed."""
    gpu, failed, begun = Gpu(), 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="hotseat-gpu-") as folder:
        for check in CHECKS:
            name = check.__name__.replace("_", " ")
            try:
                print(f"ok      {name}: {check(gpu, Path(folder))}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {name}", flush=True)
                traceback.print_exc()
    seconds = time.monotonic() - begun
    print(f"gpu: {len(CHECKS) - failed} of {len(CHECKS)} checks passed in {seconds:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
