"""Models that are Deployments of the fake server, for tests with a real Kubernetes control plane."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fakes import engine
from hotseat.core.spec import ModelSpec, SchedulingSpec
from hotseat.runtimes.kubernetes.spec import KubernetesSpec
from hotseat.runtimes.kubernetes.workload import parse_workload

PORT = 8000


def command(name: str, **faults: Any) -> list[str]:
    """The command of a container that is the fake server with these faults."""
    words = [sys.executable, "-I", "-S", str(Path(engine.__file__)), "--host", "$(POD_IP)"]
    words += ["--port", str(PORT), "--name", name]
    for fault, value in faults.items():
        flag = "--" + fault.replace("_", "-")
        if isinstance(value, tuple):
            words += [word for line in value for word in (flag, line)]
        elif value is not False:
            words += [flag] if value is True else [flag, str(value)]
    return words


def workload(
    name: str,
    *,
    kind: str = "Deployment",
    gpus: int = 1,
    replicas: int = 0,
    notes: dict[str, str] | None = None,
    **faults: Any,
) -> dict[str, Any]:
    """A Deployment or StatefulSet of the fake server; ``notes`` annotate its pods (``fakes.kubelet``)."""
    labels = {"app": name}
    container: dict[str, Any] = {
        "name": "server",
        "image": "fake/engine:1",
        "command": command(name, **faults),
        "ports": [{"containerPort": PORT}],
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
        "readinessProbe": {"httpGet": {"path": "/health", "port": PORT}, "periodSeconds": 1},
    }
    spec: dict[str, Any] = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels, "annotations": notes or {}},
            "spec": {"terminationGracePeriodSeconds": 30, "containers": [container]},
        },
    }
    if kind == "StatefulSet":
        spec["serviceName"] = name
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def model(
    name: str, *, kind: str = "deployment", fingerprint: str = "v1", workload: str | None = None
) -> ModelSpec:
    """A model that is the workload of this name."""
    launch = KubernetesSpec(workload=parse_workload(f"{kind}/{workload or name}"), namespace="default")
    scheduling = SchedulingSpec(name=name, footprint={"gpu": 1_000_000}, fingerprint=fingerprint)
    return ModelSpec(name=name, scheduling=scheduling, launch=launch, runtime="kubernetes")
