"""Watches the pods of the configured models: one list and watch for each namespace, a review for each model.

A change only says that something happened: every review judges the model's pods as they are now, so that
lost, repeated and late changes do no harm. Whatever goes wrong with a watch, the pods are listed again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Coroutine, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec
from hotseat.runtimes.base import FoundRun, Handle, PlacementReport, ReplicaAddress
from hotseat.runtimes.kubernetes import pods as judging
from hotseat.runtimes.kubernetes.api import Cluster
from hotseat.runtimes.kubernetes.errors import ClusterError, ClusterUnavailable
from hotseat.runtimes.kubernetes.pods import PodFacts
from hotseat.runtimes.kubernetes.run import WorkloadRun
from hotseat.runtimes.kubernetes.spec import (
    FINGERPRINT_ANNOTATION,
    RUN_ANNOTATION,
    KubernetesSpec,
    kubernetes_spec,
)
from hotseat.runtimes.kubernetes.workload import Match, parse_selector
from hotseat.tasks import Tasks

log = structlog.get_logger("hotseat")

DEFAULT_PORT = 8000
_RECONNECT_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_REVIEW_RETRY_S = 0.5
_CONTROLLER_S = 5.0
"""A controller that has not deleted the pods by then is away, and replaces none either."""
_MISSING_RETRY_S = 30.0
READY_EVERY_S = 5.0
LOST_AFTER_S = 10.0
"""A pod that was told to end and is there so long after its grace is on a node that does not answer: the
kubelet would have forced it."""
_ENDED_KEPT = 64


class NamespacePods:
    """The pods of one namespace, as last heard of."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.pods: dict[str, PodFacts] = {}
        self.synced = False
        self.unusable_reason: str | None = f"the pods of namespace {namespace} have not been listed yet"
        self._terminating_since: dict[str, float] = {}

    def replace(self, pods: Iterable[PodFacts]) -> None:
        """Take over a list of all pods."""
        self.pods = {}
        for pod in pods:
            self.put(pod)
        for uid in [*self._terminating_since.keys() - self.pods.keys()]:
            del self._terminating_since[uid]
        self.synced = True

    def put(self, pod: PodFacts) -> None:
        """Take over what a pod is now."""
        self.pods[pod.uid] = pod
        if pod.terminating:
            self._terminating_since.setdefault(pod.uid, time.monotonic())

    def drop(self, pod: PodFacts) -> None:
        """Forget a pod that is gone."""
        self.pods.pop(pod.uid, None)
        self._terminating_since.pop(pod.uid, None)

    def lost_in_s(self, pod: PodFacts) -> float | None:
        """Return the seconds after which the pod is lost with its node, if it is not gone by then.

        0: it is lost now. ``None``: it is not terminating.
        """
        since = self._terminating_since.get(pod.uid)
        if since is None:
            return None
        return max(0.0, since + pod.grace_s + LOST_AFTER_S - time.monotonic())


@dataclass(eq=False)
class TrackedModel:
    """A model, its workload's pods and what is to be done about them."""

    model: ModelSpec
    spec: KubernetesSpec
    store: NamespacePods
    matches: Match | None = None
    """The selector of the workload's pods; ``None`` where the workload is not known yet."""
    recovered: bool = False
    """What ran before us has been found; what appears from now on was started by somebody else."""
    launching: bool = False
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    """Replaced with each change of its pods."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    @property
    def namespace(self) -> str:
        """The namespace of its workload."""
        return self.store.namespace

    def pods(self) -> list[PodFacts]:
        """Return its pods, the oldest first."""
        if (matches := self.matches) is None:
            return []
        found = [pod for pod in self.store.pods.values() if matches(pod.labels)]
        return sorted(found, key=lambda pod: (pod.created, pod.name))

    def failed(self) -> frozenset[str]:
        """Return the pods that have ended as a whole: they stay as records of what happened (evictions)."""
        return frozenset(pod.uid for pod in self.pods() if pod.failed)

    def present(self) -> list[PodFacts]:
        """Return the pods that hold memory: without those that have ended or are lost with their nodes."""
        return [pod for pod in self.pods() if not pod.failed and self.store.lost_in_s(pod) != 0]

    def lost_in_s(self) -> float | None:
        """Return the seconds until the next of its pods is lost; ``None``: none is about to be."""
        times = [self.store.lost_in_s(pod) for pod in self.pods()]
        return min((left_s for left_s in times if left_s), default=None)

    def wake(self) -> None:
        """Have it reviewed, and tell whoever waits for its pods."""
        self.wanted.set()
        self.moved.set()
        self.moved = asyncio.Event()

    async def next_move(self, timeout_s: float | None = None) -> None:
        """Return when its pods have changed, or after the timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.moved.wait()

    async def emptied(self) -> None:
        """Return when none of its pods holds memory."""
        while self.present():
            await self.next_move(self.lost_in_s())


