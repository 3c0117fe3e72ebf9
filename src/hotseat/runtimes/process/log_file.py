"""A server's output in a file that outlives hotseat, is bounded, and can be followed.

The server writes to the file itself (append mode), so nothing is lost while hotseat is away. Each run
begins a new file; the run before it is kept beside it as ``.1``.
"""

from __future__ import annotations

import asyncio
import errno
import glob
import gzip
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from hotseat.runtimes.process import procfs

LIMIT_BYTES = 16 * 1024 * 1024
LINE_LIMIT_BYTES = 16 * 1024
TAIL_BYTES = 256 * 1024
RESERVED_BYTES = 64 * 1024
"""A run's output needs so much space on its disk, or goes elsewhere."""
_CLOCK_STEP_NS = 20_000_000
"""Files are dated by a clock that may be so far behind."""
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
POLL_S = 0.05
QUIET_POLL_S = 0.25
"""Seconds between two reads of a file into which nothing was written for a while."""
LOST = "[hotseat: lines are missing here; they were written faster than they were read]"


class LogFile:
    """The output of one model's runs.

    The file that the present run writes to is held open, so that it is still found when somebody else
    (logrotate) has renamed it.
    """

    def __init__(self, folder: Path, model: str, limit_bytes: int = LIMIT_BYTES) -> None:
        """``folder`` must exist. The file and the previous one take about twice ``limit_bytes`` at most."""
        self.path = folder / f"{quote(model, safe='')}.log"
        self.before = self.path.with_suffix(".log.1")
        self._limit = limit_bytes
        self._held: int | None = None
        """A descriptor of the file that the present run writes to."""
        self._began_ns = 0
        """When the present run began: files that were last written before are of earlier runs."""
        self._earlier: set[int] = set()
        """Inodes of files that were beside the log then, whose writers may not have ended yet."""

    def begin(self) -> int:
        """Return a descriptor for a new run's output; the previous file is kept. Raises ``OSError``."""
        self.close()
        with suppress(FileNotFoundError):
            self.path.replace(self.before)
        # Append mode: when bound() truncates the file, the writer goes on at its new end.
        output = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._hold(str(self.path))
            self._began_ns = time.time_ns() - _CLOCK_STEP_NS
            self._earlier = {one.stat().st_ino for one in self._beside()}
            self._reserve()
        except OSError:
            os.close(output)
            self.close()
            raise
        return output

    def attach(self, pid: int, began_s: float) -> None:
        """Hold the file that a running process writes to; ``began_s``: when it was started, in Unix time."""
        self.close()
        self._began_ns = int(began_s * 1e9)
        with suppress(OSError):
            self._hold(f"/proc/{pid}/fd/1")

    def _hold(self, path: str) -> None:
        held = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        if not stat.S_ISREG(os.fstat(held).st_mode):
            os.close(held)
            return
        self._held = held

    def _reserve(self) -> None:
        """Raise ``OSError`` where there is no space for output."""
        assert self._held is not None
        try:
            os.posix_fallocate(self._held, 0, RESERVED_BYTES)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise
        os.ftruncate(self._held, 0)

    def close(self) -> None:
        """Let go of the file."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _open(self) -> BinaryIO:
        """Open the present run's file for reading. Raises ``OSError``."""
        path = self.path if self._held is None else f"/proc/self/fd/{self._held}"
        return open(path, "rb", buffering=0)

    def bound(self) -> None:
        """Truncate the file if it exceeds its limit; its newest part replaces the previous file.

        Where the disk is full, all of it goes.
        """
        with suppress(OSError), self._open() as source:
            size, disk = os.fstat(source.fileno()).st_size, os.fstatvfs(source.fileno())
            full = disk.f_bavail * disk.f_frsize < RESERVED_BYTES and size > RESERVED_BYTES
            if size <= self._limit and not full:
                return
            try:
                if full:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self.before.write_bytes(read_end(source, self._limit // 2))
                self.before.chmod(0o600)
            except OSError:
                self.before.unlink(missing_ok=True)
            os.truncate(self.path if self._held is None else self._held, 0)

    def is_open_in(self, pid: int) -> bool:
        """Whether a process has the file open."""
        try:
            with self._open() as file:
                status = os.fstat(file.fileno())
        except OSError:
            return False
        return procfs.has_open(pid, (status.st_dev, status.st_ino))

    def tail(self, count: int) -> list[str]:
        """Return the last ``count`` lines of the current or latest run; empty where there is none."""
        if count <= 0:
            return []
        try:
            with self._open() as file:
                lines = split(read_end(file, TAIL_BYTES))
        except OSError:
            lines = []
        return [*self._rotated(count - len(lines)), *lines][-count:]

    def _rotated(self, count: int) -> list[str]:
        """Return the last lines of the present run in files that the output was moved to."""
        if count <= 0 or not self._began_ns:
            return []
        lines: list[str] = []
        for file in self._moved_files():
            if len(lines) >= count:
                break
            with suppress(OSError, EOFError), file.open("rb") as raw:
                if file.suffix == ".gz":
                    data = gzip.GzipFile(fileobj=raw).read(LIMIT_BYTES)[-TAIL_BYTES:]
                else:
                    data = read_end(raw, TAIL_BYTES)
                lines = [*split(data), *lines]
        return lines[-count:]

    def _beside(self) -> Iterator[Path]:
        """Yield the files that logrotate, or ``bound``, makes of the log."""
        return self.path.parent.glob(f"{glob.escape(self.path.name)}[.-]*")

    def _moved_files(self) -> list[Path]:
        """Return files beside the log that were written since the present run began, the newest first."""
        others = self._earlier if self._held is None else {*self._earlier, os.fstat(self._held).st_ino}
        found = []
        for file in self._beside():
            with suppress(OSError):
                status = file.stat()
                if status.st_mtime_ns > self._began_ns and status.st_ino not in others:
                    found.append((status.st_mtime_ns, file))
        return [file for _, file in sorted(found, reverse=True)]

    async def follow(self, ended: Callable[[], bool], last: int | None = None) -> AsyncIterator[str]:
        """Yield each line as it is written, until ``ended()`` is true and all was read.

        Begins at the file's start, or (``last``) so many lines before its present end.
        """
        try:
            source = self._open()
        except OSError:
            return
        with source:
            if last is not None:
                begin, lines = _before_end(source, last)
                for line in self._rotated(last - lines):
                    yield line
                source.seek(begin)
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


def read_end(source: BinaryIO, size: int) -> bytes:
    """Return the last whole lines of a file, at most ``size`` bytes. Raises ``OSError``."""
    length = source.seek(0, os.SEEK_END)
    source.seek(max(0, length - size))
    data = source.read(size) or b""
    if length > size:
        data = data[data.find(b"\n") + 1 :]
    return data


def _before_end(source: BinaryIO, count: int) -> tuple[int, int]:
    """Return the offset of the last ``count`` lines, at most ``TAIL_BYTES`` before the end, and how many."""
    length = source.seek(0, os.SEEK_END)
    begin = source.seek(max(0, length - TAIL_BYTES))
    data = source.read(length - begin)
    end = at = data.rfind(b"\n") + 1  # the line that is being written is not counted
    for _ in range(count):
        if at == 0:
            break
        at = data.rfind(b"\n", 0, at - 1) + 1
    if at == 0 and begin > 0:  # the first line is cut
        at = data.find(b"\n") + 1
    return begin + at, data.count(b"\n", at, end)


def split(data: bytes) -> list[str]:
    """Split into non-empty lines; a carriage return (of a progress bar) ends a line too."""
    pieces = data.replace(b"\r", b"\n").split(b"\n")
    return [piece[:LINE_LIMIT_BYTES].decode("utf-8", "replace") for piece in pieces if piece.strip()]
