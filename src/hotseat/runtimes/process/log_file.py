"""A server's output in a file that outlives hotseat, is bounded, and can be followed.

The server writes to the file itself (append mode), so nothing is lost while hotseat is away. Each run
begins a new file; the run before it is kept beside it as ``.1``.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from hotseat.runtimes.process import procfs

LIMIT_BYTES = 16 * 1024 * 1024
LINE_LIMIT_BYTES = 16 * 1024
TAIL_BYTES = 256 * 1024
POLL_S = 0.05
QUIET_POLL_S = 0.25
"""Seconds between two reads of a file into which nothing was written for a while."""
LOST = "[hotseat: lines are missing here; they were written faster than they were read]"


class LogFile:
    """The output of one model's runs."""

    def __init__(self, folder: Path, model: str, limit_bytes: int = LIMIT_BYTES) -> None:
        """``folder`` must exist. The file and the previous one take about twice ``limit_bytes`` at most."""
        self.path = folder / f"{quote(model, safe='')}.log"
        self.before = self.path.with_suffix(".log.1")
        self._limit = limit_bytes

    def begin(self) -> int:
        """Return a descriptor for a new run's output; the previous file is kept. Raises ``OSError``."""
        with suppress(FileNotFoundError):
            self.path.replace(self.before)
        # Append mode: when bound() truncates the file, the writer goes on at its new end.
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def bound(self) -> None:
        """Truncate the file if it exceeds its limit; its newest part replaces the previous file."""
        with suppress(OSError):
            if self.path.stat().st_size > self._limit:
                newest = read_end(self.path, self._limit // 2)
                self.before.write_bytes(newest)
                self.before.chmod(0o600)
                os.truncate(self.path, 0)

    def is_open_in(self, pid: int) -> bool:
        """Whether a process has the file open."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return procfs.has_open(pid, (status.st_dev, status.st_ino))

    def tail(self, count: int) -> list[str]:
        """Return the last ``count`` lines of the current or latest run; empty where there is none."""
        if count <= 0:
            return []
        try:
            return split(read_end(self.path, TAIL_BYTES))[-count:]
        except OSError:
            return []

    async def follow(self, ended: Callable[[], bool], last: int | None = None) -> AsyncIterator[str]:
        """Yield each line as it is written, until ``ended()`` is true and all was read.

        Begins at the file's start, or (``last``) so many lines before its present end.
        """
        try:
            source = self.path.open("rb", buffering=0)
        except OSError:
            return
        with source:
            if last is not None:
                source.seek(_before_end(source, last))
            pending, seen, pause_s = b"", 0, POLL_S
            while True:
                last = ended()  # asked before reading, so that all that was written before the end is read
                size, at = os.fstat(source.fileno()).st_size, source.tell()
                if size < at:  # truncated
                    source.seek(0)
                    if at < seen:  # before all of it was read: the reader is slow
                        pending = b""
                        yield LOST
                seen = size
                data = source.read(TAIL_BYTES)
                pending += data
                cut = max(pending.rfind(b"\n"), pending.rfind(b"\r")) + 1
                if len(pending) - cut > LINE_LIMIT_BYTES or (last and not data):
                    cut = len(pending)
                complete, pending = pending[:cut], pending[cut:]
                for line in split(complete):
                    yield line
                if not data:
                    if last:
                        return
                    await asyncio.sleep(pause_s)
                    pause_s = min(1.2 * pause_s, max(QUIET_POLL_S, POLL_S))
                else:
                    pause_s = POLL_S


def read_end(path: Path, size: int) -> bytes:
    """Return the last whole lines of a file, at most ``size`` bytes. Raises ``OSError``."""
    with path.open("rb") as source:
        length = source.seek(0, os.SEEK_END)
        source.seek(max(0, length - size))
        data = source.read(size)
    if length > size:
        data = data[data.find(b"\n") + 1 :]
    return data


def _before_end(source: BinaryIO, count: int) -> int:
    """Return the offset of the last ``count`` lines; at most ``TAIL_BYTES`` before the end."""
    length = source.seek(0, os.SEEK_END)
    begin = source.seek(max(0, length - TAIL_BYTES))
    data = source.read(length - begin)
    at = data.rfind(b"\n") + 1  # the line that is being written is not counted
    for _ in range(count):
        if at == 0:
            break
        at = data.rfind(b"\n", 0, at - 1) + 1
    if at == 0 and begin > 0:  # the first line is cut
        at = data.find(b"\n") + 1
    return begin + at


def split(data: bytes) -> list[str]:
    """Split into non-empty lines; a carriage return (of a progress bar) ends a line too."""
    pieces = data.replace(b"\r", b"\n").split(b"\n")
    return [piece[:LINE_LIMIT_BYTES].decode("utf-8", "replace") for piece in pieces if piece.strip()]
