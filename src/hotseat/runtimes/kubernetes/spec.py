"""Launch of a model on a Kubernetes cluster."""

from __future__ import annotations

from dataclasses import dataclass

from hotseat.core.spec import LaunchSpec, ModelSpec
from hotseat.runtimes.kubernetes.workload import Workload

RUN_ANNOTATION = "hotseat/run"
"""Of a workload: the number of the run that it was last scaled up for."""
FINGERPRINT_ANNOTATION = "hotseat/fingerprint"
"""Of a workload: the fingerprint of the configuration that it was last scaled up with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSpec(LaunchSpec):
    """A model that is a workload of a cluster."""

    workload: Workload
    namespace: str | None = None
    """``None``: that of the kubeconfig's context, or of the launcher's own pod."""
    port: int | None = None
    """Its port; ``None``: the container's first one (8000 where it names none)."""

    @property
    def target(self) -> str:
        """The workload's name."""
        return self.workload.name

    def describe(self) -> str:
        """Return ``deployment/NAME``."""
        return str(self.workload)


def kubernetes_spec(model: ModelSpec) -> KubernetesSpec:
    """Return the launch of a model of this runtime. Raises ``TypeError`` for a model of another one."""
    if not isinstance(model.launch, KubernetesSpec):
        raise TypeError(f"{model.name} is not launched by kubernetes: {type(model.launch).__name__}")
    return model.launch
