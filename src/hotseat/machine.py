"""What this machine is, in a few facts that say whether two measurements can be compared."""

from __future__ import annotations

import functools
import os
import platform
from typing import Any


@functools.cache
def facts() -> dict[str, Any]:
    """Host, processor, cores, memory, kernel and boot; what cannot be read is ``None``."""
    return {
        "host": platform.node(),
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_mib": _memory_mib(),
        "kernel": platform.release(),
        "boot": _boot(),
    }


def _boot() -> str | None:
    """The running kernel's own id: the same in all containers of a machine, another after each boot."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def _memory_mib() -> int | None:
    total = _field("/proc/meminfo", "MemTotal")
    return int(total.split()[0]) // 1024 if total else None


def _field(file: str, name: str) -> str | None:
    try:
        with open(file, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, colon, value = line.partition(":")
                if colon and key.strip() == name:
                    return value.strip()
    except OSError:
        pass
    return None
