"""A few facts about this machine, to tell whether two measurements can be compared."""

from __future__ import annotations

import functools
import os
import platform
import pwd
from typing import Any


@functools.cache
def facts() -> dict[str, Any]:
    """Return host, processor, cores, memory, kernel and boot id; what cannot be read is ``None``."""
    return {
        "host": platform.node(),
        "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": os.cpu_count(),
        "memory_mib": _memory_mib(),
        "kernel": platform.release(),
        "boot": _boot_id(),
    }


def user_name(uid: int) -> str:
    """Return the name of a user, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _boot_id() -> str | None:
    """Return the kernel's boot id: the same in all containers of a machine, and new after each boot."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return None


def available_memory_mib() -> int | None:
    """Return how much memory a new process may take without others being swapped out; ``None``: unknown."""
    return _meminfo_mib("MemAvailable")


def free_memory_mib() -> int | None:
    """Return how much memory nobody uses, not even for cached files; ``None``: unknown."""
    return _meminfo_mib("MemFree")


def _memory_mib() -> int | None:
    return _meminfo_mib("MemTotal")


def _meminfo_mib(name: str) -> int | None:
    amount = _field("/proc/meminfo", name)
    return int(amount.split()[0]) // 1024 if amount else None


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
