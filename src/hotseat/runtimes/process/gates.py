"""The gates of plain processes: a folder for each launch under ``state_dir/gates``."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from hotseat.core.spec import StandbyMode
from hotseat.runtimes.process import procfs
from hotseat.standby.gate_folder import GateFolder

log = logging.getLogger(__name__)

_KNOWN = "known.json"
_LOW = ("19", "500")
_NORMAL = ("0", "0")


class Gates:
    """The gates of one state directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, str] | None = None

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

    def known(self) -> Mapping[str, str]:
        """Return, by model, the fingerprint of the latest launch that knew its gate."""
        if self._known is None:
            try:
                read = json.loads((self._folder / _KNOWN).read_text())
            except (OSError, ValueError):
                read = {}
            pairs = read.items() if isinstance(read, dict) else ()
            self._known = {model: mark for model, mark in pairs if isinstance(mark, str)}
        return self._known

    def remember(self, model: str, fingerprint: str) -> None:
        """Keep that a launch of this configuration knew its gate, for the next hotseat too."""
        if self.known().get(model) == fingerprint:
            return
        assert self._known is not None
        self._known[model] = fingerprint
        path = self._folder / _KNOWN
        try:
            fresh = path.with_suffix(".new")
            fresh.write_text(json.dumps(self._known, indent=1, sort_keys=True))
            fresh.replace(path)
        except OSError as error:
            log.warning("%s could not be written: %s", path, error.strerror)


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
