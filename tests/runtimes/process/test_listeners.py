"""Nobody but a run's own processes is taken for its server, neither on its port nor with its marks."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fakes.engine import command
from hotseat.core.spec import ModelSpec, SchedulingSpec
from hotseat.probing.health import check_health, wait_until_ready
from hotseat.runtimes.process import listeners, procfs
from hotseat.runtimes.process.launch_records import LAUNCH, OWNER, PREFIX, owner_of
from hotseat.runtimes.process.runtime import ProcessRuntime
from hotseat.runtimes.process.spec import ProcessSpec

STRANGER = 12345
"""A user of this machine who is not us."""
SECRET = "sk-upstream-5badcafe"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="a second user's process can be made by root alone")


def model(*words: str, **launch: Any) -> ModelSpec:
    seat = SchedulingSpec(name="chat", footprint={}, fingerprint="v1")
    launch = {"command": words or command(), **launch}
    return ModelSpec(name="chat", scheduling=seat, launch=ProcessSpec(**launch), upstream_key=SECRET)


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


@contextmanager
def thief(port: int, user: int | None) -> Iterator[Path]:
    """Somebody else who listens on the port, answers, and notes what he gets in this file."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        got, listens = Path(folder, "got"), Path(folder, "listens")
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                steal(port, user, got, listens)
            os._exit(1)
        try:
            while not listens.exists():
                assert os.waitpid(pid, os.WNOHANG) == (0, 0)
                time.sleep(0.005)
            yield got
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def steal(port: int, user: int | None, got: Path, listens: Path) -> None:
    os.closerange(3, 4096)  # a stranger has none of our files
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    os.setsid()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        listens.touch()
        while True:
            client, _ = listener.accept()
            with client, suppress(OSError):
                client.settimeout(2)
                data = client.recv(65536)
                if not data:
                    continue
                with got.open("ab") as file:
                    file.write(data)
                client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize("user", [pytest.param(STRANGER, marks=as_root), None], ids=["stranger", "same user"])
def test_a_stranger_on_the_port_of_a_loading_model_gets_nothing(tmp_path: Path, user: int | None) -> None:
    async def story() -> None:
        runtime = ProcessRuntime(tmp_path / "state")
        await runtime.open()
        spec = model("sh", "-c", "sleep 600 # {port}")  # it would listen much later
        handle = await runtime.start(spec, 1)
        with thief(handle.port, user) as got:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.5):
                    await wait_until_ready(spec, handle, asyncio.Event())
            trouble = await check_health(spec, handle)
            assert trouble is not None
            assert "that is not the model's listens on port" in trouble
            assert not await asyncio.to_thread(got.exists)
        await runtime.stop(handle, 0)
        await runtime.close()

    play(story)


def test_the_runs_own_server_is_proven_whichever_of_its_processes_listens(tmp_path: Path) -> None:
    async def story() -> None:
        runtime = ProcessRuntime(tmp_path / "state")
        await runtime.open()
        words = " ".join(command())
        for script in ("exec {}", "{}", "({}) & wait", "setsid {} & wait"):
            handle = await runtime.start(model("sh", "-c", script.format(words)), 1)
            assert await wait_until_ready(model(), handle, asyncio.Event()) == "127.0.0.1"
            assert handle.listener is not None
            assert handle.listener.impostor() is None
            assert handle.listener.addresses() == [f"127.0.0.1:{handle.port}"]
            await runtime.stop(handle, 5)
        await runtime.close()

    play(story)


@pytest.mark.parametrize("asks", [True, False], ids=["sock_diag", "proc"])
def test_a_listener_is_known_by_its_user_and_socket(monkeypatch: pytest.MonkeyPatch, asks: bool) -> None:
    if not asks:

        def refuse(*address: object) -> None:
            raise OSError("not here")

        monkeypatch.setattr(listeners, "_ask_kernel", refuse)
    for family, host, reached in (
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "::1"),
    ):
        with socket.socket(family) as made:
            made.bind((host, 0))
            port = made.getsockname()[1]
            assert listeners.listening_socket(reached, port) is None
            made.listen()
            found = listeners.listening_socket(reached, port)
            assert found is not None
            assert (found.uid, found.inode) == (os.geteuid(), os.fstat(made.fileno()).st_ino)
            assert [one.inode for one in listeners.listening_sockets(port)] == [found.inode]


# Addresses


@pytest.mark.parametrize("host", ["::1", "127.0.0.2", "::"])
def test_a_server_that_listens_elsewhere_on_this_machine_is_reached(tmp_path: Path, host: str) -> None:
    async def story() -> None:
        runtime = ProcessRuntime(tmp_path / "state")
        await runtime.open()
        code = (
            "import http.server, socket, sys\n"
            "class S(http.server.HTTPServer):\n"
            "    address_family = socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET\n"
            "    def server_bind(self):\n"
            "        if ':' in sys.argv[1]: self.socket.setsockopt(41, 26, 1)\n"
            "        super().server_bind()\n"
            "class H(http.server.BaseHTTPRequestHandler):\n"
            "    def do_GET(self): self.send_response(200); self.end_headers()\n"
            "S((sys.argv[1], int(sys.argv[2])), H).serve_forever()\n"
        )
        spec = model(sys.executable, "-c", code, host, "{port}")
        handle = await runtime.start(spec, 1)
        reached = await wait_until_ready(spec, handle, asyncio.Event())
        assert reached == ("::1" if host == "::" else host)
        await runtime.stop(handle, 0)
        await runtime.close()

    play(story)


# Adoption


@as_root
def test_another_users_process_with_our_marks_is_neither_adopted_nor_killed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    marks = {
        OWNER: owner_of(state),
        LAUNCH: "f" * 32,
        PREFIX + "MODEL": "chat",
        PREFIX + "RUN": "7",
        PREFIX + "PORT": "23456",
        PREFIX + "FINGERPRINT": "v1",
    }
    process = subprocess.Popen(
        ["sleep", "600"], env={**os.environ, **marks}, user=STRANGER, start_new_session=True, cwd="/"
    )

    async def story() -> None:
        runtime = ProcessRuntime(state)
        await runtime.open()
        assert await runtime.recover({"chat": model()}) == []
        assert process.poll() is None
        await runtime.close()

    try:
        play(story)
    finally:
        process.kill()
        process.wait()


@as_root
def test_a_record_that_somebody_else_wrote_is_not_believed(tmp_path: Path) -> None:
    state = tmp_path / "state"

    async def story() -> None:
        runtime = ProcessRuntime(state)
        await runtime.open()
        handle = await runtime.start(model("env", "-i", "sleep", "600", "{port}"), 1)
        (record,) = (state / "runs").glob("*.json")
        assert record.stat().st_mode & 0o777 == 0o600
        await runtime.close()
        os.chown(record, STRANGER, -1)
        again = ProcessRuntime(state)
        await again.open()
        assert await again.recover({"chat": model()}) == []
        await again.close()
        pid = int(handle.ident.partition(":")[0])
        os.kill(pid, 9)
        await asyncio.to_thread(os.waitpid, pid, 0)
        assert procfs.stat(pid) is None

    play(story)
