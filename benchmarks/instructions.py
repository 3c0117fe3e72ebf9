"""Regression test for speed that does not depend on the machine's load: counts instructions, not time.

    python -m benchmarks.instructions            compare with the recorded figure (±10 %)
    python -m benchmarks.instructions --record   make this the recorded figure

``hotseat serve`` runs under callgrind with a client in lock-step (the server writes the next chunk when
the previous one has arrived): 1,000 requests, then 10,000 chunks. A figure holds for one build of Python
and one set of versions of the packages on the hot path; ``instructions.json`` has one for each such set.
For another set the bare relay (``proto_relay``) is counted too, and the ratio of hotseat's instructions
to the relay's is compared (±25 %). ``--keep`` keeps callgrind's files for profiling.

Exit status: 0 within the bounds (or recorded), 1 outside them, 2 if counting does not work here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from importlib import metadata
from pathlib import Path

from benchmarks.load import Order
from benchmarks.proxies import (
    KEY,
    Cores,
    Unavailable,
    free_port,
    hotseat_config,
    running,
    upstream_command,
    wait_until_listening,
)

RECORDED = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.10
OTHER_SET_TOLERANCE = 0.25
HOT_PACKAGES = ("uvicorn", "uvloop", "httptools", "msgspec")
REQUESTS = 1_000
CHUNKS = 10_000
WARM_UP = 300


def count(folder: Path, *, policies: bool = True) -> dict[str, float]:
    """Count instructions per request and per chunk. Raises ``Unavailable`` if callgrind does not work."""
    if shutil.which("valgrind") is None:
        raise Unavailable("callgrind counts the instructions: apt-get install valgrind")
    port = free_port()
    upstream = folder / "upstream"
    config = folder / "hotseat.yaml"
    settings = json.loads(hotseat_config(Cores.pick(), folder, port, policies=policies))
    settings["models"]["fake"]["command"] += ["--port-file", str(upstream)]
    config.write_text(json.dumps(settings))
    command = [sys.executable, "-m", "benchmarks.under_callgrind", "serve", "-c", str(config)]
    callgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out.%p"]
    log = folder / "hotseat.log"
    env = {"VLLM_API_KEY": KEY, "PYTHONHASHSEED": "0"}
    with running([*callgrind, *command], Cores.pick().proxy, log, env, grace_s=0) as process:
        wait_until_listening(port, process, log, within_s=300)
        try:
            with closing(_connect(port)) as client:
                return _drive(client, upstream, folder, process.pid)
        finally:
            if upstream.exists():
                os.kill(int(upstream.read_text().split()[1]), signal.SIGKILL)


def count_relay(folder: Path) -> dict[str, float]:
    """Count the same for the bare relay. Raises ``Unavailable``."""
    port, cores, upstream = free_port(), Cores.pick(), folder / "upstream"
    serving = upstream_command(0, cores, "--port-file", str(upstream))
    with running(serving, cores.load, folder / "upstream.log") as serves:
        while not upstream.exists() or not upstream.read_text():
            if serves.poll() is not None:
                raise Unavailable("the fake upstream has ended")
            time.sleep(0.01)
        relay = [sys.executable, "-m", "benchmarks.proto_relay", "--port", str(port)]
        relay += ["--upstream-port", upstream.read_text().split()[0]]
        callgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out.%p"]
        log = folder / "relay.log"
        with running([*callgrind, *relay], cores.proxy, log, {"PYTHONHASHSEED": "0"}, grace_s=0) as process:
            wait_until_listening(port, process, log, within_s=300)
            with closing(_connect(port)) as client:
                return _drive(client, upstream, folder, process.pid, path="/v1/chat/completions")


def _drive(
    client: socket.socket, upstream: Path, folder: Path, pid: int, path: str = "/fake/v1/chat/completions"
) -> dict[str, float]:
    order = Order("127.0.0.1", 1, path, [], {"authorization": f"Bearer {KEY}"})
    request = order.request()
    for _ in range(WARM_UP):
        _exchange(client, request)

    def exchanges() -> None:
        for _ in range(REQUESTS):
            _exchange(client, request)

    requests = _counted(pid, folder, exchanges)
    with closing(_connect(int(upstream.read_text().split()[0]))) as control:
        client.sendall(_step_request(request))
        _read_until(client, b"\r\n\r\n")
        for _ in range(WARM_UP):
            _step(control, client)

        def steps() -> None:
            for _ in range(CHUNKS):
                _step(control, client)

        chunks = _counted(pid, folder, steps)
    return {"per_request": round(requests / REQUESTS), "per_chunk": round(chunks / CHUNKS)}


def _step_request(request: bytes) -> bytes:
    """Build the same request for a stepped stream, of the same length."""
    head, _, payload = request.partition(b"\r\n\r\n")
    body = json.loads(payload) | {"stream": True, "bench": {"step": "one"}}
    extra = len(json.dumps(body, separators=(",", ":"))) - len(payload)
    body["messages"][0]["content"] = body["messages"][0]["content"][extra:]
    return head + b"\r\n\r\n" + json.dumps(body, separators=(",", ":")).encode()


def _connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _exchange(client: socket.socket, request: bytes) -> None:
    """Send one request and read its complete response."""
    client.sendall(request)
    answer = _read_until(client, b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 200 ") and not answer.partition(b"\r\n\r\n")[2]:
        answer += client.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise Unavailable(f"hotseat answered {answer[:600]!r}")
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
    if found is None:
        raise Unavailable(f"hotseat sent a response without content-length: {head!r}")
    missing = int(found[1]) - len(body)
    while missing > 0:
        missing -= len(client.recv(65536))


def _step(control: socket.socket, client: socket.socket) -> None:
    """Relay one chunk from the server to the client."""
    control.sendall(b"GET /step?one HTTP/1.1\r\nhost: x\r\n\r\n")
    control.recv(4096)
    _read_until(client, b"\n\n\r\n")


def _read_until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        more = sock.recv(65536)
        if not more:
            raise Unavailable(f"the connection ended after {data[-300:]!r}")
        data += more
    return data


def _counted(pid: int, folder: Path, work: Callable[[], None]) -> int:
    """Count the instructions of ``pid`` during the work."""
    _control("--zero", pid)
    work()
    return _dump(pid, folder)


def _control(what: str, pid: int) -> None:
    done = subprocess.run(
        ["callgrind_control", what, str(pid)], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode or "OK" not in done.stdout:
        raise Unavailable(f"callgrind_control {what}: {done.stdout}{done.stderr}")


def _dump(pid: int, folder: Path) -> int:
    """Read the instructions since the last zero from a new dump."""
    before = set(folder.glob("out.*"))
    _control("--dump", pid)
    (made,) = set(folder.glob("out.*")) - before
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := re.search(r"^totals: (\d+)", made.read_text(), re.MULTILINE):
            return int(found[1])
        time.sleep(0.05)
    raise Unavailable(f"callgrind's dump {made.name} has no totals")


def this_set() -> dict[str, object]:
    """Describe the build of Python and the versions for which a figure holds."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "configured": hashlib.sha256((sysconfig.get_config_var("CONFIG_ARGS") or "").encode()).hexdigest()[
            :8
        ],
        "packages": {name: metadata.version(name) for name in HOT_PACKAGES},
    }