class PodWatcher:
    """The models' workloads and their runs, kept up to date."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.tracked: dict[str, TrackedModel] = {}
        self.runs: dict[str, WorkloadRun] = {}
        """The current run of each model; one that has ended stays until the next begins."""
        self.found_runs: asyncio.Queue[FoundRun] = asyncio.Queue()
        self.placement_reports: asyncio.Queue[PlacementReport] = asyncio.Queue()
        self._ended: dict[str, WorkloadRun] = {}
        self._stores: dict[str, NamespacePods] = {}
        self._tried: dict[str, asyncio.Event] = {}
        self._not_ready: str | None = None
        self._tasks = Tasks(self._task_failed)

    def open(self) -> None:
        """Begin to watch the API server."""
        self._tasks.start("kubernetes ready", self._check_ready())

    async def close(self) -> None:
        """Stop watching and disconnect."""
        await self._tasks.close()
        await self.cluster.close()

    @property
    def unusable_reason(self) -> str | None:
        """Reason for which nothing can be started or stopped now."""
        if self._not_ready is not None:
            return self._not_ready
        reasons = (store.unusable_reason for store in self._stores.values())
        return next((reason for reason in reasons if reason is not None), None)

    def usable(self) -> Cluster:
        """Return the API server. Raises ``ClusterUnavailable`` where it cannot be used."""
        if (reason := self.unusable_reason) is not None:
            raise ClusterUnavailable(reason)
        return self.cluster

    def start_task(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that goes on when its caller is cancelled."""
        return self._tasks.start(name, work)

    async def scale_down(self, tracked: TrackedModel, grace_s: float) -> None:
        """Scale the workload to 0, and have its pods end within this grace.

        Raises ``ClusterUnavailable`` and ``ClusterError``.
        """
        await self.cluster.set_scale(tracked.spec.workload, tracked.namespace, 0)
        # The pods' own grace is in their template; a shorter one is said with a deletion. 0 would only forget
        # a pod, whatever its processes do. A pod that is deleted before its controller has heard of the
        # scale is replaced by another one: its own deletion is waited for.
        clock, grace = asyncio.get_running_loop().time, max(1, math.ceil(grace_s))
        deadline, told = clock() + _CONTROLLER_S, set()
        while waiting := [pod for pod in tracked.present() if pod.uid not in told]:
            for pod in waiting:
                if pod.terminating or clock() >= deadline:
                    told.add(pod.uid)
                    if not pod.terminating or pod.grace_s > grace:
                        await self.cluster.delete_pod(pod.name, tracked.namespace, pod.uid, grace)
            if told.issuperset(pod.uid for pod in waiting):
                return
            await tracked.next_move(max(0.0, deadline - clock()))

    async def watch_namespace(self, namespace: str) -> NamespacePods:
        """Watch the pods of a namespace from now on; returns after the first attempt to list them."""
        if namespace not in self._stores:
            self._stores[namespace] = NamespacePods(namespace)
            self._tried[namespace] = asyncio.Event()
            self._tasks.start(f"kubernetes pods {namespace}", self._follow(self._stores[namespace]))
        await self._tried[namespace].wait()
        return self._stores[namespace]

    async def track(self, model: ModelSpec) -> TrackedModel:
        """Watch this model's pods from now on."""
        spec = kubernetes_spec(model)
        store = await self.watch_namespace(spec.namespace or self.cluster.namespace)
        known = self.tracked.get(model.name)
        if known is not None and (known.spec.workload, known.store) == (spec.workload, store):
            known.model, known.spec = model, spec
            return known
        fresh = self.tracked[model.name] = TrackedModel(model, spec, store)
        if known is None:
            self._tasks.start(f"kubernetes {model.name}", self._review_when_wanted(model.name))
        return fresh

    async def look_up(self, tracked: TrackedModel) -> int:
        """Read the workload's scale and selector; returns how many replicas are wanted."""
        replicas, selector = await self.cluster.scale_of(tracked.spec.workload, tracked.namespace)
        try:
            tracked.matches = parse_selector(selector)
        except ValueError as error:
            raise ClusterError(422, f"{tracked.spec.workload} cannot be used: {error}") from error
        return replicas

    @asynccontextmanager
    async def launching(self, tracked: TrackedModel) -> AsyncGenerator[None, None]:
        """Keep the start of a model's workload from being reported as a start by others."""
        tracked.launching = True
        try:
            async with tracked.lock:
                yield
        finally:
            tracked.launching = False
            tracked.wake()

    async def recover(self, tracked: TrackedModel) -> FoundRun | None:
        """Find what runs already; scale a launch to 0 that an earlier hotseat did not finish.

        Raises ``ClusterUnavailable`` and ``ClusterError``; it is tried again with the next review then.
        """
        if tracked.launching:
            return None
        async with tracked.lock:
            return await self._recover(tracked)

    async def _recover(self, tracked: TrackedModel) -> FoundRun | None:
        workload, namespace = tracked.spec.workload, tracked.namespace
        run = self.runs.get(tracked.name)
        if run is not None and not run.over.is_set():
            return None
        replicas = await self.look_up(tracked)
        if not tracked.store.synced:
            return None
        tracked.recovered = True
        if not replicas:
            return None
        notes = await self.cluster.annotations_of(workload, namespace)
        number = notes.get(RUN_ANNOTATION, "")
        if (pod := self.addressable(tracked)) is not None:
            handle = self.handle(tracked, int(number) if number.isdecimal() else 0, pod)
            self.register(handle, tracked, pod, tracked.failed())
            return FoundRun(handle, notes.get(FINGERPRINT_ANNOTATION, ""), external=not number)
        if number:
            await self.cluster.set_scale(workload, namespace, 0)
        return None

    def register(
        self, handle: Handle, tracked: TrackedModel, pod: PodFacts, earlier: frozenset[str]
    ) -> WorkloadRun:
        """Make this the model's current run. ``earlier``: pods that had ended before it began."""
        run = self.runs[handle.model] = WorkloadRun(handle, tracked.namespace, pod, earlier)
        self._follow_log(run)
        return run

    def handle(self, tracked: TrackedModel, number: int, pod: PodFacts) -> Handle:
        """Return the handle of a run whose first pod is this one."""
        return Handle(tracked.name, number, pod.uid, pod.ip or "0.0.0.0", self.port(tracked, pod))

    @staticmethod
    def port(tracked: TrackedModel, pod: PodFacts) -> int:
        """Return the port that the pod serves at."""
        return tracked.spec.port or pod.port or DEFAULT_PORT

    def run_of(self, handle: Handle) -> WorkloadRun:
        """Return the run of this handle; an unknown one has ended."""
        run = self.runs.get(handle.model)
        if run is not None and run.handle.ident == handle.ident:
            return run
        if (ended := self._ended.get(handle.ident)) is not None:
            return ended
        unknown = WorkloadRun(handle, "", _no_pod(handle), frozenset())
        unknown.finish(Reason(summary="ended, and nothing is known of why"))
        return unknown

    # reviews

    async def _review_when_wanted(self, name: str) -> None:
        retry_s: float | None = None
        while True:
            tracked = self.tracked[name]
            timeouts = [left_s for left_s in (tracked.lost_in_s(), retry_s) if left_s is not None]
            with suppress(TimeoutError):
                async with asyncio.timeout(min(timeouts, default=None)):
                    await tracked.wanted.wait()
            tracked.wanted.clear()
            retry_s = None
            try:
                await self.review(tracked)
            except ClusterUnavailable:
                retry_s = _REVIEW_RETRY_S
            except ClusterError as error:
                # A workload that is not there is looked for again now and then.
                retry_s = _REVIEW_RETRY_S if error.code not in (403, 404) else _MISSING_RETRY_S

    async def review(self, tracked: TrackedModel) -> None:
        """Judge the model's pods: let its run go on, let it end, or report one that others began.

        Raises ``ClusterUnavailable`` and ``ClusterError``.
        """
        if tracked.launching or not tracked.store.synced:
            return  # launching() asks for another review when it is done
        async with tracked.lock:
            if not tracked.recovered:
                if (found := await self._recover(tracked)) is not None:
                    self.found_runs.put_nowait(found)
                return
            run = self.runs.get(tracked.name)
            if run is not None and not run.over.is_set():
                await self._review_run(tracked, run)
            if run is None or run.over.is_set():
                await self._report_found(tracked)

    async def _review_run(self, tracked: TrackedModel, run: WorkloadRun) -> None:
        pods = [pod for pod in tracked.pods() if pod.uid not in run.earlier]
        run.see(pods)
        if not run.stop_requested and run.cause is None:
            await self._judge(tracked, run, pods)
            run.serve_at(self._addresses(tracked, run, pods))
        if run.scale_down:
            await self.scale_down(tracked, 0)
            run.scale_down = False
        if run.cause is None and not run.stop_requested:
            return
        present = tracked.present()
        over = all(pod.uid != run.pod.uid for pod in present) if run.succeeded else not present
        if over:
            await self._finish(tracked, run)

    def _addresses(
        self, tracked: TrackedModel, run: WorkloadRun, pods: list[PodFacts]
    ) -> tuple[ReplicaAddress, ...]:
        serving = [pod for pod in pods if pod.addressable and (pod.ready or pod.uid == run.pod.uid)]
        serving.sort(key=lambda pod: pod.uid != run.pod.uid)
        if len(serving) > 1 and not serving[0].ready:
            serving.pop(0)
        return tuple(ReplicaAddress(pod.ip, self.port(tracked, pod)) for pod in serving)

    async def _judge(self, tracked: TrackedModel, run: WorkloadRun, pods: list[PodFacts]) -> None:
        """Find out whether the run ends, and why (``WorkloadRun.cause``)."""
        live = [pod for pod in pods if pod.live]
        ended = [pod for pod in pods if pod.failed or (pod.end is not None and not pod.terminating)]
        serving = [pod for pod in live if pod.ready and pod not in ended]
        if ended and not serving:
            # The first end of a container is the run's: scaled to 0, it is not started again by the kubelet.
            run.see(ended[:1])
            run.cause, run.scale_down = judging.end_reason(ended[0]), True
        elif run.pod in live:
            return
        elif serving:
            # A rollout: the successor is ready before the pod ends.
            run.pod = serving[0]
            self._follow_log(run)
        elif run.pod in pods and tracked.store.lost_in_s(run.pod) == 0:
            run.cause, run.succeeded = judging.lost_reason(run.pod), True
        elif live or (await self.look_up(tracked)) > 0:
            if run.pod not in pods:
                run.cause = Reason(summary="its pod was replaced by another one")
                run.outside = run.succeeded = True
        else:
            run.cause, run.outside = Reason(summary="its workload was scaled to 0 by somebody else"), True

    async def _finish(self, tracked: TrackedModel, run: WorkloadRun) -> None:
        lines = await run.last_lines()
        end = run.pod.end
        if run.cause is not None:
            reason = replace(run.cause, lines=lines)
        elif end is None and any(pod.uid == run.pod.uid for pod in tracked.pods()):
            reason = judging.lost_reason(run.pod, lines)
        else:
            code = end.exit_code if end is not None else None
            number = code - 128 if code is not None and code > 128 else None
            reason = Reason(summary="stopped", exit_code=code, signal=number)
        run.finish(reason, outside=run.outside)
        self._ended[run.handle.ident] = run
        if len(self._ended) > _ENDED_KEPT:
            del self._ended[next(iter(self._ended))]

    async def _report_found(self, tracked: TrackedModel) -> None:
        pod = self.addressable(tracked)
        # A controller that was late may have made one more pod, which it is about to delete.
        if pod is not None and await self.look_up(tracked):
            handle = self.handle(tracked, 0, pod)
            self.register(handle, tracked, pod, tracked.failed())
            self.found_runs.put_nowait(FoundRun(handle, fingerprint="", external=True))

    @staticmethod
    def addressable(tracked: TrackedModel) -> PodFacts | None:
        """Return the oldest pod of the model that serves, or is about to."""
        found = [pod for pod in tracked.pods() if pod.addressable and (pod.ready or pod.end is None)]
        return next(iter(found), None)

    def _follow_log(self, run: WorkloadRun) -> None:
        self._tasks.start(f"kubernetes log {run.handle.model}", run.follow_log(self.cluster))

    # the connection

    async def _follow(self, store: NamespacePods) -> None:
        """List the pods, follow their changes, and again when that ends."""
        tries = 0
        while True:
            try:
                pods, version = await self.cluster.list_pods(store.namespace)
                store.replace(pods)
                self._connected(store)
                for tracked in self._of(store):
                    tracked.wake()
                async with aclosing(self.cluster.watch_pods(store.namespace, version)) as changes:
                    async for exists, pod in changes:
                        tries = 0
                        self._on_change(store, exists, pod)
            except ClusterUnavailable as error:
                self._disconnected(store, str(error))
            except ClusterError as error:
                if error.code == 410:
                    continue  # the version has expired: the list is new
                self._disconnected(
                    store,
                    f"the API server at {self.cluster.url} refuses: {error}. The launcher's Role must allow "
                    "pods to be listed and watched (hotseat export kubernetes writes it)",
                )
            await asyncio.sleep(_RECONNECT_S[min(tries, len(_RECONNECT_S) - 1)])
            tries += 1

    def _on_change(self, store: NamespacePods, exists: bool, pod: PodFacts) -> None:
        before = store.pods.get(pod.uid)
        for tracked in self._of(store):
            if (matches := tracked.matches) is None:
                continue
            if matches(pod.labels) or (before is not None and matches(before.labels)):
                if (run := self.runs.get(tracked.name)) is not None:
                    run.see([pod])
                tracked.wake()
        if exists:
            store.put(pod)
        else:
            store.drop(pod)

    def _of(self, store: NamespacePods) -> list[TrackedModel]:
        return [tracked for tracked in self.tracked.values() if tracked.store is store]

    async def _check_ready(self) -> None:
        """Ask every few seconds whether the API server serves: a frozen one closes no connection."""
        while True:
            try:
                await self.cluster.check_ready()
                why = None
            except ClusterUnavailable as error:
                why = str(error)
            if why is not None and self._not_ready != why:
                log.warning("API server unusable", why=why)
            self._not_ready = why
            await asyncio.sleep(READY_EVERY_S)

    def _connected(self, store: NamespacePods) -> None:
        if store.unusable_reason is not None:
            log.info("API server connected", url=self.cluster.url, namespace=store.namespace)
        store.unusable_reason = None
        self._tried[store.namespace].set()

    def _disconnected(self, store: NamespacePods, why: str) -> None:
        if store.unusable_reason != why:
            log.warning("API server unusable", why=why, namespace=store.namespace)
        store.unusable_reason = why
        self._tried[store.namespace].set()

    def _task_failed(self, name: str, error: BaseException) -> None:
        log.error("task failed", task=name, exc_info=error)


def _no_pod(handle: Handle) -> PodFacts:
    return PodFacts(
        uid=handle.ident, name="", labels={}, created="", node="", ip=handle.host, port=handle.port, phase="",
        ready=False, terminating=False, grace_s=0.0, restarts=0, end=None, waiting="", waiting_message="",
        unschedulable="", reason="", message="",
    )  # fmt: skip
