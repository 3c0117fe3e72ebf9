"""Shows that a gated server makes no call of the CUDA driver before it is let through; needs no GPU.

    python tests/gpu/check_driver_calls.py [COMMAND …]

Runs a command of a server built for GPUs (``vllm serve MODEL``; by default, a line of torch) over stand-ins
for the driver and NVML. Passes if no driver call comes before the go, and at least one after it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from driver_stand_in import build, calls, environment

from hotseat.gate.gate_folder import GateFolder

LIMIT_S = 240.0
TORCH = (
    "import torch; print(torch.cuda.is_available(), torch.cuda.device_count()); torch.zeros(1, device='cuda')"
)


def main() -> int:
    """Run the check; the exit status is 1 if it failed."""
    command = sys.argv[1:] or [sys.executable, "-c", TORCH]
    with tempfile.TemporaryDirectory(prefix="hotseat-driver-") as name:
        folder, log = Path(name), Path(name) / "calls"
        build(folder)
        gate = GateFolder(folder / "gate")
        gate.make()
        env = {**os.environ, **environment(folder, log), **gate.environment(os.environ.get("PYTHONPATH"))}
        server = subprocess.Popen(command, env=env, start_new_session=True)
        try:
            return _watch(server, gate, log)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _watch(server: subprocess.Popen[bytes], gate: GateFolder, log: Path) -> int:
    deadline = time.monotonic() + LIMIT_S
    while not gate.read().ready:
        if server.poll() is not None or time.monotonic() > deadline:
            print(f"FAILED  it never stood by; calls: {calls(log)}")
            return 1
        time.sleep(0.05)
    time.sleep(1)
    before = [call for call in calls(log) if call.startswith("libcuda")]
    gate.open()
    while server.poll() is None and time.monotonic() < deadline and not _driver_called(log):
        time.sleep(0.05)
    after = [call for call in calls(log) if call.startswith("libcuda")][len(before) :]
    print(f"before the go: {before or 'no driver call'}; after it: {after[:3]}")
    passed = not before and bool(after)
    print("ok      no driver call before the go" if passed else "FAILED")
    return 0 if passed else 1


def _driver_called(log: Path) -> bool:
    return any(call.startswith("libcuda") for call in calls(log))


if __name__ == "__main__":
    sys.exit(main())
