"""hotseat as it is run, with models that are Deployments of a private control plane."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fakes import workloads
from fakes.cluster import Cluster, user_token
from fakes.hotseat import Hotseat
from hotseat.runtimes.kubernetes.workload import Workload, parse_workload
from hotseat.stack.kubernetes import manifests

USER = "hotseat"


class Clustered(Hotseat):
    """A running launcher with the rights of the exported Role; the Deployment of a model has its name."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        models: Mapping[str, list[str] | dict[str, Any]],
        *,
        notes: Mapping[str, dict[str, str]] | None = None,
        gpus: Mapping[str, int] | None = None,
        missing: frozenset[str] = frozenset(),
        **config: Any,
    ) -> None:
        """``notes``: annotations of pods by model. ``gpus``: what a model's pod asks for; 0 by default.

        ``missing``: models without a Deployment.
        """
        self.cluster, self._notes, self._gpus, self._missing = (
            cluster,
            dict(notes or {}),
            dict(gpus or {}),
            missing,
        )
        grant(cluster, [parse_workload(name) for name in models])
        kubeconfig = cluster.kubeconfig(USER, user_token(cluster.token, USER))
        super().__init__(folder, models, env={"KUBECONFIG": str(kubeconfig)}, **config)

    def _launch(self, name: str, options: list[str]) -> dict[str, Any]:
        if name not in self._missing:
            made = workloads.workload(name, gpus=self._gpus.get(name, 0), notes=self._notes.get(name))
            made["spec"]["template"]["spec"]["containers"][0]["command"] += options
            self.cluster.apply(made)
        return {"runtime": "kubernetes"}

    def engines(self) -> list[int]:
        """The processes of all pods."""
        return self.cluster.survivors()

    def sweep(self) -> None:
        """After a test: no pod is left."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        self.cluster.clear()


def grant(cluster: Cluster, scaled: list[Workload]) -> None:
    """Give the user of the launcher exactly the exported Role."""
    account, role, binding = manifests.rbac(scaled, "default")
    binding["subjects"] = [{"kind": "User", "name": USER, "apiGroup": "rbac.authorization.k8s.io"}]
    cluster.apply(account, role, binding)
