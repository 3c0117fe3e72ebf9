"""``make demo`` on a terminal: stays up after its requests, and Ctrl-C leaves no process behind."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240
MARK = "TEST_RUN_MARK"

pytestmark = pytest.mark.system("make")


class Terminal:
    """Program on a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self.mark = uuid.uuid4().hex
        self.text = ""
        self._master, slave = os.openpty()
        env = {**os.environ, MARK: self.mark, "TERM": "xterm", "DEMO_PORT": "0"}
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, preexec_fn=lambda: os.login_tty(slave), close_fds=True
        )
        os.close(slave)

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read output until ``pattern`` matches."""
        deadline = time.monotonic() + LIMIT_S
        while (found := re.search(pattern, self.text)) is None:
            if not self._read(deadline):
                raise AssertionError(f"{pattern!r} never came:\n{self.text}")
        return found

    def read_all(self) -> str:
        """Read output to its end."""
        deadline = time.monotonic() + LIMIT_S
        while self._read(deadline):
            pass
        return self.text

    def _read(self, deadline: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise AssertionError(f"nothing more within {LIMIT_S} s:\n{self.text}")
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other side is closed
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def press(self, keys: bytes) -> None:
        """Type keys."""
        os.write(self._master, keys)

    def alive(self) -> list[str]:
        """Command lines of its processes that still run."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # ended meanwhile, or owned by another user
                continue
        return found

    def close(self) -> None:
        """Kill the program."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def demo() -> Iterator[Terminal]:
    terminal = Terminal("make", "demo")
    yield terminal
    terminal.close()


def test_the_demo_stays_up_until_ctrl_c_and_leaves_nothing(demo: Terminal) -> None:
    port = demo.read_until(r"stays up on \S*http://127\.0\.0\.1:(\d+)").group(1)
    demo.read_until("stops everything")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60) as answer:
        assert answer.status == 200
    assert any("engine.py" in command for command in demo.alive())
    demo.press(b"\x03")
    text = demo.read_all()
    demo.process.wait(LIMIT_S)
    assert "no process is left" in text
    assert "problem" not in text
    assert demo.alive() == []


def test_ctrl_c_in_the_middle_leaves_nothing(demo: Terminal) -> None:
    demo.read_until(r"it is stopped")
    demo.press(b"\x03")
    text = demo.read_all()
    demo.process.wait(LIMIT_S)
    assert "no process is left" in text
    assert demo.alive() == []
