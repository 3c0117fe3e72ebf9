"""A node for tests: registers itself with any number of GPUs; its pods are processes on addresses of 127/8.

It does what the runtime can see of a kubelet: the container's states and restarts, readiness probes,
events, graceful deletion, and the log endpoint. Run as a program, one process a node. Faults are
annotations of a pod:

- ``fakes/pull-s``: how long the pull of its image takes
- ``fakes/pull-fails``: why it cannot be pulled (ImagePullBackOff)
- ``fakes/oom``: an end by SIGKILL is one for want of memory (OOMKilled)
- ``fakes/evict-after-s``: evicted so long after its start

A node is lost when its process is killed, and frozen when it is stopped with ``SIGSTOP``.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError
from lightkube.models.core_v1 import Container
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Event, Node, Pod
from lightkube.types import PatchType

MARK = "HOTSEAT_TEST_POD"
_RESTART_S = 0.5
"""The first pause before a container is started again; doubled with each further one."""


def marked(mark: str) -> list[int]:
    """Return the processes that have this in their environment (``NAME=VALUE``)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _now_precise() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class ContainerLog:
    """What one start of a container wrote."""

    def __init__(self, before: ContainerLog | None) -> None:
        self.lines: list[tuple[bytes, bytes]] = []
        """Time and text."""
        self.over = False
        self.before = before
        self._latest_ns = 0
        self._changed = asyncio.Condition()

    async def read(self, out: asyncio.StreamReader) -> None:
        """Collect lines until the container closes its output."""
        while line := await out.readline():
            at = max(time.time_ns(), self._latest_ns + 1)
            self._latest_ns = at
            stamp = datetime.datetime.fromtimestamp(at // 10**9, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
            text = line if line.endswith(b"\n") else line + b"\n"
            self.lines.append((f"{stamp}.{at % 10**9:09}Z".encode(), text))
            await self._tell()
        self.over = True
        await self._tell()

    async def more(self, count: int) -> None:
        """Return when there are more lines than these, or there will be none."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.over or len(self.lines) > count)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class PodOnNode:
    """One pod on this node: its process and what is known of it."""

    def __init__(self, pod: Pod, ip: str) -> None:
        self.pod, self.ip = pod, ip
        self.process: asyncio.subprocess.Process | None = None
        self.life: asyncio.Task[None] | None = None
        self.ending = False
        self.grace_s = 0
        self.hurry = asyncio.Event()
        self.log: ContainerLog | None = None
        self.restarts = 0

    @property
    def container(self) -> Container:
        """Its only container."""
        container: Container = self.pod.spec.containers[0]
        return container

    def fault(self, name: str) -> str | None:
        """Return the value of a fault, if the pod has it."""
        value: str | None = (self.pod.metadata.annotations or {}).get(f"fakes/{name}")
        return value

    def kill(self, number: int) -> None:
        """Signal all of its processes."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


class Kubelet:
    """One node."""

    def __init__(self, client: AsyncClient, name: str, gpus: int, mark: str) -> None:
        self.client, self.name, self.gpus, self.mark = client, name, gpus, mark
        self.pods: dict[str, PodOnNode] = {}
        self.by_name: dict[tuple[str, str], PodOnNode] = {}
        self.port = 0
        self._ip = 0
        self._block = sum(name.encode()) % 100 + 100
        self._tasks: set[asyncio.Task[Any]] = set()

    def _start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self) -> None:
        """Register the node and run its pods until the process ends."""
        server = await asyncio.start_server(self._serve_log, "127.0.0.1", 0, ssl=_certificate())
        self.port = server.sockets[0].getsockname()[1]
        await self._register()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._heartbeat())
            group.create_task(self._watch())

    async def _register(self) -> None:
        capacity = {"cpu": "64", "memory": "512Gi", "pods": "2000", "ephemeral-storage": "1Ti"}
        capacity["nvidia.com/gpu"] = str(self.gpus)
        labels = {"kubernetes.io/hostname": self.name}
        lease = {"metadata": {"name": self.name, "namespace": "kube-node-lease"}, "spec": self._lease()}
        for one in (
            Node.from_dict({"metadata": {"name": self.name, "labels": labels}}),
            Lease.from_dict(lease),
        ):
            while True:
                try:
                    await self.client.create(one)
                except ApiError as error:
                    if (
                        error.status.code == 404
                    ):  # the namespace of the leases is made by the API server, later
                        await asyncio.sleep(0.1)
                        continue
                    if error.status.code != 409:
                        raise
                break
        status = {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [_condition("Ready", True)],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
        }
        await self.client.patch(Node.Status, self.name, {"status": status}, patch_type=PatchType.MERGE)

    def _lease(self) -> dict[str, Any]:
        return {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": _now_precise()}

    async def _heartbeat(self) -> None:
        while True:
            with suppress(ApiError, httpx2.HTTPError):
                ready = {"conditions": [_condition("Ready", True)]}
                await self.client.patch(
                    Node.Status, self.name, {"status": ready}, patch_type=PatchType.STRATEGIC
                )
                spec = {"spec": self._lease()}
                await self.client.patch(
                    Lease, self.name, spec, namespace="kube-node-lease", patch_type=PatchType.MERGE
                )
            await asyncio.sleep(1)

    async def _watch(self) -> None:
        mine = {"spec.nodeName": self.name}
        while True:
            with suppress(ApiError, httpx2.HTTPError):
                listed = self.client.list(Pod, namespace="*", fields=mine)
                known = set()
                async for pod in listed:
                    known.add(pod.metadata.uid)
                    self._seen(pod)
                for uid in [*self.pods.keys() - known]:
                    self._gone(uid)
                async for op, pod in self.client.watch(
                    Pod, namespace="*", fields=mine, resource_version=listed.resourceVersion
                ):
                    if op == "DELETED":
                        self._gone(pod.metadata.uid)
                    else:
                        self._seen(pod)
            await asyncio.sleep(0.1)

    def _seen(self, pod: Pod) -> None:
        uid, leaving = pod.metadata.uid, pod.metadata.deletionTimestamp is not None
        known = self.pods.get(uid)
        if known is None:
            self._ip += 1
            known = PodOnNode(pod, f"127.{self._block}.{self._ip // 250 % 250}.{self._ip % 250 + 1}")
            self.pods[uid] = self.by_name[pod.metadata.namespace, pod.metadata.name] = known
            if not leaving:
                known.life = self._start(self._live(known))
        if leaving:
            grace_s = pod.metadata.deletionGracePeriodSeconds or 0
            if not known.ending:
                known.ending, known.grace_s = True, grace_s
                self._start(self._end(known))
            elif grace_s < known.grace_s:
                known.grace_s = grace_s
                known.hurry.set()

    def _gone(self, uid: str) -> None:
        known = self.pods.pop(uid, None)
        if known is not None:
            if known.life is not None:
                known.life.cancel()
            known.kill(signal.SIGKILL)

    async def _status(self, known: PodOnNode, **status: Any) -> None:
        meta = known.pod.metadata
        body = {"metadata": {"uid": meta.uid}, "status": status}
        while True:
            try:
                await self.client.patch(
                    Pod.Status, meta.name, body, namespace=meta.namespace, patch_type=PatchType.MERGE
                )
                return
            except ApiError as error:
                if error.status.code in (404, 409):
                    return
            except httpx2.HTTPError:
                pass  # the API server is away
            await asyncio.sleep(0.1)

    async def _event(self, known: PodOnNode, reason: str, message: str) -> None:
        meta = known.pod.metadata
        whom = {
            "kind": "Pod",
            "apiVersion": "v1",
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
        }
        event = {
            "metadata": {"generateName": f"{meta.name}.", "namespace": meta.namespace},
            "involvedObject": whom,
            "reason": reason,
            "message": message,
            "type": "Warning",
            "firstTimestamp": _now(),
            "lastTimestamp": _now(),
            "count": 1,
            "source": {"component": "kubelet", "host": self.name},
        }
        with suppress(ApiError, httpx2.HTTPError):
            await self.client.create(Event.from_dict(event), namespace=meta.namespace)

    async def _live(self, known: PodOnNode) -> None:
        """Pull the image, then run the container, and again when it ends."""
        container = known.container
        base: dict[str, Any] = {"name": container.name, "image": container.image, "imageID": ""}
        base |= {"ready": False, "restartCount": 0, "started": False}
        if (pull_s := known.fault("pull-s")) is not None:
            waiting = {"waiting": {"reason": "ContainerCreating"}}
            await self._status(
                known,
                phase="Pending",
                conditions=_conditions(False),
                containerStatuses=[{**base, "state": waiting}],
            )
            await asyncio.sleep(float(pull_s))
        if (why := known.fault("pull-fails")) is not None:
            await self._event(known, "Failed", f'Failed to pull image "{container.image}": {why}')
            back_off = f'Back-off pulling image "{container.image}"'
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": back_off}}
            await self._status(
                known,
                phase="Pending",
                conditions=_conditions(False),
                containerStatuses=[{**base, "state": waiting}],
            )
            return
        base["imageID"] = container.image
        pause_s, last = _RESTART_S, {}
        while True:
            code = await self._run_container(known, base, last)
            if known.ending:
                return
            reason = "OOMKilled" if code == 137 and known.fault("oom") else "Error" if code else "Completed"
            ended = {"exitCode": code, "reason": reason, "startedAt": _now(), "finishedAt": _now()}
            last = {"terminated": ended}
            await self._status(
                known,
                conditions=_conditions(False),
                containerStatuses=[{**base, "state": last, "lastState": {}}],
            )
            known.restarts += 1
            base["restartCount"] = known.restarts
            await asyncio.sleep(pause_s)
            pause_s *= 2

    async def _run_container(self, known: PodOnNode, base: dict[str, Any], last: dict[str, Any]) -> int:
        container, ip = known.container, known.ip
        name, value = self.mark.split("=", 1)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {"PATH": path, "POD_IP": ip, name: value}
        env |= {one.name: one.value or "" for one in container.env or []}
        command = [
            word.replace("$(POD_IP)", ip) for word in [*(container.command or []), *(container.args or [])]
        ]
        process = await asyncio.create_subprocess_exec(
            *command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            limit=1 << 20,
        )
        known.process = process
        known.log = ContainerLog(known.log)
        assert process.stdout is not None
        reading = self._start(known.log.read(process.stdout))
        if known.ending:  # told to end while it was being started
            known.kill(signal.SIGTERM)
        running = {**base, "state": {"running": {"startedAt": _now()}}, "lastState": last, "started": True}
        ready = False
        await self._status(
            known,
            phase="Running",
            podIP=ip,
            podIPs=[{"ip": ip}],
            hostIP="127.0.0.1",
            startTime=_now(),
            conditions=_conditions(False),
            containerStatuses=[{**running, "ready": False}],
        )
        started = asyncio.get_running_loop().time()
        dead = self._start(process.wait())
        while not dead.done():
            passed = await self._probe(container, ip)
            if passed != ready and not dead.done():
                ready = passed
                await self._status(
                    known, conditions=_conditions(ready), containerStatuses=[{**running, "ready": ready}]
                )
            evict_s = known.fault("evict-after-s")
            if evict_s is not None and asyncio.get_running_loop().time() > started + float(evict_s):
                await self._evict(known, base)
            await asyncio.wait({dead}, timeout=1.0 if ready else 0.1)
        await reading
        code = process.returncode or 0
        return code if code >= 0 else 128 - code

    async def _evict(self, known: PodOnNode, base: dict[str, Any]) -> None:
        known.ending = True
        message = "The node was low on resource: memory."
        await self._event(known, "Evicted", message)
        known.kill(signal.SIGKILL)
        assert known.process is not None
        await known.process.wait()
        ended = {
            "terminated": {"exitCode": 137, "reason": "Error", "startedAt": _now(), "finishedAt": _now()}
        }
        await self._status(
            known,
            phase="Failed",
            reason="Evicted",
            message=message,
            conditions=_conditions(False),
            containerStatuses=[{**base, "state": ended}],
        )

    async def _probe(self, container: Container, ip: str) -> bool:
        probe = container.readinessProbe
        if probe is None or probe.httpGet is None:
            return True
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(ip, _port(container, probe.httpGet.port))
                writer.write(f"GET {probe.httpGet.path} HTTP/1.0\r\n\r\n".encode())
                line = await reader.readline()
                writer.close()
                return b" 200" in line
        except (OSError, TimeoutError):
            return False

    async def _end(self, known: PodOnNode) -> None:
        """Ask the container to end, wait for its grace, force it, and let go of the pod."""
        process = known.process
        if known.life is not None and process is None:
            known.life.cancel()  # its image is still being pulled
        if process is not None:
            clock = asyncio.get_running_loop().time
            began, dead = clock(), self._start(process.wait())
            known.kill(signal.SIGTERM)
            while not dead.done() and clock() - began < known.grace_s:
                known.hurry.clear()
                hurry = self._start(known.hurry.wait())
                left_s = max(0.0, known.grace_s - (clock() - began))
                await asyncio.wait({dead, hurry}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
                hurry.cancel()
            known.kill(signal.SIGKILL)
            await dead
            code = process.returncode or 0
            code = code if code >= 0 else 128 - code
            ended = {"exitCode": code, "reason": "Error" if code else "Completed"}
            ended |= {"startedAt": _now(), "finishedAt": _now()}
            container = known.container
            status = {"name": container.name, "image": container.image, "imageID": container.image}
            status |= {"restartCount": known.restarts, "ready": False, "started": False}
            status["state"] = {"terminated": ended}
            await self._status(known, containerStatuses=[status])
        meta = known.pod.metadata
        while True:
            try:
                await self.client.delete(Pod, meta.name, namespace=meta.namespace, grace_period=0)
                return
            except ApiError as error:
                if error.status.code == 404:
                    return
            except httpx2.HTTPError:
                pass
            await asyncio.sleep(0.1)

    async def _serve_log(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            target = (await reader.readline()).decode().split()[1]
            while (await reader.readline()).strip():
                pass
            await self._write_log(target, writer)
        writer.close()

    async def _write_log(self, target: str, writer: asyncio.StreamWriter) -> None:
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        _, _, namespace, pod, _ = url.path.split("/")
        known = self.by_name.get((namespace, pod))
        book = known.log if known is not None else None
        if query.get("previous") == "true" and book is not None:
            book = book.before
        if book is None:
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n")
        writer.write(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n")
        at = max(0, len(book.lines) - int(query["tailLines"])) if "tailLines" in query else 0
        while True:
            while at < len(book.lines):
                stamp, line = book.lines[at]
                at += 1
                if stamp.decode() < query.get("sinceTime", ""):
                    continue
                if query.get("timestamps") == "true":
                    line = stamp + b" " + line
                writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            await writer.drain()
            if query.get("follow") != "true" or book.over:
                break
            await book.more(at)
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _port(container: Container, port: int | str) -> int:
    """The number of a port that may be given by its name."""
    named = {one.name: one.containerPort for one in container.ports or []}
    return int(named.get(str(port), port))


def _condition(kind: str, status: bool) -> dict[str, str]:
    return {"type": kind, "status": str(status), "reason": "Test", "message": "", "lastHeartbeatTime": _now(),
            "lastTransitionTime": _now()}  # fmt: skip


def _conditions(ready: bool) -> list[dict[str, str]]:
    states = {"Initialized": True, "Ready": ready, "ContainersReady": ready, "PodScheduled": True}
    return [
        {"type": kind, "status": str(status), "lastTransitionTime": _now()} for kind, status in states.items()
    ]


def _certificate() -> ssl.SSLContext:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kubelet",
             "-keyout", f"{folder}/key", "-out", f"{folder}/cert"],
            check=True, capture_output=True,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{folder}/cert", f"{folder}/key")
        return context


async def main(config: str, name: str, gpus: str, mark: str) -> None:
    """Be the node of this name."""
    client = AsyncClient(config=KubeConfig.from_file(config))
    await Kubelet(client, name, int(gpus), mark).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
