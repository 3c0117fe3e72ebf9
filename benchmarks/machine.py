"""Description of the machine on which figures were measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from importlib import metadata
from pathlib import Path

PACKAGES = ("hotseat", "uvicorn", "uvloop", "httptools", "msgspec", "starlette")


def describe() -> dict[str, object]:
    """Describe the machine, the versions, and the load before the run."""
    return {
        "cpu": _cpu_model(),
        "cores": sorted(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "python_loop_ms": _python_loop_ms(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "nginx": _version_of("nginx", "-v"),
        "load_average": os.getloadavg()[0],
    }


def _python_loop_ms() -> float:
    """Duration of a fixed loop in ms: builds of one version of the interpreter differ by a third."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        found: dict[int, tuple[int, str]] = {}
        for number in range(100_000):
            found[number & 255] = (number, str(number))
        best = min(best, time.process_time() - began)
    return round(best * 1000, 2)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version_of(program: str, argument: str) -> str | None:
    """First line of a program's version output; ``None`` if it is not installed."""
    path = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        return None
    done = subprocess.run([path, argument], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[0].strip()
