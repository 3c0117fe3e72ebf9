"""``hotseat`` as callgrind can run it, with as little by the clock as can be.

    python -m benchmarks.under_callgrind serve -c FILE

Debian 12's valgrind does not know ``pidfd_open``: a descriptor that never tells of an end stands in for
it, so a model's end is never seen. What a model writes is looked at once an hour, since what happens by
the clock happens more often for each request the slower the machine is. Good for counting what a
request costs, and for nothing else; whoever starts this ends the models.
"""

from __future__ import annotations

import os

from hotseat.cli import main
from hotseat.runtimes.process import log_file


def _never_ready(pid: int, flags: int = 0) -> int:
    os.kill(pid, 0)  # what is gone is an error, as with the real one
    return os.eventfd(0)


if __name__ == "__main__":
    os.pidfd_open = _never_ready
    log_file.POLL_S = 3600.0
    main(prog_name="hotseat")
