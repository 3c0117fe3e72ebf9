"""Servers that leave their group, session and parent are found and ended all the same."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from hotseat.core.spec import ModelSpec, SchedulingSpec
from hotseat.runtimes.base import Handle
from hotseat.runtimes.process import procfs
from hotseat.runtimes.process.runtime import ProcessRuntime
from hotseat.runtimes.process.spec import ProcessSpec

DAEMON = """
import os, signal, socket, sys, time
port, how = int(sys.argv[1]), sys.argv[2]

def serve():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "closed" in how:
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
    if "listens" in how:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        keep = [str(listener.fileno())]
        os.set_inheritable(listener.fileno(), True)
    with open(sys.argv[3] + ".new", "w") as note:
        note.write(str(os.getpid()))
    os.rename(sys.argv[3] + ".new", sys.argv[3])
    # A new program with an empty environment: no mark is left.
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"], {})

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        serve()
    os._exit(0)
os.wait()
if "stays" in how:
    time.sleep(600)
"""


def spec(how: str, note: Path) -> ModelSpec:
    words = (sys.executable, "-I", "-S", "-c", DAEMON, "{port}", how, str(note))
    seat = SchedulingSpec(name="chat", footprint={}, fingerprint="v1")
    return ModelSpec(name="chat", scheduling=seat, launch=ProcessSpec(command=words))


def gone(pid: int) -> bool:
    """Whether it has ended and was reaped."""
    return procfs.stat(pid) is None


def written(note: Path) -> int | None:
    """The daemon's pid, once it has let go of its parents."""
    if not note.exists():
        return None
    found = procfs.stat(pid := int(note.read_text()))
    return None if found is not None and found.parent == found.session else pid


async def daemon_of(note: Path) -> int:
    while (pid := written(note)) is None:  # noqa: ASYNC110 (nobody tells us of it)
        await asyncio.sleep(0.01)
    return pid


@pytest.mark.parametrize("how", ["stays", "stays closed", "stays closed listens"])
def test_a_daemon_of_a_running_server_ends_with_it(tmp_path: Path, how: str) -> None:
    async def story() -> None:
        runtime = ProcessRuntime(tmp_path / "state")
        await runtime.open()
        async with asyncio.timeout(60):
            handle = await runtime.start(spec(how, tmp_path / "pid"), 1)
            pid = await daemon_of(tmp_path / "pid")
            leader = int(handle.ident.partition(":")[0])
            found = procfs.stat(pid)
            assert found is not None
            assert (found.session != leader, found.group != leader) == (True, True)
            assert found.parent == leader  # which inherits its orphans
            await runtime.stop(handle, 0.2)
        assert gone(pid)
        await runtime.close()

    asyncio.run(story())


@pytest.mark.parametrize("how", ["leaves", "leaves closed listens"])
def test_a_server_that_makes_itself_a_daemon_ends_with_it(tmp_path: Path, how: str) -> None:
    async def story() -> None:
        runtime = ProcessRuntime(tmp_path / "state")
        await runtime.open()
        async with asyncio.timeout(60):
            handle = await runtime.start(spec(how, tmp_path / "pid"), 1)
            pid = await daemon_of(tmp_path / "pid")
            end = await runtime.wait(handle)
        assert end.reason.summary == "exited with code 0"
        assert gone(pid)
        await runtime.close()

    asyncio.run(story())


def test_a_daemon_is_found_again_after_hotseat_was_restarted(tmp_path: Path) -> None:
    async def story() -> None:
        async with asyncio.timeout(60):
            first = ProcessRuntime(tmp_path / "state")
            await first.open()
            handle = await first.start(spec("stays closed", tmp_path / "pid"), 1)
            pid = await daemon_of(tmp_path / "pid")
            await first.close()
            second = ProcessRuntime(tmp_path / "state")
            await second.open()
            (found,) = await second.recover({"chat": spec("stays closed", tmp_path / "pid")})
            assert found.handle == Handle("chat", 1, handle.ident, handle.host, handle.port)
            await second.stop(found.handle, 0.2)
        assert gone(pid)
        await second.close()

    asyncio.run(story())


def test_other_children_of_hotseat_are_left_alone(tmp_path: Path) -> None:
    async def story() -> None:
        runtime = ProcessRuntime(tmp_path / "state")
        await runtime.open()
        async with asyncio.timeout(60):
            handle = await runtime.start(spec("leaves", tmp_path / "pid"), 1)
            own = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
            await runtime.wait(handle)
            assert own.returncode is None
            os.kill(own.pid, 9)
            assert await own.wait() == -9
        await runtime.close()

    asyncio.run(story())


def test_a_child_that_is_being_launched_belongs_to_no_other_run(tmp_path: Path) -> None:
    """Between fork and exec it has all that hotseat has open, the other run's log too."""
    with (tmp_path / "chat.log").open("w"):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:  # as it stands before its exec
            os.close(write_end)
            os.read(read_end, 1)
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"])
        try:
            assert not procfs.was_executed(child)
            os.close(write_end)
            deadline = time.monotonic() + 60
            while not procfs.was_executed(child):
                assert time.monotonic() < deadline
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
            os.close(read_end)
    assert not procfs.was_executed(child)
