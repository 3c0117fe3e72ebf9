"""Reads files that an operator names: whatever they are, it ends. A FIFO without a writer would not."""

from __future__ import annotations

import errno
import os
import select
import stat
import time

PIPE_TIMEOUT_S = 5.0
"""How long a pipe may take until its last byte."""


def read_bounded(file: str | os.PathLike[str], limit: int) -> bytes:
    """Return what a file or a pipe holds, one byte more than ``limit`` at most. Raises ``OSError``."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        deadline = time.monotonic() + PIPE_TIMEOUT_S
        pieces: list[bytes] = []
        left = limit + 1
        began = is_regular
        while left > 0:
            try:
                piece = os.read(descriptor, min(left, 65536))
            except BlockingIOError:
                piece = None
            if piece:
                began = True
                pieces.append(piece)
                left -= len(piece)
            elif piece == b"" and began:
                break
            elif (rest_s := deadline - time.monotonic()) <= 0:
                raise OSError(errno.ETIMEDOUT, f"nobody wrote to this pipe within {PIPE_TIMEOUT_S:g} s")
            elif piece is None:
                select.select([descriptor], [], [], rest_s)
            else:
                time.sleep(0.05)  # nobody has opened the other end yet
        return b"".join(pieces)
    finally:
        os.close(descriptor)
