"""One run of a workload: from the scale that began it, to the end of its last pod."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing, suppress

from hotseat.core.errors import LINES_JUDGED, Reason
from hotseat.runtimes.base import Handle, ReplicaAddress, RunExit
from hotseat.runtimes.kubernetes.api import Cluster
from hotseat.runtimes.kubernetes.errors import ClusterError, ClusterUnavailable
from hotseat.runtimes.kubernetes.log import RunLog
from hotseat.runtimes.kubernetes.pods import PodFacts

_LOG_RETRY_S = 0.1
_LINES_WITHIN_S = 2.0
"""The log ends with the container, or hundredths of a second after."""


class WorkloadRun:
    """One run of one workload."""

    def __init__(self, handle: Handle, namespace: str, pod: PodFacts, earlier: frozenset[str]) -> None:
        self.handle = handle
        self.namespace = namespace
        self.earlier = earlier
        """Pods that had ended before it began."""
        self.pod = pod
        """The pod that its log is read from; as last seen."""
        self.stop_requested = False
        self.cause: Reason | None = None
        """Why it ends, once that is certain; it is over when its pods are gone."""
        self.outside = False
        self.succeeded = False
        """Whether pods of a later run may be there already when it is over."""
        self.scale_down = False
        """Whether the workload must be scaled to 0 for it to end."""
        self.log = RunLog()
        self.log_complete = asyncio.Event()
        """All that the pod wrote has been read."""
        self.addresses: tuple[ReplicaAddress, ...] = (ReplicaAddress(handle.host, handle.port),)
        """Of the replicas that serve, that of its pod first."""
        self.moved = asyncio.Event()
        """Replaced when the addresses change; set when it is over."""
        self.over = asyncio.Event()
        self.exit: RunExit | None = None

    def __repr__(self) -> str:
        handle = self.handle
        return f"<WorkloadRun {handle.model} {handle.run} pod={self.pod.name} over={self.over.is_set()}>"

    def finish(self, reason: Reason, *, outside: bool = False) -> None:
        """Record its end."""
        if not self.over.is_set():
            self.exit = RunExit(reason, outside=outside)
            self.log.end()
            self.over.set()
            self.moved.set()

    def serve_at(self, addresses: tuple[ReplicaAddress, ...]) -> None:
        """Take over the addresses of the replicas that serve now; without any, the last ones stay."""
        if addresses and addresses != self.addresses:
            self.addresses = addresses
            self.moved.set()
            self.moved = asyncio.Event()

    def see(self, pods: Iterable[PodFacts]) -> None:
        """Take note of what became of its pod."""
        for pod in pods:
            if pod.uid == self.pod.uid:
                self.pod = pod

    async def follow_log(self, cluster: Cluster) -> None:
        """Keep what its pod writes; after a lost connection from where it was cut, each line once."""
        latest, pod = "", self.pod
        self.log_complete = complete = asyncio.Event()
        while self.pod.uid == pod.uid:
            # The first end of the container is the run's: what a second start writes is not of interest.
            previous, resumed = self.pod.restarts > 0, latest
            try:
                reading = cluster.log_lines(
                    pod.name, self.namespace, follow=not previous, previous=previous, since=latest
                )
                async with aclosing(reading) as lines:
                    async for at, line in lines:
                        if at > resumed:
                            latest = at
                            self.log.add(line)
                break
            except ClusterError as error:
                if error.code == 404:
                    break
            except ClusterUnavailable:
                pass
            await asyncio.sleep(_LOG_RETRY_S)
        complete.set()

    async def last_lines(self) -> tuple[str, ...]:
        """Return the last lines of a run whose container has ended."""
        with suppress(TimeoutError):  # an API server in trouble may keep them
            async with asyncio.timeout(_LINES_WITHIN_S):
                await self.log_complete.wait()
        return tuple(self.log.tail(LINES_JUDGED))
