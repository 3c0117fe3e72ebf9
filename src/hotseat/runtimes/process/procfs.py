"""Reads Linux' process table (``/proc``, pidfds). Every answer may be outdated as soon as it is returned.

A pid alone is not an identity, since pids are reused. A process is a pid and its start time
(field 22 of ``/proc/PID/stat``, in clock ticks since boot), within one boot of the machine.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Stat:
    """One process as ``/proc/PID/stat`` describes it."""

    pid: int
    parent: int
    state: str
    """One letter of ``proc(5)``; ``Z``: a zombie."""
    group: int
    session: int
    start: int
    """Clock ticks since boot."""

    @property
    def ended(self) -> bool:
        """Whether it has ended: a zombie, which its parent has not reaped."""
        return self.state in "ZX"


def boot_id() -> str:
    """Return the identity of this boot; ``""`` where the kernel does not tell it."""
    with suppress(OSError):
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return ""


def stat(pid: int) -> Stat | None:
    """Return the process of this pid; ``None``: there is none."""
    try:
        text = (PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The name, in parentheses, may hold anything, parentheses included.
    fields = text[text.rindex(b")") + 2 :].split()
    return Stat(pid, int(fields[1]), fields[0].decode(), int(fields[2]), int(fields[3]), int(fields[19]))


def environ(pid: int) -> Mapping[str, str]:
    """Return the environment that a process was started with; empty where it may not be read.

    A process can overwrite it (``setproctitle`` does): a missing variable proves nothing.
    """
    try:
        data = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition(b"=") for item in data.split(b"\0") if item)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def started_s(start: int) -> float:
    """Return a start time (``Stat.start``) as Unix time in seconds."""
    booted_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted_s + start / os.sysconf("SC_CLK_TCK")


def owner(pid: int) -> int | None:
    """Return the user of a process; ``None``: there is none. Root, where the process may not be dumped."""
    with suppress(OSError):
        return (PROC / str(pid)).stat().st_uid
    return None


def sockets(pid: int) -> set[int] | None:
    """Return the inodes of a process's sockets; ``None``: they may not be read."""
    return _inodes(pid, "socket:[")


def _inodes(pid: int, kind: str) -> set[int] | None:
    folder = PROC / str(pid) / "fd"
    found = set()
    try:
        for name in os.listdir(folder):
            with suppress(OSError):
                target = os.readlink(folder / name)
                if target.startswith(kind):
                    found.add(int(target[len(kind) : -1]))
    except OSError:
        return None
    return found


def has_open(pid: int, inode: tuple[int, int]) -> bool:
    """Whether a process has this file open, given by device and inode number."""
    folder = PROC / str(pid) / "fd"
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError):
                status = os.stat(folder / name)
                if (status.st_dev, status.st_ino) == inode:
                    return True
    return False


def descendants(of: Collection[Stat], among: Iterable[Stat]) -> list[Stat]:
    """Return the processes that these have launched, directly or through others."""
    children: dict[int, list[Stat]] = {}
    for one in among:
        children.setdefault(one.parent, []).append(one)
    found: list[Stat] = []
    seen, pending = {one.pid for one in of}, [one.pid for one in of]
    while pending:
        for child in children.get(pending.pop(), ()):
            if child.pid not in seen:
                seen.add(child.pid)
                pending.append(child.pid)
                found.append(child)
    return found


def was_executed(pid: int) -> bool:
    """Whether a child of this process runs a program of its own, and is not merely forked yet."""
    try:
        own, others = (Path(f"{PROC}/{one}/cmdline").read_bytes() for one in ("self", str(pid)))
    except OSError:
        return False
    return own != others


def become_subreaper() -> None:
    """Have orphans among this process's descendants become its children; kept across ``exec``.

    Does nothing where the kernel does not know it.
    """
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap(process: Stat) -> None:
    """Reap an ended process that has become a child of this one, if it has."""
    with suppress(ChildProcessError):
        now = stat(process.pid)
        if now is not None and now.start == process.start and now.ended and now.parent == os.getpid():
            os.waitpid(process.pid, os.WNOHANG)


def processes(wanted: Callable[[Stat], bool], since: int = 0) -> list[Stat]:
    """Return running processes, started at ``since`` or later, for which ``wanted`` is true."""
    found = []
    for name in os.listdir(PROC):
        one = stat(int(name)) if name.isdigit() else None
        if one is not None and not one.ended and one.start >= since and wanted(one):
            found.append(one)
    return found


def kill(process: Stat, number: signal.Signals) -> None:
    """Send a signal to this process, never to a later one of the same pid."""
    with suppress(ProcessLookupError, PermissionError):
        fd = os.pidfd_open(process.pid)
        try:
            now = stat(process.pid)
            if now is not None and now.start == process.start:
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)


def signal_name(number: int) -> str:
    """Return the name of a signal: ``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
