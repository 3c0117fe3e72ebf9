"""The launcher's side of a gate: a folder with a FIFO that a server reads until it may use the GPU.

The server's side is ``plugin/hotseat_gate.py``, which says what the files mean.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PLUGIN = Path(__file__).parent / "plugin"
"""The folder that goes on ``PYTHONPATH``; it needs nothing installed."""

GATE = "HOTSEAT_GATE"
LOG_LIMIT_BYTES = 64 * 1024
"""Bytes of a gate's log that are read: the server writes it, and may write anything."""


@dataclass(frozen=True, slots=True)
class GateLog:
    """The reports of a server's processes about its gate."""

    armed: bool = False
    """At least one process will stop at the gate, or has."""
    ready: int = 0
    """Processes that stood by."""
    passed: int = 0


@dataclass(frozen=True, slots=True)
class GateFolder:
    """The folder of one run's gate."""

    path: Path

    def make(self, *, opened: bool = False) -> None:
        """Create it anew. ``opened``: the run may use the GPU from its start. Raises ``OSError``.

        A folder that exists stays, because it may be mounted into a container.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.clear()
        if opened:
            self._mark()
        os.mkfifo(self.path / "fifo", 0o600)

    def clear(self) -> None:
        """Delete its files: whoever comes now finds no gate. Raises ``OSError``."""
        for name in ("fifo", "go", "log"):
            with suppress(FileNotFoundError):
                (self.path / name).unlink()

    def remove(self) -> None:
        """Delete it with its files; whoever stands by at it must have ended before."""
        shutil.rmtree(self.path, ignore_errors=True)

    def environment(self, pythonpath: str | None) -> Mapping[str, str]:
        """Variables for the server: its gate, and ``PYTHONPATH`` with the plugin before ``pythonpath``."""
        path = os.pathsep.join((str(PLUGIN), pythonpath)) if pythonpath else str(PLUGIN)
        return {GATE: str(self.path), "PYTHONPATH": path}

    def open(self) -> bool:
        """Say go: all that stand by, and all that come later, may use the GPU.

        True: somebody stood by. False: nobody did yet; who comes will pass. Raises ``OSError`` where the go
        could not be given, ``FileNotFoundError`` where there is no gate.
        """
        fifo = self.path / "fifo"
        if not stat.S_ISFIFO(os.lstat(fifo).st_mode):
            raise OSError(errno.EINVAL, "the gate is no FIFO", str(fifo))
        self._mark()  # first: who opens the FIFO after our look at it finds the mark
        try:
            os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
        except OSError as error:
            if error.errno == errno.ENXIO:
                return False
            raise
        return True

    def _mark(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        os.close(os.open(self.path / "go", flags, 0o600))

    @property
    def exists(self) -> bool:
        """Whether there is a gate."""
        return (self.path / "fifo").is_fifo()

    @property
    def opened(self) -> bool:
        """Whether the go was given."""
        return (self.path / "go").exists()

    def read(self) -> GateLog:
        """Read what the server's processes have said so far."""
        try:
            with (self.path / "log").open("rb") as log:
                lines = log.read(LOG_LIMIT_BYTES).decode("ascii", "replace").split("\n")[:-1]
        except OSError:
            return GateLog()
        said = [line.split(" ", 1)[0] for line in lines]
        return GateLog(
            armed=any(word in ("armed", "ready") for word in said),
            ready=said.count("ready"),
            passed=said.count("passed"),
        )
