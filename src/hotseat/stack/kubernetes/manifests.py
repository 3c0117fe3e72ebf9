"""The objects of a cluster that serves these models: pure functions that return plain dictionaries.

Only APIs that are the same from Kubernetes 1.21 on are used; all but PodDisruptionBudget are in 1.20, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from hotseat.core.spec import ModelSpec
from hotseat.runtimes.kubernetes.spec import KubernetesSpec
from hotseat.runtimes.kubernetes.workload import Workload
from hotseat.stack.kubernetes.models import SECRET, ExportedModel

Object = dict[str, Any]

LAUNCHER = "hotseat"
CACHE = "hotseat-cache"
LEASE = "hotseat"
CONFIG = "hotseat-config"
_PORT = 8000
_LONGEST_GRACE_S = 30
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}
_SECCOMP = {"seccompProfile": {"type": "RuntimeDefault"}}


def _labels(name: str, component: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "hotseat",
    }


def _selector(name: str, component: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/component": component}


def _secret_value(name: str, key: str) -> Object:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": key}}}


# models


def model_deployment(model: ExportedModel) -> Object:
    """The Deployment of a model; scaled to 0, until hotseat scales it."""
    container: Object = {
        "name": "server",
        "image": model.image,
        "ports": [{"name": "http", "containerPort": model.port}],
        "env": [
            *({"name": name, "value": value} for name, value in sorted(model.env.items())),
            *(_secret_value(name, key) for name, key in sorted(model.secret_env.items())),
        ],
        # hotseat judges by probes of its own; this one is for Services and for people. No liveness probe: it
        # would kill a server that is still loading, or busy.
        "readinessProbe": {
            "httpGet": {"path": model.health_path, "port": "http"},
            "periodSeconds": 5,
            "timeoutSeconds": 5,
        },
        "resources": {"limits": {"nvidia.com/gpu": str(model.gpus)}},
        "securityContext": _RESTRICTED,
        "volumeMounts": [
            {"name": "cache", "mountPath": "/cache"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }
    if not any(one["name"] == "HF_HOME" for one in container["env"]):
        container["env"].append({"name": "HF_HOME", "value": "/cache/huggingface"})
    if model.command:
        container["command"] = list(model.command)
    if model.args:
        container["args"] = list(model.args)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": model.name, "labels": _labels(model.name, "model")},
        "spec": {
            "replicas": 0,
            # A rolling update would want a second set of GPUs.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": _selector(model.name, "model")},
            "template": {
                "metadata": {"labels": _labels(model.name, "model")},
                "spec": {
                    "automountServiceAccountToken": False,
                    # Of a Service named vllm, Kubernetes would make VLLM_PORT, which vLLM takes for its own.
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": max(_LONGEST_GRACE_S, math.ceil(model.stop_grace_s)),
                    "securityContext": _SECCOMP,
                    "containers": [container],
                    "volumes": [
                        {"name": "cache", "persistentVolumeClaim": {"claimName": CACHE}},
                        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
                    ],
                },
            },
        },
    }


def model_service(model: ExportedModel) -> Object:
    """The Service of a model, for routers and people; hotseat itself asks pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": model.name, "labels": _labels(model.name, "model")},
        "spec": {
            "selector": _selector(model.name, "model"),
            "ports": [{"name": "http", "port": model.port, "targetPort": "http"}],
        },
    }


