"""Exact resource usage of processes, and the few statistics that the rows need."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

_CPUCLOCK_SCHED = 2  # Linux: the scheduler's clock of a whole process, in ns


def cpu_ns(pids: Iterable[int]) -> int:
    """CPU time in ns that these processes (all their threads) have used since they began.

    Reads the kernel's per-process clock, since ``/proc/PID/stat`` counts in hundredths of a second only.
    Raises ``OSError`` if a process has ended.
    """
    return sum(time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED) for pid in pids)


def rss_kib(pids: Iterable[int]) -> int:
    """Sum of the resident memory of these processes, in KiB."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def children(pid: int) -> tuple[int, ...]:
    """Pids of the child processes of ``pid``."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:  # ended meanwhile
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry))
    return tuple(found)


def pin(pid: int, core: int) -> None:
    """Pin all threads of a running process to one core."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {core})


def quantile(values: Sequence[float], share: float) -> float:
    """Smallest value that is not exceeded by this share of the values; NaN if there are none."""
    if not values:
        return math.nan
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, math.ceil(share * len(ranked)) - 1 if share > 0 else 0)]


def median(values: Sequence[float]) -> float:
    """Median: the middle value, or the mean of the middle two; NaN if there are none."""
    if not values:
        return math.nan
    ranked = sorted(values)
    half = len(ranked) // 2
    return ranked[half] if len(ranked) % 2 else (ranked[half - 1] + ranked[half]) / 2
