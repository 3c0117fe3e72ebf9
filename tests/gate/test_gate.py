"""The gate, held by real processes: a pretended vLLM and torch, and the launcher's side."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fakes.gated import LIMIT_S, Gated, write_packages
from hotseat.gate.gate_folder import GateFolder, GateLog
from hotseat.runtimes.process import procfs

VLLM = ("-m", "vllm.serve", "1")
TORCH = ("-c", "import torch; print('imported', flush=True); torch.cuda.synchronize(); print('served')")


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    return write_packages(tmp_path / "packages")


@pytest.fixture
def gate(tmp_path: Path) -> GateFolder:
    folder = GateFolder(tmp_path / "gates" / "chat")
    folder.make()
    return folder


def until_ready(gate: GateFolder, count: int = 1) -> GateLog:
    """Wait until so many processes stand by."""
    deadline = time.monotonic() + LIMIT_S
    while (log := gate.read()).ready < count:
        assert time.monotonic() < deadline, f"nobody stands by: {log}"
        select.select([], [], [], 0.02)
    return log


@pytest.mark.parametrize("command", [VLLM, TORCH], ids=["vllm", "torch"])
def test_a_gated_server_touches_the_device_only_after_go(
    command: tuple[str, ...], gate: GateFolder, packages: Path
) -> None:
    with Gated(gate, packages, command) as server:
        assert until_ready(gate).armed
        assert "device used" not in server.output
        assert server.process.poll() is None
        assert gate.open()
        code, output = server.rest()
        assert code == 0
        assert output.count("device used") == 1
        assert "served" in output
    assert gate.read().passed == 1


@pytest.mark.parametrize("command", [VLLM, TORCH], ids=["vllm", "torch"])
def test_a_go_that_was_given_before_is_not_lost(
    command: tuple[str, ...], gate: GateFolder, packages: Path
) -> None:
    assert gate.open() is False
    with Gated(gate, packages, command) as server:
        code, output = server.rest()
    assert code == 0
    assert "device used" in output
    assert gate.read() == GateLog(armed=True, ready=0, passed=1)


def test_one_go_wakes_every_worker_and_each_says_that_it_stands_by(gate: GateFolder, packages: Path) -> None:
    with Gated(gate, packages, ("-m", "vllm.serve", "3")) as server:
        until_ready(gate, 3)
        assert gate.open()
        code, output = server.rest()
    assert code == 0
    assert output.count("device used") == 3
    assert gate.read().passed == 3


def test_standing_by_costs_no_cpu(gate: GateFolder, packages: Path) -> None:
    with Gated(gate, packages, TORCH) as server:
        until_ready(gate)
        before = Path(f"/proc/{server.process.pid}/stat").read_text().split()[13:15]
        select.select([], [], [], 0.5)
        assert Path(f"/proc/{server.process.pid}/stat").read_text().split()[13:15] == before


def test_workers_end_when_their_parent_does_and_the_device_is_not_touched(
    gate: GateFolder, packages: Path
) -> None:
    with Gated(gate, packages, VLLM) as server:
        until_ready(gate)
        server.process.kill()
        server.process.wait()
        _, output = server.rest()  # the worker holds the pipe until it has ended
    assert "the parent process has ended" in output
    assert "device used" not in output


def test_what_the_launcher_started_outlives_it_to_be_adopted(gate: GateFolder, packages: Path) -> None:
    launcher = (
        "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], start_new_session=True); print(p.pid)"
    )
    env = {**os.environ, **gate.environment(str(packages))}
    command = [sys.executable, "-c", launcher, sys.executable, *TORCH]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, cwd=packages) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        try:
            parent.wait()
            until_ready(gate)
            assert gate.open()
            assert b"device used" in parent.stdout.read()
        finally:
            if procfs.stat(pid) is not None:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("command", [VLLM, TORCH], ids=["vllm", "torch"])
def test_a_gate_that_disappears_lets_nobody_to_the_device(
    command: tuple[str, ...], gate: GateFolder, packages: Path
) -> None:
    (gate.path / "log").touch()
    with Gated(
        gate, packages, ("-c", f"import time; time.sleep(0)\n{_until_gone(gate)}\n{_body(command)}")
    ) as s:
        s.read_until("waiting")
        gate.remove()
        code, output = s.rest()
    assert code != 0
    assert "the gate has gone" in output
    assert "device used" not in output


def _until_gone(gate: GateFolder) -> str:
    return (
        "import os, select; print('waiting', flush=True)\n"
        f"while os.path.exists({str(gate.path)!r}): select.select([], [], [], 0.01)"
    )


def _body(command: tuple[str, ...]) -> str:
    if command == TORCH:
        return TORCH[1]
    return "import sys; from vllm.serve import engine; engine()"


def test_a_fifo_that_is_opened_without_a_go_lets_nobody_to_the_device(
    gate: GateFolder, packages: Path
) -> None:
    with Gated(gate, packages, TORCH) as server:
        until_ready(gate)
        os.close(os.open(gate.path / "fifo", os.O_WRONLY | os.O_NONBLOCK))
        code, output = server.rest()
    assert code == 1
    assert "without a go" in output
    assert "device used" not in output


def test_sigterm_ends_a_worker_that_stands_by_at_once(gate: GateFolder, packages: Path) -> None:
    with Gated(gate, packages, VLLM) as server:
        until_ready(gate)
        engine = int(server.read_until("engine ").split("engine ")[1].split()[0])
        os.kill(engine, signal.SIGTERM)
        code, output = server.rest()
    assert code != 0
    assert "device used" not in output


def test_a_server_that_is_started_by_hand_without_a_gate_runs_plainly(tmp_path: Path, packages: Path) -> None:
    nobody = GateFolder(tmp_path / "nobody")
    for command in (VLLM, TORCH):
        with Gated(nobody, packages, command) as server:
            code, output = server.rest()
        assert code == 0
        assert "device used" in output
    assert nobody.read() == GateLog()


def test_a_vllm_without_the_hook_is_not_armed_and_says_so(gate: GateFolder, tmp_path: Path) -> None:
    packages = write_packages(tmp_path / "other", without="vllm/v1/worker/worker_base.py")
    with Gated(
        gate, packages, ("-c", "from vllm.plugins import *; load_general_plugins(); print('up')")
    ) as s:
        status, output = s.rest()
    assert status == 0
    assert "up" in output
    assert "has no WorkerWrapperBase.init_device" in output
    assert not gate.read().armed


def test_the_site_customization_that_the_plugin_hides_still_runs(gate: GateFolder, packages: Path) -> None:
    (packages / "sitecustomize.py").write_text("print('mine', flush=True)")
    with Gated(gate, packages, ("-c", "pass")) as server:
        assert server.rest() == (0, "mine\n")


def test_a_thread_that_asks_for_the_device_is_held_too(gate: GateFolder, packages: Path) -> None:
    code = (
        "import threading, torch\n"
        "threads = [threading.Thread(target=torch.cuda.synchronize) for _ in range(3)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]; print('served')"
    )
    with Gated(gate, packages, ("-c", code)) as server:
        until_ready(gate)
        assert gate.open()
        status, output = server.rest()
    assert status == 0
    assert "served" in output
    assert gate.read().passed == 1


def test_children_that_start_after_the_go_pass_at_once(gate: GateFolder, packages: Path) -> None:
    code = (
        "import subprocess, sys, torch\n"
        "torch.cuda.synchronize()\n"
        "child = [sys.executable, '-c', 'import torch; torch.cuda.synchronize()']\n"
        "sys.exit(subprocess.run(child).returncode)"
    )
    with Gated(gate, packages, ("-c", code)) as server:
        until_ready(gate)
        gate.open()
        status, output = server.rest()
    assert status == 0
    assert output.count("device used") == 2


def test_making_a_gate_anew_forgets_what_was_said_of_the_last_one(gate: GateFolder) -> None:
    gate.open()
    (gate.path / "log").write_text("armed 1 vllm\nready 1\nready 2\npassed 1\nhalf a l")
    assert gate.opened
    assert gate.read() == GateLog(armed=True, ready=2, passed=1)
    gate.make()
    assert gate.exists
    assert not gate.opened
    assert gate.read() == GateLog()


def test_a_gate_is_for_its_owner_alone(gate: GateFolder) -> None:
    assert gate.path.stat().st_mode & 0o077 == 0


def test_a_go_is_never_written_through_what_a_container_put_there(gate: GateFolder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (gate.path / "go").symlink_to(elsewhere)
    with pytest.raises(OSError):
        gate.open()
    assert not elsewhere.exists()
    (gate.path / "fifo").unlink()
    (gate.path / "fifo").write_text("")
    with pytest.raises(OSError):
        gate.open()
    (gate.path / "fifo").unlink()
    with pytest.raises(FileNotFoundError):
        gate.open()


def test_a_log_without_end_is_read_in_part(gate: GateFolder) -> None:
    with (gate.path / "log").open("w") as log:
        for number in range(20_000):
            log.write(f"ready {number}\n")
    assert 0 < gate.read().ready < 20_000