def cache_claim(size: str) -> Object:
    """The volume that all models keep their weights on."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CACHE, "labels": {"app.kubernetes.io/part-of": "hotseat"}},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": size}}},
    }


# what the launcher may do


def rbac(workloads: Sequence[Workload], namespace: str | None = None) -> list[Object]:
    """A service account, and a Role with the least that works, in one namespace."""
    where = {"namespace": namespace} if namespace else {}
    meta = {"name": LAUNCHER, **where, "labels": {"app.kubernetes.io/part-of": "hotseat"}}
    rules: list[Object] = [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "delete"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["events"], "verbs": ["list"]},
        # A Lease cannot be created by name: rights to create know no names.
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [LEASE],
            "verbs": ["get", "update"],
        },
    ]
    kinds = sorted({(one.group, one.plural) for one in workloads})
    rules += [
        {
            "apiGroups": [group],
            "resources": [plural, f"{plural}/scale"],
            "resourceNames": sorted(
                one.name for one in workloads if (one.group, one.plural) == (group, plural)
            ),
            "verbs": ["get", "patch"],
        }
        for group, plural in kinds
    ]
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": LAUNCHER},
            "subjects": [{"kind": "ServiceAccount", "name": LAUNCHER, **where}],
        },
    ]


def workloads_of(models: Iterable[ModelSpec], exported: Iterable[ExportedModel]) -> list[Workload]:
    """The workloads that the launcher scales: those that exist, and those that are exported."""
    found = [model.launch.workload for model in models if isinstance(model.launch, KubernetesSpec)]
    found += [Workload("apps", "v1", "deployments", "Deployment", one.name) for one in exported]
    return found


# the launcher


def launcher_deployment(image: str, replicas: int, drain_s: float) -> Object:
    """The launcher's own Deployment."""
    container: Object = {
        "name": "launcher",
        "image": image,
        "args": ["serve", "-c", "/etc/hotseat/hotseat.yaml"],
        "env": [
            {"name": "LISTEN", "value": f"0.0.0.0:{_PORT}"},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "envFrom": [{"secretRef": {"name": SECRET}}],
        "ports": [{"name": "http", "containerPort": _PORT}],
        "livenessProbe": {
            "httpGet": {"path": "/health", "port": "http"},
            "periodSeconds": 15,
            "timeoutSeconds": 5,
            "failureThreshold": 4,
        },
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "http"},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 2,
        },
        "resources": {
            "requests": {"cpu": "250m", "memory": "256Mi"},
            "limits": {"memory": "1Gi"},
        },
        "securityContext": {**_RESTRICTED, "readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/hotseat", "readOnly": True},
            {"name": "state", "mountPath": "/var/lib/hotseat"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": LAUNCHER, "labels": _labels(LAUNCHER, "launcher")},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": _selector(LAUNCHER, "launcher")},
            "template": {
                "metadata": {"labels": _labels(LAUNCHER, "launcher")},
                "spec": {
                    "serviceAccountName": LAUNCHER,
                    "enableServiceLinks": False,
                    # Longer than drain_timeout, so that running streams can finish.
                    "terminationGracePeriodSeconds": math.ceil(drain_s) + 30,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1000,
                        "runAsGroup": 1000,
                        "fsGroup": 1000,
                        **_SECCOMP,
                    },
                    "affinity": {
                        "podAntiAffinity": {
                            "preferredDuringSchedulingIgnoredDuringExecution": [
                                {
                                    "weight": 100,
                                    "podAffinityTerm": {
                                        "topologyKey": "kubernetes.io/hostname",
                                        "labelSelector": {"matchLabels": _selector(LAUNCHER, "launcher")},
                                    },
                                }
                            ]
                        }
                    },
                    "containers": [container],
                    "volumes": [
                        {"name": "config", "configMap": {"name": CONFIG}},
                        {"name": "state", "emptyDir": {}},
                        {"name": "tmp", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def launcher_service() -> Object:
    """The launcher's Service: what clients are given."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": LAUNCHER, "labels": _labels(LAUNCHER, "launcher")},
        "spec": {
            "selector": _selector(LAUNCHER, "launcher"),
            "ports": [{"name": "http", "port": _PORT, "targetPort": "http"}],
        },
    }


def disruption_budget() -> Object:
    """A PodDisruptionBudget: a drained node takes one launcher at a time."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": LAUNCHER, "labels": _labels(LAUNCHER, "launcher")},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _selector(LAUNCHER, "launcher")}},
    }


def network_policies(models: Iterable[ExportedModel]) -> list[Object]:
    """Models are reached by launchers alone; launchers, by everybody on their one port."""
    models = list(models)
    launcher = {"podSelector": {"matchLabels": _selector(LAUNCHER, "launcher")}}
    ports = [{"protocol": "TCP", "port": port} for port in sorted({one.port for one in models})]
    policies: list[Object] = [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "hotseat-launcher", "labels": _labels(LAUNCHER, "launcher")},
            "spec": {
                "podSelector": launcher["podSelector"],
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"protocol": "TCP", "port": _PORT}]}],
            },
        }
    ]
    if models:
        everything = {
            "matchLabels": {"app.kubernetes.io/part-of": "hotseat", "app.kubernetes.io/component": "model"}
        }
        policies.append(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "hotseat-models", "labels": {"app.kubernetes.io/part-of": "hotseat"}},
                "spec": {
                    "podSelector": everything,
                    "policyTypes": ["Ingress"],
                    "ingress": [{"from": [launcher], "ports": ports}],
                },
            }
        )
    return policies


def service_monitor() -> Object:
    """A ServiceMonitor of the Prometheus operator, which must be installed."""
    endpoint = {
        "port": "http",
        "path": "/metrics",
        "authorization": {"credentials": {"name": SECRET, "key": "ADMIN_API_KEY"}},
    }
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": LAUNCHER, "labels": _labels(LAUNCHER, "launcher")},
        "spec": {
            "selector": {"matchLabels": _selector(LAUNCHER, "launcher")},
            "endpoints": [endpoint, {**endpoint, "path": "/metrics/models"}],
        },
    }


def kustomization(resources: Sequence[str], namespace: str | None) -> Object:
    """The base that ``kubectl apply -k`` reads; the configuration file becomes a ConfigMap with a hash."""
    base: Object = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": list(resources),
        "configMapGenerator": [{"name": CONFIG, "files": ["hotseat.yaml"]}],
    }
    if namespace:
        base["namespace"] = namespace
    return base
