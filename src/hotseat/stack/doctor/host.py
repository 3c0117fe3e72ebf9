"""Facts about this machine: file systems, ports and GPUs."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SMI = "--query-gpu=name,driver_version,memory.total,memory.used"
_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class HostGpu:
    """A GPU as ``nvidia-smi`` reports it; memory in bytes."""

    name: str
    driver: str
    total: int
    used: int


def gpus(env: Mapping[str, str]) -> list[HostGpu] | None:
    """The GPUs; ``None`` if ``nvidia-smi`` is missing or fails."""
    program = shutil.which("nvidia-smi", path=env.get("PATH")) or _first("/usr/lib/wsl/lib/nvidia-smi")
    if not program:
        return None
    try:
        done = subprocess.run(
            [program, _SMI, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env=dict(env),
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    found = []
    for line in done.stdout.splitlines():
        with contextlib.suppress(ValueError):
            name, driver, total, used = (part.strip() for part in line.split(","))
            found.append(HostGpu(name, driver, int(total) * 1024**2, int(used) * 1024**2))
    return found


def _first(path: str) -> str | None:
    return path if Path(path).exists() else None


@dataclass(frozen=True, slots=True)
class FileSystem:
    """The file system that holds a path."""

    kind: str
    """``ext4``, ``9p``, …"""
    mounted_at: str
    free: int
    """Bytes that this user can still write."""


def existing(path: Path) -> Path:
    """The path, or the nearest existing folder above it."""
    return next(one for one in (path, *path.parents) if one.exists())


def file_system(path: Path) -> FileSystem:
    """The file system of a path, which need not exist yet."""
    real = existing(path.absolute()).resolve()
    point, kind = mount_of(real, Path("/proc/self/mountinfo").read_text(encoding="utf-8"))
    return FileSystem(kind, point, free_bytes(real))


def mount_of(path: Path, mountinfo: str) -> tuple[str, str]:
    """The mount point and the type of a path's file system, from /proc/self/mountinfo (proc(5))."""
    best = ("", "unknown")
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), left.split()[4])
        inside = path == Path(point) or Path(point) in path.parents
        if inside and len(point) >= len(best[0]):
            best = (point, right.split()[0])
    return best


def free_bytes(path: Path) -> int:
    """Bytes that this user can still write there."""
    return shutil.disk_usage(path).free
