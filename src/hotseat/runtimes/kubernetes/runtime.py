"""Models as workloads of a Kubernetes cluster: scaled to 1 and to 0, and placed by the cluster's scheduler.

Workloads belong to the operator: they are scaled and annotated, never made or deleted. Replicas beyond the
first are an autoscaler's: they are left alone until the model is stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec
from hotseat.runtimes.base import FoundRun, Handle, LaunchError, PlacementReport, ReplicaAddress, RunExit
from hotseat.runtimes.kubernetes.errors import ClusterError, ClusterUnavailable
from hotseat.runtimes.kubernetes.pods import PodFacts, launch_failure
from hotseat.runtimes.kubernetes.spec import FINGERPRINT_ANNOTATION, RUN_ANNOTATION, kubernetes_spec

log = structlog.get_logger("hotseat")

if TYPE_CHECKING:
    from lightkube.models.core_v1 import PodSpec

    from hotseat.runtimes.kubernetes.watcher import PodWatcher, TrackedModel

_UNDO_RETRY_S = 0.5
_NO_POD_S = 1.0
"""A controller that has made no pod after so long is asked why."""
_REPORT_EVERY_S = 5.0
_CLOCKS_DIFFER = timedelta(seconds=1)
_LOOKUPS = 32
"""Workloads that are read at once when hotseat starts."""
_FORBIDDEN = "the launcher's Role must allow it: hotseat export kubernetes writes one that does"


class KubernetesRuntime:
    """Runtime that scales workloads of a cluster to 1 and to 0."""

    name = "kubernetes"

    def __init__(self) -> None:
        self._why = "the kubernetes runtime is not open"
        self._watcher: PodWatcher | None = None

    async def open(self) -> None:
        """Find the cluster. It is asked for the first time in ``recover``."""
        try:
            # Brings an HTTP client of its own: only for those who use a cluster.
            from hotseat.runtimes.kubernetes.api import Cluster
            from hotseat.runtimes.kubernetes.watcher import PodWatcher
        except ImportError:
            self._why = (
                "the kubernetes runtime needs the package lightkube: pip install 'hotseat[kubernetes]'"
            )
            return
        try:
            cluster = Cluster()
        except ClusterUnavailable as error:
            self._why = f"{error}. Set KUBECONFIG, or run hotseat in a pod with a service account"
            return
        self._watcher = PodWatcher(cluster)
        self._watcher.open()

    async def close(self) -> None:
        """Let go of the API server; workloads stay as they are."""
        if self._watcher is not None:
            await self._watcher.close()
            self._watcher = None

    def unusable(self) -> str | None:
        """Return why the cluster cannot be used now."""
        return self._why if self._watcher is None else self._watcher.unusable_reason

    async def recover(self, models: dict[str, ModelSpec]) -> list[FoundRun]:
        """The workloads of these models that run already.

        One that has no address yet is scaled to 0 where an earlier hotseat launched it. While the API server
        is away: none, and ``watch()`` tells of them when it is back.
        """
        if (watcher := self._watcher) is None:
            return []
        gate = asyncio.Semaphore(_LOOKUPS)

        async def recover_one(model: ModelSpec) -> FoundRun | None:
            async with gate:
                return await self._recover(watcher, model)

        mine = [model for model in models.values() if model.runtime == self.name]
        found = await asyncio.gather(*(recover_one(model) for model in mine))
        return [one for one in found if one is not None]

    @staticmethod
    async def _recover(watcher: PodWatcher, model: ModelSpec) -> FoundRun | None:
        tracked = await watcher.track(model)
        with suppress(ClusterUnavailable, ClusterError):
            return await watcher.recover(tracked)
        return None

    async def start(self, model: ModelSpec, run: int) -> Handle:
        """Scale the workload to 1; returns when its pod has an address."""
        try:
            watcher = self._opened()
            tracked = await watcher.track(model)
            watcher.usable()
        except ClusterUnavailable as error:
            raise LaunchError(Reason(summary=str(error))) from error
        try:
            async with watcher.launching(tracked):
                return await self._launch(watcher, tracked, run)
        except ClusterUnavailable as error:
            raise LaunchError(Reason(summary=str(error))) from error
        except ClusterError as error:
            raise LaunchError(_refused(model, tracked.namespace, error)) from error

    async def _launch(self, watcher: PodWatcher, tracked: TrackedModel, number: int) -> Handle:
        cluster, workload, namespace = watcher.cluster, tracked.spec.workload, tracked.namespace
        replicas = await watcher.look_up(tracked)
        tracked.recovered = True
        notes: dict[str, str | None] = {
            RUN_ANNOTATION: str(number),
            FINGERPRINT_ANNOTATION: tracked.model.scheduling.fingerprint,
        }
        await cluster.annotate(workload, namespace, notes)
        earlier = tracked.failed()
        try:
            if not replicas:
                await tracked.emptied()
                await cluster.set_scale(workload, namespace, 1)
            pod = await self._placed(watcher, tracked, number, earlier)
        except BaseException:
            await asyncio.shield(
                watcher.start_task(f"kubernetes undo {tracked.name}", self._undo(watcher, tracked))
            )
            raise
        handle = watcher.handle(tracked, number, pod)
        watcher.register(handle, tracked, pod, earlier)
        return handle

    async def _placed(
        self, watcher: PodWatcher, tracked: TrackedModel, number: int, earlier: frozenset[str]
    ) -> PodFacts:
        """Return the workload's pod when it has an address; reports while there is no room for it.

        Raises ``LaunchError`` where it will get none.
        """
        reported, since = False, datetime.now(UTC) - _CLOCKS_DIFFER
        while True:
            pods = [pod for pod in tracked.pods() if pod.uid not in earlier]
            for pod in pods:
                if pod.ip and (pod.live or pod.end is not None):
                    if reported:
                        self._report(watcher, tracked, number, None)
                    return pod
                if (failure := launch_failure(pod)) is not None:
                    raise LaunchError(failure)
            no_room = await self._no_room(watcher, tracked, pods, since)
            if no_room is not None or reported:
                reported = no_room is not None
                self._report(watcher, tracked, number, no_room)
            await tracked.next_move(_REPORT_EVERY_S if reported else None if pods else _NO_POD_S)

    @staticmethod
    def _report(watcher: PodWatcher, tracked: TrackedModel, number: int, reason: Reason | None) -> None:
        watcher.placement_reports.put_nowait(PlacementReport(tracked.name, number, reason))

    async def _no_room(
        self, watcher: PodWatcher, tracked: TrackedModel, pods: list[PodFacts], since: datetime
    ) -> Reason | None:
        """Return why no node takes the pod, or why none could be created ``since`` then (a quota)."""
        waiting = next((pod.unschedulable for pod in pods if pod.unschedulable), None)
        if waiting is not None:
            return Reason(summary=f"Unschedulable: {waiting}")
        if pods:
            return None
        try:
            why = await watcher.cluster.failed_creation(tracked.spec.workload, tracked.namespace, since)
        except ClusterUnavailable:
            return None
        return None if why is None else Reason(summary=f"its pod cannot be created: {why}")

    @staticmethod
    async def _undo(watcher: PodWatcher, tracked: TrackedModel) -> None:
        """Leave nothing of a launch behind; tries again while the API server cannot do it."""
        while True:
            try:
                await watcher.scale_down(tracked, 0)
                break
            except ClusterUnavailable:
                await asyncio.sleep(_UNDO_RETRY_S)
            except ClusterError as error:  # the workload has gone, or the right to scale it
                log.warning("a launch could not be undone", model=tracked.name, why=str(error))
                return
        await tracked.emptied()

    async def stop(self, handle: Handle, grace_s: float) -> None:
        """Scale the workload to 0, and give its pods this grace.

        Raises ``ClusterUnavailable`` or ``ClusterError`` where the API server cannot do it.
        """
        watcher = self._opened()
        run = watcher.run_of(handle)
        if run.over.is_set():
            return
        watcher.usable()
        tracked = watcher.tracked[handle.model]
        run.stop_requested = True
        await watcher.scale_down(tracked, grace_s)
        tracked.wake()
        await run.over.wait()

    async def wait(self, handle: Handle) -> RunExit:
        """The end of this run, however it came."""
        run = self._opened().run_of(handle)
        await run.over.wait()
        assert run.exit is not None
        return run.exit

    async def addresses(self, handle: Handle) -> AsyncIterator[tuple[ReplicaAddress, ...]]:
        """The addresses of the run's ready replicas."""
        run = self._opened().run_of(handle)
        told: tuple[ReplicaAddress, ...] = (ReplicaAddress(handle.host, handle.port),)
        while not run.over.is_set():
            moved = run.moved
            if run.addresses != told:
                told = run.addresses
                yield told
            else:
                await moved.wait()

    async def lines(self, handle: Handle, last: int | None = None) -> AsyncIterator[str]:
        """Yield what the run's pod writes."""
        run = self._opened().run_of(handle)
        async with aclosing(run.log.follow(last)) as lines:
            async for line in lines:
                yield line
        await run.over.wait()

    async def tail(self, model: str, count: int) -> list[str]:
        """The last lines of the model's current or latest run."""
        run = self._watcher.runs.get(model) if self._watcher is not None else None
        return run.log.tail(count) if run is not None else []

    async def watch(self) -> AsyncIterator[FoundRun]:
        """Workloads of our models that somebody else scales up."""
        while self._watcher is not None:
            yield await self._watcher.found_runs.get()

    async def placement_reports(self) -> AsyncIterator[PlacementReport]:
        """Runs that no node has room for, or that a quota forbids."""
        while self._watcher is not None:
            yield await self._watcher.placement_reports.get()

    async def command_of(self, model: ModelSpec) -> tuple[str, ...] | None:
        """The command of the workload's first container; ``None`` where nobody knows it now.

        vLLM's share of a GPU is left out: a pod has its GPUs to itself, whatever share it uses.
        """
        template = await self._template(model)
        if template is None or not template.containers:
            return None
        container = template.containers[0]
        return _without_share([*(container.command or ()), *(container.args or ())])

    async def grace_of(self, model: ModelSpec) -> float | None:
        """The pods' ``terminationGracePeriodSeconds``; ``None`` where it is not known."""
        template = await self._template(model)
        seconds = template.terminationGracePeriodSeconds if template is not None else None
        return None if seconds is None else float(seconds)

    async def _template(self, model: ModelSpec) -> PodSpec | None:
        spec = kubernetes_spec(model)
        with suppress(ClusterUnavailable, ClusterError):
            cluster = self._opened().cluster
            return await cluster.template_of(spec.workload, spec.namespace or cluster.namespace)
        return None

    def _opened(self) -> PodWatcher:
        if self._watcher is None:
            raise ClusterUnavailable(self._why)
        return self._watcher


def _without_share(command: list[str]) -> tuple[str, ...]:
    words: list[str] = []
    skip = False
    for word in command:
        flag, sign, _ = word.partition("=")
        if flag.replace("_", "-") == "--gpu-memory-utilization":
            skip = not sign
        elif skip:
            skip = False
        else:
            words.append(word)
    return tuple(words)


def _refused(model: ModelSpec, namespace: str, error: ClusterError) -> Reason:
    where = model.launch.describe()
    if error.code == 404:
        hint = "create it (hotseat export kubernetes writes one), or correct workload: and namespace:"
        return Reason(summary=f"there is no {where} in namespace {namespace}", hint=hint, permanent=True)
    if error.code in (401, 403):
        return Reason(summary=f"{where}: {error}", hint=_FORBIDDEN, permanent=True)
    return Reason(summary=f"{where}: {error}")
