"""The API server, as far as the runtime needs it: throttling and conflicts are handled as the API asks."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.config import client_adapter
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.core_v1 import PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Event, Pod
from lightkube.types import PatchType

from hotseat.runtimes.kubernetes.errors import ClusterError, ClusterUnavailable
from hotseat.runtimes.kubernetes.pods import PodFacts, facts_of
from hotseat.runtimes.kubernetes.workload import Workload

T = TypeVar("T")

TIMEOUT_S = 10.0
_WATCH_S = 120
"""After so long the API server ends a watch, and it is resumed."""
WATCH_DEADLINE_S = _WATCH_S + 15.0
"""A watch that nothing came from for so long, not even its end, hangs."""
_READY_TIMEOUT_S = 5.0
_TRIES = 6
_RETRY_AFTER_MOST_S = 5.0
_PAGE = 500
_LINES_MOST = 5_000
MERGE = PatchType.MERGE


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """Holder of a Lease, and the times of its holding."""

    name: str
    holder: str
    renewed: datetime | None
    acquired: datetime | None
    duration_s: int
    transitions: int
    version: str | None
    """A write of another version is refused (409)."""


class _WatchTransport(httpx2.AsyncHTTPTransport):
    """Gives a watch a read deadline: lightkube waits for ever for what a watch says next."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if "watch" in request.url.params:
            timeout = {**request.extensions.get("timeout", {}), "read": WATCH_DEADLINE_S}
            request.extensions = {**request.extensions, "timeout": timeout}
        return await super().handle_async_request(request)


