"""hotseat as a subprocess of the demo, and proof that nothing of it is left when it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

from asking import NoAnswer, get

MARK = "DEMO_RUN_MARK"
"""An environment variable that hotseat and, through it, its servers inherit."""

START_LIMIT_S = 30
STOP_LIMIT_S = 30


class Trouble(Exception):
    """The demo cannot go on; the text says why, and what to do."""


class Launcher:
    """A running ``hotseat serve``."""

    def __init__(self, config: Path, port: int, log: Path) -> None:
        """Start it."""
        self.log = log
        self._port = port
        self._mark = uuid.uuid4().hex
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hotseat", "serve", "-c", str(config)],
                env={**os.environ, MARK: self._mark, "LISTEN": f"127.0.0.1:{port}"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which then asks hotseat to end
            )

    def wait_until_up(self) -> None:
        """Return when it answers. Raises ``Trouble``."""
        deadline = time.monotonic() + START_LIMIT_S
        while not answers(self._port):
            if self.process.poll() is not None:
                raise Trouble(f"hotseat ended with status {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise Trouble(f"hotseat did not answer within {START_LIMIT_S} s:\n{self.tail()}")
            time.sleep(0.05)

    def stop(self) -> list[str]:
        """End it and all it started; what had to be forced or ended badly, in words."""
        problems = []
        if self.process.poll() is None:
            self.process.terminate()
        try:
            if (status := self.process.wait(STOP_LIMIT_S)) != 0:
                problems.append(f"hotseat ended with status {status} (log: {self.log})")
        except subprocess.TimeoutExpired:
            problems.append(f"hotseat did not end within {STOP_LIMIT_S} s (log: {self.log})")
        for pid, command in self.alive():
            problems.append(f"process {pid} was left behind and killed: {command}")
            os.kill(pid, signal.SIGKILL)
        return problems

    def alive(self) -> list[tuple[int, str]]:
        """The processes of this demo that run: pid and command line, hotseat and its servers."""
        wanted = f"{MARK}={self._mark}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                    found.append((int(folder.name), command))
            except OSError:  # it has ended meanwhile, or is somebody else's
                continue
        return found

    def engines(self) -> list[int]:
        """The pids of the model servers that run."""
        return [pid for pid, command in self.alive() if "engine.py" in command]

    def tail(self) -> str:
        """The last lines of its log, indented."""
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        return "\n".join(f"    {line}" for line in lines) or "    (it wrote nothing)"


def answers(port: int) -> bool:
    """Whether hotseat answers there."""
    try:
        get(port, "/healthz")
    except (OSError, NoAnswer):
        return False
    return True


def choose_port(wanted: str) -> int:
    """The port that ``DEMO_PORT`` asks for (0: any free one). Raises ``Trouble`` where it cannot be had."""
    if not wanted.isdecimal() or int(wanted) > 65535:
        raise Trouble(f"DEMO_PORT={wanted} is not a port: give a number up to 65535, or 0 for any free port")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(wanted)))
        except OSError as error:
            raise Trouble(
                f"port {wanted} on 127.0.0.1 cannot be used ({error.strerror}); "
                "choose another: make demo DEMO_PORT=8010 (0: any free one)"
            ) from None
        return int(probe.getsockname()[1])
