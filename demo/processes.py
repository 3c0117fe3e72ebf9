"""hotseat as a subprocess of the demo, and the check that no process outlives it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

from chat_client import RequestFailed, get

MARK = "DEMO_RUN_MARK"
"""Environment variable by which hotseat and its servers, which inherit it, are found."""

START_LIMIT_S = 30
STOP_LIMIT_S = 30


class DemoError(Exception):
    """Failure that ends the demo; the message says why, and what to do."""


class Launcher:
    """Running ``hotseat serve``."""

    def __init__(self, config: Path, port: int, log: Path) -> None:
        """Start the launcher."""
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
                start_new_session=True,  # Ctrl-C reaches only the demo, which then stops hotseat
            )

    def wait_until_up(self) -> None:
        """Wait until the launcher responds. Raises ``DemoError``."""
        deadline = time.monotonic() + START_LIMIT_S
        while not answers(self._port):
            if self.process.poll() is not None:
                raise DemoError(f"hotseat exited with status {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise DemoError(f"hotseat did not respond within {START_LIMIT_S} s:\n{self.tail()}")
            time.sleep(0.05)

    def stop(self) -> list[str]:
        """Stop the launcher and everything it started; returns what went wrong, in words."""
        problems = []
        if self.process.poll() is None:
            self.process.terminate()
        try:
            if (status := self.process.wait(STOP_LIMIT_S)) != 0:
                problems.append(f"hotseat exited with status {status} (log: {self.log})")
        except subprocess.TimeoutExpired:
            problems.append(f"hotseat did not exit within {STOP_LIMIT_S} s (log: {self.log})")
        for pid, command in self.alive():
            problems.append(f"process {pid} was left behind and killed: {command}")
            os.kill(pid, signal.SIGKILL)
        return problems

    def alive(self) -> list[tuple[int, str]]:
        """Running processes of this demo, hotseat and its servers: pid and command line."""
        wanted = f"{MARK}={self._mark}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                    found.append((int(folder.name), command))
            except OSError:  # ended meanwhile, or owned by another user
                continue
        return found

    def engines(self) -> list[int]:
        """Pids of the running model servers."""
        return [pid for pid, command in self.alive() if "engine.py" in command]

    def tail(self) -> str:
        """Last lines of the log, indented."""
        lines = self.log.read_text(errors="replace").splitlines()[-20:]
        return "\n".join(f"    {line}" for line in lines) or "    (the log is empty)"


def answers(port: int) -> bool:
    """Whether hotseat responds on this port."""
    try:
        get(port, "/healthz")
    except (OSError, RequestFailed):
        return False
    return True


def choose_port(wanted: str) -> int:
    """Resolve ``DEMO_PORT`` to a port (0: any free one). Raises ``DemoError`` if it cannot be used."""
    if not wanted.isdecimal() or int(wanted) > 65535:
        raise DemoError(
            f"DEMO_PORT={wanted} is not a port; give a number up to 65535, or 0 for any free port"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(wanted)))
        except OSError as error:
            raise DemoError(
                f"port {wanted} on 127.0.0.1 cannot be used ({error.strerror}); "
                "choose another: make demo DEMO_PORT=8010 (0: any free one)"
            ) from None
        return int(probe.getsockname()[1])
