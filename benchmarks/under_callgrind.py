"""``hotseat`` under callgrind, with as little timer-driven work as possible.

    python -m benchmarks.under_callgrind serve -c FILE

Debian 12's valgrind does not know ``pidfd_open``. A descriptor that never becomes readable replaces it,
so the exit of a model is never noticed. Model logs are read once an hour only, since timer-driven work
costs more per request the slower the machine is. Use this only to count the instructions of requests;
the caller must end the model processes.
"""

from __future__ import annotations

import os

from hotseat.cli import main
from hotseat.runtimes.process import log_file


def _never_ready(pid: int, flags: int = 0) -> int:
    os.kill(pid, 0)  # raises for a process that has ended, as the real call does
    return os.eventfd(0)


if __name__ == "__main__":
    os.pidfd_open = _never_ready
    log_file.POLL_S = 3600.0
    main(prog_name="hotseat")
