"""The contract of runtimes, over Deployments of a real Kubernetes control plane."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest
import uvloop

from fakes import workloads
from fakes.cluster import Cluster
from hotseat.core.spec import ModelSpec
from hotseat.probing.readiness import until_ready
from hotseat.runtimes.base import Handle, Runtime
from hotseat.runtimes.kubernetes.runtime import KubernetesRuntime
from runtimes.contract import Rig, RuntimeContract

pytestmark = pytest.mark.system("etcd", "go", "dpkg-source", "openssl")


class KubernetesRig(Rig):
    """Deployments; a model's is made anew for each description, unless it runs."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def runtime(self) -> Runtime:
        return KubernetesRuntime()

    def model(self, name: str = "chat", *, fingerprint: str = "v1", **faults: Any) -> ModelSpec:
        if not self.cluster.pods(f"app={name}"):
            self.cluster.apply(workloads.workload(name, **faults))
        return workloads.model(name, fingerprint=fingerprint)

    def impossible(self) -> ModelSpec:
        return workloads.model("there-is-none")

    async def ready(self, handle: Handle) -> None:
        await until_ready(handle.host, handle.port, "/health")

    def survivors(self) -> int:
        return len(self.cluster.survivors())

    def loop(self, play: Coroutine[Any, Any, None]) -> None:
        uvloop.run(play)


class TestKubernetes(RuntimeContract):
    @pytest.fixture
    def rig(self, cluster: Cluster) -> KubernetesRig:
        return KubernetesRig(cluster)

    def test_an_unknown_model_is_swept_away(self, rig: Rig) -> None:
        """Workloads are the operator's: one that no model names any more is left alone."""

        async def before(runtime: Runtime) -> None:
            await rig.ready(await runtime.start(rig.model("gone", start_s=0), 1))

        async def after(runtime: Runtime) -> None:
            assert await runtime.recover({"chat": rig.model()}) == []
            assert rig.survivors() == 1
            (found,) = await runtime.recover({"gone": rig.model("gone")})
            await runtime.stop(found.handle, 0)

        rig.run(before, after)
