"""The contract of runtimes, over containers of a real Docker Engine."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from fakes import containers
from fakes.dockerd import Dockerd
from hotseat.core.spec import ModelSpec
from hotseat.probing.readiness import until_ready
from hotseat.runtimes.base import Handle, Runtime
from hotseat.runtimes.docker.runtime import DockerRuntime
from runtimes.contract import Rig, RuntimeContract

pytestmark = pytest.mark.system("dockerd", "docker", "iptables", "ip")


class DockerRig(Rig):
    """Containers; a model's container is made anew for each description, unless it runs."""

    def __init__(self, dockerd: Dockerd) -> None:
        self.dockerd = dockerd

    def runtime(self) -> Runtime:
        return DockerRuntime(self.dockerd.url)

    def model(self, name: str = "chat", *, fingerprint: str = "v1", **faults: Any) -> ModelSpec:
        running = self.dockerd.docker("ps", "-q", "--filter", f"name=^/{name}$").stdout.strip()
        if not running:
            self.dockerd.docker("rm", "-f", name, check=False)
            # The first process of a namespace is deaf to signals until it asks for them, and so would
            # often cost the whole grace here.
            containers.create(self.dockerd, name, "--pid=host", **faults)
        return containers.model(name)

    def impossible(self) -> ModelSpec:
        return containers.model("there-is-none")

    async def ready(self, handle: Handle) -> None:
        await until_ready(handle.host, handle.port, "/health")

    def survivors(self) -> int:
        # "docker ps" speaks of a container as running until it has tidied up after it; "inspect" does not.
        if not (ids := self.dockerd.docker("ps", "-aq").stdout.split()):
            return 0
        return self.dockerd.docker("inspect", "-f", "{{.State.Running}}", *ids).stdout.count("true")

    def loop(self, play: Coroutine[Any, Any, None]) -> None:
        uvloop.run(play)


class TestDocker(RuntimeContract):
    @pytest.fixture
    def rig(self, dockerd: Dockerd) -> DockerRig:
        return DockerRig(dockerd)

    def test_a_run_is_adopted_after_a_restart(self, rig: Rig) -> None:
        """A container knows nothing of our run's number, nor of what our configuration was then."""
        handles: list[Handle] = []
        model = rig.model(start_s=0)

        async def before(runtime: Runtime) -> None:
            handles.append(await runtime.start(model, 4))
            await rig.ready(handles[0])

        async def after(runtime: Runtime) -> None:
            (found,) = await runtime.recover({"chat": model, "coder": rig.model("coder")})
            assert found.handle == replace(handles[0], run=0)
            assert found.fingerprint == ""
            assert not found.external
            await rig.ready(found.handle)
            await runtime.stop(found.handle, 20)
            assert rig.survivors() == 0
            assert not (await runtime.wait(found.handle)).outside

        rig.run(before, after)

    def test_an_unknown_model_is_swept_away(self, rig: Rig) -> None:
        """Containers are the operator's: one that no model names any more is left alone."""

        async def before(runtime: Runtime) -> None:
            await runtime.start(rig.model("gone", never_ready=True), 1)

        async def after(runtime: Runtime) -> None:
            assert await runtime.recover({"chat": rig.model()}) == []
            assert rig.survivors() == 1
            (found,) = await runtime.recover({"gone": rig.model("gone")})
            await runtime.stop(found.handle, 0)

        rig.run(before, after)