class Cluster:
    """One API server, through the kubeconfig or the service account of our own pod."""

    def __init__(self) -> None:
        """Find the configuration. Raises ``ClusterUnavailable`` where there is none that can be used."""
        try:
            logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for every call, otherwise
            config = KubeConfig.from_env().get()
            if config is None or config.user is None:
                raise ConfigError("the kubeconfig's current context names no user")
            verify = client_adapter.verify_cluster(config.cluster, config.user, config.abs_file)
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
            transport = _WatchTransport(verify=verify, limits=limits)
            self._client = AsyncClient(config=config, transport=transport)
            self._raw = httpx2.AsyncClient(
                base_url=config.cluster.server,
                auth=client_adapter.user_auth(config.user),
                transport=httpx2.AsyncHTTPTransport(verify=verify, limits=limits),
                timeout=TIMEOUT_S,
            )
        except (ConfigError, OSError, ValueError, KeyError, TypeError) as error:
            raise ClusterUnavailable(f"no cluster is configured: {error}") from error
        self.url = config.cluster.server
        self.namespace = config.namespace

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()
        await self._raw.aclose()

    async def check_ready(self) -> None:
        """Ask whether the API server serves. Raises ``ClusterUnavailable``."""
        try:
            answer = await self._raw.get("/readyz", timeout=_READY_TIMEOUT_S)
        except httpx2.HTTPError as error:
            raise ClusterUnavailable(_unreachable(self.url, error)) from error
        if answer.status_code >= 500:
            failed = [line[3:] for line in answer.text.splitlines() if line.startswith("[-]")]
            why = f": {', '.join(failed)}" if failed else ""
            raise ClusterUnavailable(f"the API server at {self.url} is not ready{why}")

    # workloads

    async def scale_of(self, workload: Workload, namespace: str) -> tuple[int, str]:
        """Return how many replicas are wanted, and the selector of the pods."""
        resource = _resource(workload).Scale
        found = await self._call(lambda: self._client.get(resource, workload.name, namespace=namespace))
        replicas = found.spec.replicas if found.spec is not None else None
        selector = found.status.selector if found.status is not None else None
        return int(replicas or 0), str(selector or "")

    async def set_scale(self, workload: Workload, namespace: str, replicas: int) -> None:
        """Set how many replicas are wanted."""
        resource, body = _resource(workload).Scale, {"spec": {"replicas": replicas}}
        await self._call(
            lambda: self._client.patch(resource, workload.name, body, namespace=namespace, patch_type=MERGE)
        )

    async def annotations_of(self, workload: Workload, namespace: str) -> dict[str, str]:
        """Return the annotations of the workload."""
        resource = _resource(workload)
        found = await self._call(lambda: self._client.get(resource, workload.name, namespace=namespace))
        return dict((found.metadata.annotations if found.metadata else None) or {})

    async def template_of(self, workload: Workload, namespace: str) -> PodSpec | None:
        """Return what the workload's pods are made from; ``None`` for kinds that keep it elsewhere."""
        if workload.group != "apps":
            return None
        resource = _resource(workload)
        found = await self._call(lambda: self._client.get(resource, workload.name, namespace=namespace))
        template = found.spec.template if found.spec is not None else None
        return template.spec if template is not None else None

    async def annotate(self, workload: Workload, namespace: str, notes: dict[str, str | None]) -> None:
        """Set annotations of the workload; ``None`` removes one."""
        resource, body = _resource(workload), {"metadata": {"annotations": notes}}
        await self._call(
            lambda: self._client.patch(resource, workload.name, body, namespace=namespace, patch_type=MERGE)
        )

    # pods

    async def list_pods(self, namespace: str) -> tuple[list[PodFacts], str]:
        """Return all pods of a namespace, and the version that they are of."""

        async def listed() -> tuple[list[PodFacts], str]:
            pods = self._client.list(Pod, namespace=namespace, chunk_size=_PAGE)
            found = [facts_of(pod) async for pod in pods]
            return found, pods.resourceVersion

        return await self._call(listed)

    async def watch_pods(self, namespace: str, version: str) -> AsyncGenerator[tuple[bool, PodFacts], None]:
        """Yield each change since this version, and whether the pod exists still.

        Ends only by an error: ``ClusterError`` (410: the version has expired), ``ClusterUnavailable``.
        """
        changes = self._client.watch(
            Pod, namespace=namespace, resource_version=version, server_timeout=_WATCH_S
        )
        try:
            async for change, pod in changes:
                yield change != "DELETED", facts_of(pod)
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise self._failure(error) from error

    async def delete_pod(self, name: str, namespace: str, uid: str, grace_s: int) -> None:
        """Delete this pod, with so long to end. One that is gone is success."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        body = {"gracePeriodSeconds": grace_s, "preconditions": {"uid": uid}}

        async def delete() -> None:
            answer = await self._raw.request("DELETE", path, json=body)
            if answer.status_code not in (404, 409):  # gone, or another pod of this name by now
                answer.raise_for_status()

        await self._call(delete)

    async def log_lines(
        self, pod: str, namespace: str, *, follow: bool, previous: bool, since: str
    ) -> AsyncGenerator[tuple[str, str], None]:
        """Yield the time and the text of each line that the pod's first container writes.

        ``since``: the time of the last line that is known; empty: the last thousands of lines.

        Raises ``ClusterError`` (400: it has not started yet) and ``ClusterUnavailable``.
        """
        query = {"timestamps": "true", "follow": str(follow).lower(), "previous": str(previous).lower()}
        query |= {"sinceTime": since} if since else {"tailLines": str(_LINES_MOST)}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        timeout = httpx2.Timeout(TIMEOUT_S, read=None if follow else TIMEOUT_S)
        try:
            async with self._raw.stream("GET", path, params=query, timeout=timeout) as answer:
                if answer.is_error:
                    await answer.aread()
                    answer.raise_for_status()
                async with aclosing(_lines(answer.aiter_bytes())) as lines:
                    async for line in lines:
                        at, _, text = line.partition(" ")
                        yield at, text
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise self._failure(error) from error

    async def failed_creation(self, workload: Workload, namespace: str, since: datetime) -> str | None:
        """Return why a controller lately could not create a pod of the workload (a quota, for one)."""

        async def latest() -> str | None:
            events = self._client.list(Event, namespace=namespace, fields={"reason": "FailedCreate"})
            why, latest_at = None, since
            async for event in events:
                name = (event.involvedObject.name if event.involvedObject is not None else None) or ""
                at = event.lastTimestamp
                # A Deployment's pods are made by its ReplicaSet, whose name goes on with a hash.
                if f"{name}-".startswith(f"{workload.name}-") and at is not None and at >= latest_at:
                    why, latest_at = event.message, at
            return why

        return await self._call(latest)

    # leases

    async def read_lease(self, name: str, namespace: str) -> LeaseRecord | None:
        """Return the Lease; ``None`` where there is none yet."""
        try:
            return _lease_record(await self._once(self._client.get(Lease, name, namespace=namespace)))
        except ClusterError as error:
            if error.code == 404:
                return None
            raise

    async def create_lease(self, record: LeaseRecord, namespace: str) -> LeaseRecord:
        """Create the Lease. Raises ``ClusterError`` (409 where another launcher was first)."""
        made = self._client.create(_lease(record, namespace))
        return _lease_record(await self._once(made))

    async def write_lease(self, record: LeaseRecord, namespace: str) -> LeaseRecord:
        """Replace the Lease. Raises ``ClusterError`` (409 where it has changed meanwhile)."""
        written = self._client.replace(_lease(record, namespace))
        return _lease_record(await self._once(written))

    async def _once(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except httpx2.HTTPError as error:
            raise self._failure(error) from error

    # what the API asks of its clients

    async def _call(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call; again where the server is throttled (429), or another writer was first (409)."""
        for left in reversed(range(_TRIES)):
            try:
                return await call()
            except httpx2.HTTPStatusError as error:
                code = _code(error)
                if code not in (409, 429) or not left:
                    raise self._failure(error) from error
                await asyncio.sleep(_retry_after_s(error) if code == 429 else 0.05)
            except httpx2.HTTPError as error:
                raise self._failure(error) from error
        raise AssertionError("unreachable")

    def _failure(self, error: Exception) -> ClusterError | ClusterUnavailable:
        if isinstance(error, httpx2.HTTPStatusError):
            code, message = _code(error), _message(error)
            if code in (500, 502, 503, 504):
                return ClusterUnavailable(f"the API server at {self.url} says: {message}")
            return ClusterError(code, message)
        return ClusterUnavailable(_unreachable(self.url, error))


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace").rstrip("\r")


