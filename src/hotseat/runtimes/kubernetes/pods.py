"""Facts about pods, read from their objects, and the same in words for people. Pure."""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hotseat.core.errors import Reason

if TYPE_CHECKING:
    from lightkube.models.core_v1 import ContainerStatus, PodStatus
    from lightkube.resources.core_v1 import Pod

_LAUNCH_FAILURES = {
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
}
"""Reasons for which a container waits and that do not pass by themselves in seconds. ``ErrImagePull`` is the
first failure of a pull; the kubelet tries once more by itself, and says ``ImagePullBackOff`` then.
"""
_PERMANENT = {"InvalidImageName", "ErrImageNeverPull"}
_HINTS = {
    "ImagePullBackOff": "check the image's name, and the pull secret of its registry",
    "InvalidImageName": "mend the image's name in the workload",
    "ErrImageNeverPull": "load the image onto the node, or let it be pulled (imagePullPolicy)",
    "CreateContainerConfigError": "a Secret or ConfigMap that the workload names is missing",
}


@dataclass(frozen=True, slots=True)
class ContainerEnd:
    """The first end of a pod's container."""

    exit_code: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """Everything that is known of one pod."""

    uid: str
    name: str
    labels: Mapping[str, str]
    created: str
    """As the API writes times: they sort as text."""
    node: str
    ip: str
    port: int | None
    phase: str
    ready: bool
    """Its condition ``Ready``: its own readiness probes pass."""
    terminating: bool
    grace_s: float
    """How long it is given to end, once it is terminating."""
    restarts: int
    end: ContainerEnd | None
    waiting: str
    """Why its container waits (``ImagePullBackOff``); empty where it does not."""
    waiting_message: str
    unschedulable: str
    """Why no node takes it; empty once it is placed."""
    reason: str
    """Of the pod as a whole: ``Evicted``, ``NodeLost``."""
    message: str

    @property
    def failed(self) -> bool:
        """Whether it has ended as a whole (evicted, for one): it is never started again."""
        return self.phase in ("Failed", "Succeeded")

    @property
    def live(self) -> bool:
        """Whether it may serve, now or soon."""
        return not self.terminating and not self.failed

    @property
    def addressable(self) -> bool:
        """Whether it is live, and its address is known."""
        return self.live and bool(self.ip)


def facts_of(pod: Pod) -> PodFacts:
    """Read a pod's object."""
    meta, spec, status = pod.metadata, pod.spec, pod.status
    assert meta is not None
    containers = list((status and status.containerStatuses) or ())
    main = _main_container(pod, containers)
    waiting = main.state.waiting if main is not None and main.state is not None else None
    ports = [port.containerPort for one in ((spec and spec.containers) or ()) for port in one.ports or ()]
    return PodFacts(
        uid=meta.uid or "",
        name=meta.name or "",
        labels=dict(meta.labels or {}),
        created=str(meta.creationTimestamp or ""),
        node=(spec and spec.nodeName) or "",
        ip=(status and status.podIP) or "",
        port=ports[0] if ports else None,
        phase=(status and status.phase) or "",
        ready=_condition(status, "Ready")[0] == "True",
        terminating=meta.deletionTimestamp is not None,
        grace_s=float(meta.deletionGracePeriodSeconds or 0),
        restarts=main.restartCount if main is not None else 0,
        end=_first_end(main),
        waiting=(waiting and waiting.reason) or "",
        waiting_message=(waiting and waiting.message) or "",
        unschedulable=_unschedulable(status),
        reason=(status and status.reason) or "",
        message=(status and status.message) or "",
    )


def launch_failure(pod: PodFacts) -> Reason | None:
    """Return why the pod's container cannot be started; ``None`` while it may yet be."""
    if pod.waiting not in _LAUNCH_FAILURES:
        return None
    summary = f"{pod.waiting}: {pod.waiting_message}" if pod.waiting_message else pod.waiting
    return Reason(summary=summary, hint=_HINTS.get(pod.waiting), permanent=pod.waiting in _PERMANENT)


def end_reason(pod: PodFacts, lines: tuple[str, ...] = ()) -> Reason:
    """Return why the pod ended: its container's end, an eviction, the loss of its node."""
    if pod.reason == "Evicted":
        return Reason(summary=f"evicted from {pod.node or 'its node'}: {pod.message}", lines=lines)
    if pod.end is None:
        if pod.reason:
            return Reason(summary=f"{pod.reason}: {pod.message}" if pod.message else pod.reason, lines=lines)
        return Reason(summary="its pod ended, and nothing is known of why", lines=lines)
    return container_reason(pod.end, lines)


def container_reason(end: ContainerEnd, lines: tuple[str, ...] = ()) -> Reason:
    """Return why a container ended."""
    number = end.exit_code - 128 if end.exit_code > 128 else None
    if end.reason == "OOMKilled":
        hint = "raise the memory limit of its container (resources.limits.memory)"
        summary = "killed: out of host memory (OOMKilled)"
        return Reason(
            summary=summary, hint=hint, exit_code=end.exit_code, signal=number, oom=True, lines=lines
        )
    if number is not None:
        return Reason(
            summary=f"killed by {_signal_name(number)}", exit_code=end.exit_code, signal=number, lines=lines
        )
    return Reason(summary=f"exited with code {end.exit_code}", exit_code=end.exit_code, lines=lines)


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def lost_reason(pod: PodFacts, lines: tuple[str, ...] = ()) -> Reason:
    """Return the reason for a pod that was told to end and of which nothing is heard any more."""
    where = f"its node {pod.node}" if pod.node else "its node"
    return Reason(
        summary=f"gone with {where}, which does not answer",
        hint="kubectl get nodes; a pod of a dead node stays Terminating until the node is back or deleted",
        lines=lines,
    )


def _main_container(pod: Pod, statuses: list[ContainerStatus]) -> ContainerStatus | None:
    """The status of the pod's first container: the model server; others are its sidecars."""
    first = pod.spec.containers[0].name if pod.spec is not None and pod.spec.containers else None
    return next((one for one in statuses if one.name == first), None)


def _first_end(status: ContainerStatus | None) -> ContainerEnd | None:
    for state in (status.lastState, status.state) if status is not None else ():
        if state is not None and (ended := state.terminated) is not None:
            return ContainerEnd(ended.exitCode, ended.reason or "", ended.message or "")
    return None


def _condition(status: PodStatus | None, kind: str) -> tuple[str, str, str]:
    for one in (status and status.conditions) or ():
        if one.type == kind:
            return one.status, one.reason or "", one.message or ""
    return "", "", ""


def _unschedulable(status: PodStatus | None) -> str:
    state, reason, message = _condition(status, "PodScheduled")
    return message or reason if state == "False" and reason == "Unschedulable" else ""
