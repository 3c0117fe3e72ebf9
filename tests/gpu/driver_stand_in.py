"""Stand-ins for ``libcuda`` and NVML that log every call: servers for GPUs run on a machine without one.

    build(folder)                                # needs a C compiler
    environment(folder, log)                     # for the server
    calls(log)                                   # such as ["nvml nvmlInit_v2", "libcuda cuInit"]

The GPU is an RTX 4090 with 23 of 24 GiB free; the driver loads, and each of its functions fails.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent


def build(folder: Path) -> None:
    """Compile both libraries into a folder. Raises ``CalledProcessError``."""
    for library, source in (("libcuda.so.1", "driver.c"), ("libnvidia-ml.so.1", "nvml.c")):
        command = ["cc", "-shared", "-fPIC", "-w", "-o", str(folder / library), str(HERE / source)]
        subprocess.run(command, check=True)


def environment(folder: Path, log: Path) -> Mapping[str, str]:
    """Variables with which a program finds the stand-ins first."""
    path = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": f"{folder}:{path}" if path else str(folder), "STAND_IN_LOG": str(log)}


def calls(log: Path) -> list[str]:
    """The calls so far, in order."""
    return log.read_text().splitlines() if log.exists() else []
