"""The contract of runtimes, over plain processes and over the fake."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from contract import Rig, RuntimeContract

from fakes.clock import run_virtual
from fakes.engine import command
from fakes.runtime import FakeRuntime, Faults, World
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec, SchedulingSpec
from hotseat.probing.readiness import until_ready
from hotseat.runtimes.base import Handle, Runtime
from hotseat.runtimes.process import procfs
from hotseat.runtimes.process.launch_records import OWNER, owner_of
from hotseat.runtimes.process.runtime import ProcessRuntime
from hotseat.runtimes.process.spec import ProcessSpec


def spec(name: str, launch: tuple[str, ...], fingerprint: str) -> ModelSpec:
    """A model with this command."""
    seat = SchedulingSpec(name=name, footprint={"0": 900_000}, fingerprint=fingerprint)
    return ModelSpec(name=name, scheduling=seat, launch=ProcessSpec(command=launch))


class ProcessRig(Rig):
    """Real processes."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir

    def runtime(self) -> Runtime:
        return ProcessRuntime(self.state_dir)

    def model(self, name: str = "chat", *, fingerprint: str = "v1", **faults: Any) -> ModelSpec:
        options: list[str] = []
        for fault, value in faults.items():
            flag = "--" + fault.replace("_", "-")
            if isinstance(value, tuple):
                options += [word for line in value for word in (flag, line)]
            else:
                options += [flag] if value is True else [flag, str(value)]
        return spec(name, command(*options), fingerprint)

    def impossible(self) -> ModelSpec:
        return spec("chat", ("no-such-command-of-hotseat", "{port}"), "v1")

    async def ready(self, handle: Handle) -> None:
        await until_ready(handle.host, handle.port, "/health")

    def survivors(self) -> int:
        owner = owner_of(self.state_dir)
        return len(procfs.processes(lambda one: procfs.environ(one.pid).get(OWNER) == owner))

    def loop(self, play: Coroutine[Any, Any, None]) -> None:
        uvloop.run(play)


class FakeRig(Rig):
    """The fake, on virtual time."""

    def __init__(self) -> None:
        self.world = World()

    def runtime(self) -> FakeRuntime:
        return FakeRuntime(world=self.world)

    def model(self, name: str = "chat", *, fingerprint: str = "v1", **faults: Any) -> ModelSpec:
        self.world.faults[name] = Faults(**faults)
        return spec(name, ("fake", "{port}"), fingerprint)

    def impossible(self) -> ModelSpec:
        return self.model(cannot_launch=Reason(summary="command not found: fake", permanent=True))

    async def ready(self, handle: Handle) -> None:
        await self.runtime().until_ready(handle.host, handle.port)

    def survivors(self) -> int:
        return len(self.world.live())

    def loop(self, play: Coroutine[Any, Any, None]) -> None:
        run_virtual(play)


class TestProcess(RuntimeContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        return ProcessRig(tmp_path / "state")


class TestFake(RuntimeContract):
    @pytest.fixture
    def rig(self) -> Rig:
        return FakeRig()

    def test_the_fake_keeps_book_of_overlaps(self) -> None:
        async def story() -> World:
            runtime = FakeRuntime(budget={"0": 1_000_000})
            await runtime.start(spec("chat", (), ""), 1)
            await asyncio.sleep(5)
            await runtime.start(spec("coder", (), ""), 1)
            await runtime.start(spec("coder", (), ""), 2)
            return runtime.world

        world = run_virtual(story())
        assert len(world.overlaps) == 2
        assert world.overlaps[0].startswith("5s: ")
        assert world.doubles == ["5s: a second coder"]
