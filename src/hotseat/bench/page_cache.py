"""Drop the machine's page cache, so that a start reads its files from disk."""

from __future__ import annotations

import os
from pathlib import Path

DROP = Path("/proc/sys/vm/drop_caches")


class CannotDrop(Exception):
    """The page cache cannot be dropped here; says why."""


def check_droppable() -> None:
    """Check that ``drop`` would work, without dropping anything. Raises ``CannotDrop``."""
    try:
        os.close(os.open(DROP, os.O_WRONLY))
    except OSError as error:
        raise CannotDrop(
            f"{DROP} cannot be written ({error.strerror}); this needs root on the host"
        ) from None


def drop() -> None:
    """Write back dirty pages, then drop all clean pages, dentries and inodes. Raises ``CannotDrop``."""
    os.sync()
    try:
        DROP.write_text("3\n", encoding="ascii")
    except OSError as error:
        raise CannotDrop(
            f"{DROP} cannot be written ({error.strerror}); this needs root on the host"
        ) from None
