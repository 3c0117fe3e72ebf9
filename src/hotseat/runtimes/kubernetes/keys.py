"""The keys of Kubernetes workloads in the configuration file."""

from __future__ import annotations

from pydantic import Field

from hotseat.config_fields import ConfigModel, Port

NAMESPACE = (
    "The namespace of the workloads; by default that of the kubeconfig's context or of the launcher's pod."
)


class KubernetesKeys(ConfigModel):
    """Keys of a model that is a workload of a cluster."""

    workload: str | None = Field(
        default=None,
        description="The workload that is scaled to 1 and 0: `deployment/NAME`, `statefulset/NAME`, or "
        "`PLURAL.VERSION.GROUP/NAME` for anything with a `/scale` subresource. By default the Deployment "
        "with the model's name.",
    )
    namespace: str | None = Field(default=None, description=NAMESPACE)
    port: Port | None = Field(
        default=None,
        description="The server's port inside the container. By default read from its command, image or pod.",
    )


class KubernetesTopKeys(ConfigModel):
    """Keys that hold for all workloads."""

    namespace: str | None = Field(default=None, description=NAMESPACE)
