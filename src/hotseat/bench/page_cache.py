"""The machine's page cache: dropped, so that a start reads its files from the disk."""

from __future__ import annotations

import os
from pathlib import Path

DROP = Path("/proc/sys/vm/drop_caches")


class CannotDrop(Exception):
    """The page cache cannot be dropped here, and why."""


def may_drop() -> None:
    """Raises ``CannotDrop`` where ``drop`` would; changes nothing."""
    try:
        os.close(os.open(DROP, os.O_WRONLY))
    except OSError as error:
        raise CannotDrop(
            f"{DROP} cannot be written ({error.strerror}): it needs root on this machine"
        ) from None


def drop() -> None:
    """Write back what is dirty, then drop all clean pages, dentries and inodes. Raises ``CannotDrop``."""
    os.sync()
    try:
        DROP.write_text("3\n", encoding="ascii")
    except OSError as error:
        raise CannotDrop(
            f"{DROP} cannot be written ({error.strerror}): it needs root on this machine"
        ) from None
