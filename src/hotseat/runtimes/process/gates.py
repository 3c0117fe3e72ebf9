"""The gates of plain processes: a folder for each launch under ``state_dir/gates``."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from pathlib import Path

from hotseat.core.spec import StandbyMode
from hotseat.gate.gate_folder import GateFolder
from hotseat.gate.known_gates import KnownGates
from hotseat.runtimes.process import procfs

log = logging.getLogger(__name__)

_LOW = ("10", "500")
_NORMAL = ("0", "0")


class Gates:
    """The gates of one state directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.known = KnownGates(folder / "known.json")

    def of(self, launch: str) -> GateFolder:
        """Return the gate of a launch, whether it exists or not."""
        return GateFolder((self._folder / launch).absolute())

    def make(self, launch: str, mode: StandbyMode, *, opened: bool) -> GateFolder | None:
        """Make the gate of a launch; ``None``: the model stands by at none. Raises ``OSError``."""
        if mode is StandbyMode.OFF:
            return None
        gate = self.of(launch)
        gate.make(opened=opened)
        return gate

    def remove_others(self, launches: Collection[str]) -> None:
        """Delete the gates of all other launches, which have ended."""
        try:
            names = [entry.name for entry in os.scandir(self._folder) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return
        for name in set(names) - set(launches):
            self.of(name).remove()


def host_mib(processes: Collection[procfs.Stat]) -> int | None:
    """Return the memory of these processes in MiB, shared pages divided among those that share them.

    ``None``: the kernel tells nothing about them.
    """
    total_kib, told = 0, False
    for process in processes:
        try:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in rollup.splitlines():
            if line.startswith("Pss:"):
                total_kib, told = total_kib + int(line.split()[1]), True
    return total_kib // 1024 if told else None


def set_low_priority(processes: Collection[procfs.Stat], *, low: bool) -> None:
    """Give processes that nobody waits for what others leave of the CPU, and let them go first when memory
    runs out; or give them back their share.

    By the session's group of the scheduler, because a process without privileges may not take back its own
    niceness. Where the kernel has no such groups, only the second half holds.
    """
    nice, oom = _LOW if low else _NORMAL
    for process in processes:
        for name, value in (("autogroup", nice), ("oom_score_adj", oom)):
            try:
                Path(f"/proc/{process.pid}/{name}").write_text(value)
            except OSError as error:
                log.debug("%s of pid %d could not be set: %s", name, process.pid, error.strerror)
