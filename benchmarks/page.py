"""The cost of the page's viewers: the launcher's CPU time with 64 streams, without viewers and with ten.

PYTHONPATH=tests:. python -m benchmarks.page [SECONDS]
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from fakes.hotseat import Hotseat

STREAMS, VIEWERS, INTERVAL_S = 64, 10, 0.02


def cpu_s(pid: int) -> float:
    """CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_all(port: int, method: str, path: str, body: str | None = None) -> None:
    """Read a response to its end, or until the launcher stops."""
    connection = HTTPConnection("127.0.0.1", port)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        while response.read1(65536):
            pass
    except (OSError, HTTPException):
        pass
    finally:
        connection.close()


def start(count: int, *arguments: object) -> None:
    """Read so many responses, each in a thread of its own."""
    for _ in range(count):
        threading.Thread(target=read_all, args=arguments, daemon=True).start()


def used(pid: int, seconds: float) -> float:
    """Share of a core that the process uses now."""
    time.sleep(3)
    before, began = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_s(pid) - before) / (time.monotonic() - began)


def main() -> None:
    """Measure, and print a line for each case."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    tokens = str(int((2 * seconds + 60) / INTERVAL_S))
    options = ["--start-s", "0.1", "--tokens", tokens, "--token-interval-s", str(INTERVAL_S)]
    with tempfile.TemporaryDirectory() as folder:
        hotseat = Hotseat(Path(folder), {"chat": options}).start()
        assert hotseat.process is not None
        try:
            hotseat.send("POST", "/admin/start", {"route": "chat", "wait": True})
            ask = '{"model": "chat", "stream": true, "messages": []}'
            start(STREAMS, hotseat.port, "POST", "/v1/chat/completions", ask)
            alone = used(hotseat.process.pid, seconds)
            start(VIEWERS, hotseat.port, "GET", "/ui/api/live?topic=seats")
            watched = used(hotseat.process.pid, seconds)
        finally:
            hotseat.kill()
            hotseat.sweep()
    print(f"{STREAMS} streams: {alone:.1%} of a core")
    print(f"with {VIEWERS} viewers: {watched:.1%} of a core ({watched / alone - 1:+.1%})")


if __name__ == "__main__":
    main()