@cache
def _resource_class(group: str, version: str, kind: str, plural: str) -> Any:
    builtin = {"Deployment": Deployment, "StatefulSet": StatefulSet}
    if group == "apps" and kind in builtin:
        return builtin[kind]
    return create_namespaced_resource(group, version, kind, plural)


def _resource(workload: Workload) -> Any:
    return _resource_class(workload.group, workload.version, workload.kind, workload.plural)


def _code(error: httpx2.HTTPStatusError) -> int:
    if isinstance(error, ApiError) and error.status is not None and error.status.code:
        return int(error.status.code)
    return int(error.response.status_code) if error.response is not None else 0


def _message(error: httpx2.HTTPStatusError) -> str:
    if isinstance(error, ApiError) and error.status is not None and error.status.message:
        return str(error.status.message)
    try:
        return str(json.loads(error.response.text)["message"])
    except (ValueError, KeyError, TypeError, httpx2.ResponseNotRead):
        return str(error)


def _lease(record: LeaseRecord, namespace: str) -> Lease:
    return Lease(
        metadata=ObjectMeta(name=record.name, namespace=namespace, resourceVersion=record.version),
        spec=LeaseSpec(
            holderIdentity=record.holder,
            renewTime=record.renewed,
            acquireTime=record.acquired,
            leaseDurationSeconds=record.duration_s,
            leaseTransitions=record.transitions,
        ),
    )


def _lease_record(lease: Lease) -> LeaseRecord:
    meta, spec = lease.metadata, lease.spec
    assert meta is not None
    return LeaseRecord(
        name=meta.name or "",
        holder=(spec and spec.holderIdentity) or "",
        renewed=spec.renewTime if spec else None,
        acquired=spec.acquireTime if spec else None,
        duration_s=(spec and spec.leaseDurationSeconds) or 0,
        transitions=(spec and spec.leaseTransitions) or 0,
        version=meta.resourceVersion,
    )


def _retry_after_s(error: httpx2.HTTPStatusError) -> float:
    try:
        return min(float(error.response.headers["Retry-After"]), _RETRY_AFTER_MOST_S)
    except (AttributeError, KeyError, ValueError):
        return 1.0


def _unreachable(url: str, error: Exception) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return f"the API server at {url} does not answer"
    return f"the API server at {url} cannot be reached: {error or type(error).__name__}"