def compare(counted: dict[str, float], recorded: dict[str, float], tolerance: float = TOLERANCE) -> list[str]:
    """List the figures that deviate by more than the tolerance, in words."""
    faults = []
    for what, now in counted.items():
        before = recorded[what]
        change = now / before - 1
        print(f"{what}: {now:,.4g}, recorded {before:,.4g} ({change:+.1%})")
        if abs(change) > tolerance:
            word = "slower; find out why" if change > 0 else "faster; record it with --record"
            faults.append(f"{what} moved by {change:+.1%}: {word}")
    return faults


def judge(counted: dict[str, float], relay: Callable[[], dict[str, float]]) -> list[str]:
    """Compare with the record; ``relay`` counts the bare relay, for an unknown set.

    Returns the deviations, in words. Raises ``Unavailable`` if nothing is recorded.
    """
    known = json.loads(RECORDED.read_text()) if RECORDED.exists() else []
    if not known:
        raise Unavailable("nothing is recorded yet; run: python -m benchmarks.instructions --record")
    for entry in known:
        if entry["set"] == this_set():
            return compare(counted, entry["counted"])
    bare = relay()
    print("nothing is recorded for this Python and these packages; comparing ratios to the bare relay")
    times = {what: counted[what] / bare[what] for what in counted}
    usual = {what: known[0]["counted"][what] / known[0]["relay"][what] for what in counted}
    return compare(times, usual, OTHER_SET_TOLERANCE)


def main() -> int:
    """Count, then compare or record."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.instructions", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--no-policies", action="store_true", help="count without key check and limits")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep callgrind's files in FOLDER")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="hotseat-count-") as name:
            counted = count(Path(name), policies=not args.no_policies)
            if args.keep:
                shutil.copytree(name, args.keep, dirs_exist_ok=True)
        print(f"counted: {counted}")
        if args.record:
            record(counted, _relay())
            return 0
        faults = judge(counted, _relay)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(faults))
    return 1 if faults else 0


def _relay() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="hotseat-count-") as name:
        return count_relay(Path(name))


def record(counted: dict[str, float], relay: dict[str, float]) -> None:
    """Record the figures for this set."""
    known = json.loads(RECORDED.read_text()) if RECORDED.exists() else []
    key = this_set()
    known = [entry for entry in known if entry["set"] != key]
    known.append({"set": key, "counted": counted, "relay": relay})
    RECORDED.write_text(json.dumps(known, indent=2) + os.linesep)
    print(f"recorded for {key}: {counted}, relay {relay}")


if __name__ == "__main__":
    sys.exit(main())
