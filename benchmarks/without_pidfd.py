"""``hotseat`` where the kernel's ``pidfd_open`` cannot be had: under Debian 12's valgrind.

    python -m benchmarks.without_pidfd serve -c FILE

A descriptor that never tells of an end stands in for it, so a model's end is never seen: good for
counting what a request costs, and for nothing else. Whoever starts this ends the models.
"""

from __future__ import annotations

import os

from hotseat.cli import main


def _never_ready(pid: int, flags: int = 0) -> int:
    os.kill(pid, 0)  # what is gone is an error, as with the real one
    return os.eventfd(0)


if __name__ == "__main__":
    os.pidfd_open = _never_ready
    main(prog_name="hotseat")
