"""A hundred starts in a row, each prepared, admitted and stopped, leave nothing behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fakes.gated import served, write_packages
from hotseat.core.spec import ModelSpec, SchedulingSpec, StandbyMode
from hotseat.probing.readiness import until_ready
from hotseat.runtimes.process import procfs
from hotseat.runtimes.process.launch_records import OWNER, owner_of
from hotseat.runtimes.process.runtime import ProcessRuntime
from hotseat.runtimes.process.spec import ProcessSpec

pytestmark = pytest.mark.system


def test_a_hundred_prepared_starts_leave_no_process_no_descriptor_and_no_gate(tmp_path: Path) -> None:
    packages, state = write_packages(tmp_path / "packages"), tmp_path / "state"
    command = tuple(served(packages, tmp_path / "book")["command"])
    seat = SchedulingSpec(name="chat", footprint={"0": 900_000}, standby=StandbyMode.KEEP, fingerprint="one")
    model = ModelSpec(name="chat", scheduling=seat, launch=ProcessSpec(command=command))

    async def story() -> None:
        runtime = ProcessRuntime(state)
        await runtime.open()
        open_files = 0
        for number in range(1, 101):
            handle = await runtime.prepare(model, number, low_priority=number % 2 == 0)
            if number % 3:  # every third is admitted while it is prepared
                assert await runtime.prepared(handle)
            await runtime.admit(handle)
            await until_ready(handle.host, handle.port, "/health")
            assert runtime.gate_seen(handle)
            await runtime.stop(handle, 5)
            await runtime.wait(handle)
            if number == 10:
                open_files = len(os.listdir("/proc/self/fd"))
        assert len(os.listdir("/proc/self/fd")) <= open_files + 1
        await runtime.close()

    asyncio.run(story())
    owner = owner_of(state)
    assert procfs.processes(lambda one: procfs.environ(one.pid).get(OWNER) == owner) == []
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    assert [path.name for path in (state / "gates").iterdir()] == ["known.json"]
