"""Containers that stand by at a gate which their mounts and variables give them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from fakes import containers
from fakes.dockerd import IMAGE, Dockerd
from fakes.gated import write_packages
from hotseat.core.spec import ModelSpec, StandbyMode
from hotseat.gate.gate_folder import PLUGIN, GateFolder
from hotseat.probing.readiness import until_ready
from hotseat.runtimes.base import Handle, LaunchError
from hotseat.runtimes.docker.runtime import DockerRuntime

pytestmark = pytest.mark.system("dockerd", "docker", "iptables", "ip")

PATIENCE_S = 60.0


def chat() -> ModelSpec:
    model = containers.model("chat")
    return replace(model, scheduling=replace(model.scheduling, standby=StandbyMode.DEMAND, fingerprint="one"))


def play(story: Callable[[DockerRuntime], Awaitable[None]], dockerd: Dockerd, gates: Path) -> None:
    async def told() -> None:
        runtime = DockerRuntime(dockerd.url, gates)
        await runtime.open()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await story(runtime)
        finally:
            await runtime.close()

    uvloop.run(told())


def create(dockerd: Dockerd, folder: Path, *, gated: bool = True) -> GateFolder:
    """Make the container ``chat`` as a Compose file would; returns its gate."""
    packages, gate = write_packages(folder / "packages"), folder / "gates" / "chat"
    gate.mkdir(parents=True)
    options = ["-e", "HOTSEAT_MODEL=chat", "-v", f"{packages}:/packages:ro"]
    if gated:
        options += ["-e", "HOTSEAT_GATE=/run/hotseat-gate", "-v", f"{gate}:/run/hotseat-gate"]
        options += ["-e", "PYTHONPATH=/opt/hotseat-gate:/packages", "-v", f"{PLUGIN}:/opt/hotseat-gate:ro"]
    else:
        options += ["-e", "PYTHONPATH=/packages", "-e", "HOTSEAT_GATE=/nowhere"]
    command = ["python3", "/packages/server.py", "8000", "/tmp/book", "everywhere"]
    dockerd.docker("create", "--name", "chat", *options, IMAGE, *command)
    return GateFolder(gate)


async def ready(handle: Handle) -> None:
    await until_ready(handle.host, handle.port, "/health")


def test_a_prepared_container_serves_only_after_it_was_admitted(dockerd: Dockerd, tmp_path: Path) -> None:
    create(dockerd, tmp_path)

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.prepare(chat(), 1)
        await runtime.prepared(handle)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await ready(handle)
        await runtime.admit(handle)
        await ready(handle)
        assert runtime.gate_seen(handle)
        await runtime.stop(handle, 0)
        await runtime.wait(handle)
        assert runtime.known_gates() == {"chat": "one"}

    play(story, dockerd, tmp_path / "gates")


def test_a_plain_start_passes_its_gate_and_shows_it(dockerd: Dockerd, tmp_path: Path) -> None:
    create(dockerd, tmp_path)

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(chat(), 1)
        await ready(handle)
        assert runtime.gate_seen(handle)

    play(story, dockerd, tmp_path / "gates")


def test_a_container_without_a_mounted_gate_is_started_plainly(dockerd: Dockerd, tmp_path: Path) -> None:
    create(dockerd, tmp_path, gated=False)

    async def story(runtime: DockerRuntime) -> None:
        handle = await runtime.start(chat(), 1)
        await ready(handle)
        assert not runtime.gate_seen(handle)
        assert runtime.known_gates() == {}

    play(story, dockerd, tmp_path / "gates")


def test_a_container_that_does_not_ask_for_a_gate_is_not_prepared(dockerd: Dockerd, tmp_path: Path) -> None:
    containers.create(dockerd, "chat")

    async def story(runtime: DockerRuntime) -> None:
        with pytest.raises(LaunchError, match="HOTSEAT_GATE"):
            await runtime.prepare(chat(), 1)
        assert dockerd.docker("ps", "-q").stdout == ""

    play(story, dockerd, tmp_path / "gates")


def test_a_container_that_stands_by_is_found_so_by_the_next_hotseat(dockerd: Dockerd, tmp_path: Path) -> None:
    gate = create(dockerd, tmp_path)

    async def first(runtime: DockerRuntime) -> None:
        await runtime.prepared(await runtime.prepare(chat(), 1))

    async def second(runtime: DockerRuntime) -> None:
        (found,) = await runtime.recover({"chat": chat()})
        assert found.stands_by
        await runtime.admit(found.handle)
        await ready(found.handle)
        await runtime.stop(found.handle, 0)
        await runtime.wait(found.handle)
        assert not gate.exists

    play(first, dockerd, tmp_path / "gates")
    play(second, dockerd, tmp_path / "gates")
    dockerd.docker("start", "chat")  # by hand, without a gate

    async def third(runtime: DockerRuntime) -> None:
        (found,) = await runtime.recover({"chat": chat()})
        assert not found.stands_by
        await ready(found.handle)

    play(third, dockerd, tmp_path / "gates")
