"""The runtime ``kubernetes``: a model is a workload of a cluster."""

from __future__ import annotations

import re
from pathlib import Path

from hotseat.runtimes.base import Leadership, Runtime
from hotseat.runtimes.kind import RuntimeKind, WrittenLaunch
from hotseat.runtimes.kubernetes.keys import KubernetesKeys, KubernetesTopKeys
from hotseat.runtimes.kubernetes.spec import KubernetesSpec
from hotseat.runtimes.kubernetes.workload import Workload, parse_workload

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")


def _resolve(written: WrittenLaunch[KubernetesKeys, KubernetesTopKeys]) -> KubernetesSpec:
    model, at, problems = written.model, written.path, written.problems
    name = str(at[-1])
    workload = Workload("apps", "v1", "deployments", "Deployment", name)
    try:
        workload = parse_workload(model.workload if model.workload is not None else name)
    except ValueError as error:
        if model.workload is not None:
            problems.problem((*at, "workload"), str(error), "write workload: deployment/NAME")
        else:
            problems.problem(at, str(error), "name the workload: workload: deployment/NAME")
    for path, namespace in (((*at, "namespace"), model.namespace), (("namespace",), written.top.namespace)):
        if namespace is not None and not _NAMESPACE.match(namespace) and path not in problems.bad:
            problems.problem(
                path, f"{namespace!r} cannot be a namespace: lower-case letters, digits and - only"
            )
    namespace = model.namespace or written.top.namespace
    return KubernetesSpec(workload=workload, namespace=namespace, port=model.port)


def _create(state_dir: Path) -> Runtime:
    from hotseat.runtimes.kubernetes.runtime import KubernetesRuntime

    return KubernetesRuntime()


def _elect(lease: str) -> Leadership:
    from hotseat.runtimes.kubernetes.leader import LeaseElection

    return LeaseElection(lease)


KIND = RuntimeKind(
    name="kubernetes",
    model_keys=KubernetesKeys,
    top_keys=KubernetesTopKeys,
    selecting_key="workload",
    on_this_machine=False,
    example="workload: deployment/NAME",
    resolve=_resolve,
    create=_create,
    elect=_elect,
)
