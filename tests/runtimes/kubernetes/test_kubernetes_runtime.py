"""What a cluster does to workloads, and what the runtime says of it; on a real control plane."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop

from fakes import workloads
from fakes.cluster import Cluster
from hotseat.probing.readiness import until_ready
from hotseat.runtimes.base import FoundRun, Handle, LaunchError, PlacementReport
from hotseat.runtimes.kubernetes import watcher
from hotseat.runtimes.kubernetes.runtime import KubernetesRuntime

pytestmark = pytest.mark.system("etcd", "go", "dpkg-source", "openssl")

PATIENCE_S = 60.0
Story = Callable[[KubernetesRuntime], Awaitable[None]]


@asynccontextmanager
async def opened() -> AsyncIterator[KubernetesRuntime]:
    runtime = KubernetesRuntime()
    await runtime.open()
    try:
        yield runtime
    finally:
        await runtime.close()


def play(story: Story) -> None:
    """Tell a story of an open runtime."""

    async def told() -> None:
        async with opened() as runtime, asyncio.timeout(PATIENCE_S):
            await story(runtime)

    uvloop.run(told())


async def ready(handle: Handle) -> None:
    await until_ready(handle.host, handle.port, "/health")


async def until(true: Callable[[], Any]) -> Any:
    """Wait for what another program does, and return the first true answer."""
    while not (answer := await asyncio.to_thread(true)):  # noqa: ASYNC110 (another program's state)
        await asyncio.sleep(0.02)
    return answer


async def found(runtime: KubernetesRuntime) -> FoundRun:
    async for run in runtime.watch():
        return run
    raise AssertionError


async def placement(runtime: KubernetesRuntime) -> PlacementReport:
    async for report in runtime.placement_reports():
        return report
    raise AssertionError


# reasons


def test_a_container_killed_for_want_of_memory_says_so(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0, notes={"fakes/oom": "yes"}))

    async def story(runtime: KubernetesRuntime) -> None:
        handle = await runtime.start(workloads.model("chat"), 1)
        await ready(handle)
        (pid,) = cluster.survivors()
        os.kill(pid, signal.SIGKILL)
        reason = (await runtime.wait(handle)).reason
        assert reason.oom
        assert reason.summary == "killed: out of host memory (OOMKilled)"
        assert "resources.limits.memory" in (reason.hint or "")
        assert cluster.replicas("deployments", "chat") == 0

    play(story)


def test_a_crash_is_not_started_again_by_the_kubelet(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0, exits_after=0.1, exit_code=7, says=("last words",)))

    async def story(runtime: KubernetesRuntime) -> None:
        end = await runtime.wait(await runtime.start(workloads.model("chat"), 1))
        assert end.reason.exit_code == 7
        assert end.reason.lines.count("last words") == 1
        assert cluster.replicas("deployments", "chat") == 0
        assert cluster.pods() == []

    play(story)


def test_an_image_that_cannot_be_pulled_says_so_and_leaves_nothing(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", notes={"fakes/pull-fails": "manifest unknown"}))

    async def story(runtime: KubernetesRuntime) -> None:
        with pytest.raises(LaunchError) as caught:
            await runtime.start(workloads.model("chat"), 1)
        assert caught.value.reason.summary.startswith("ImagePullBackOff: Back-off pulling image")
        assert not caught.value.reason.permanent
        assert cluster.replicas("deployments", "chat") == 0
        assert cluster.pods() == []

    play(story)


def test_a_slow_pull_is_waited_for(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0, notes={"fakes/pull-s": "1"}))

    async def story(runtime: KubernetesRuntime) -> None:
        handle = await runtime.start(workloads.model("chat"), 1)
        await ready(handle)
        await runtime.stop(handle, 5)

    play(story)


def test_an_evicted_pod_ends_the_run_with_the_reason(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0, notes={"fakes/evict-after-s": "0.3"}))

    async def story(runtime: KubernetesRuntime) -> None:
        end = await runtime.wait(await runtime.start(workloads.model("chat"), 1))
        assert end.reason.summary == "evicted from gpu-1: The node was low on resource: memory."
        assert not end.outside
        assert cluster.replicas("deployments", "chat") == 0
        # The pod stays as a record, and is none of the next run's.
        await until(lambda: [pod["status"]["phase"] for pod in cluster.pods()] == ["Failed"])
        template = {"metadata": {"annotations": {"fakes/evict-after-s": "1000"}}}
        path = "/apis/apps/v1/namespaces/default/deployments/chat"
        cluster.request("PATCH", path, {"spec": {"template": template}}, "application/merge-patch+json")
        again = await runtime.start(workloads.model("chat"), 2)
        await ready(again)
        await runtime.stop(again, 5)
        assert (await runtime.wait(again)).reason.summary == "stopped"

    play(story)


def test_a_quota_is_named(cluster: Cluster) -> None:
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "gpus"},
            "spec": {"hard": {"requests.nvidia.com/gpu": "0"}},
        },
        workloads.workload("chat", start_s=0),
    )

    async def story(runtime: KubernetesRuntime) -> None:
        # The quota's controller must have counted once, or nothing is allowed for another reason.
        path = "/api/v1/namespaces/default/resourcequotas/gpus"
        await until(lambda: cluster.request("GET", path).get("status", {}).get("hard"))
        starting = asyncio.ensure_future(runtime.start(workloads.model("chat"), 4))  # noqa: TID251
        report = await placement(runtime)
        assert (report.model, report.run) == ("chat", 4)
        assert report.reason is not None
        assert "its pod cannot be created" in report.reason.summary
        assert "exceeded quota: gpus" in report.reason.summary
        starting.cancel()
        await asyncio.wait({starting})
        assert cluster.replicas("deployments", "chat") == 0

    play(story)


def test_a_workload_that_is_missing_names_what_writes_it(cluster: Cluster) -> None:
    async def story(runtime: KubernetesRuntime) -> None:
        with pytest.raises(LaunchError) as caught:
            await runtime.start(workloads.model("there-is-none"), 1)
        assert caught.value.reason.permanent
        assert caught.value.reason.summary == "there is no deployment/there-is-none in namespace default"
        assert "hotseat export kubernetes" in (caught.value.reason.hint or "")

    play(story)


def test_a_full_cluster_is_reported_until_there_is_room(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0, gpus=4), workloads.workload("coder", start_s=0))

    async def story(runtime: KubernetesRuntime) -> None:
        first = await runtime.start(workloads.model("coder"), 1)
        starting = asyncio.ensure_future(runtime.start(workloads.model("chat"), 2))  # noqa: TID251
        report = await placement(runtime)
        assert (report.model, report.run) == ("chat", 2)
        assert report.reason is not None
        assert report.reason.summary.startswith("Unschedulable: 0/1 nodes are available")
        assert "Insufficient nvidia.com/gpu" in report.reason.summary
        await runtime.stop(first, 5)
        await ready(await starting)
        while (report := await placement(runtime)).reason is not None:
            pass
        await runtime.stop(await starting, 5)

    play(story)


# others act


def test_a_workload_scaled_by_kubectl_is_found_and_its_stop_is_no_crash(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0))

    async def story(runtime: KubernetesRuntime) -> None:
        assert await runtime.recover({"chat": workloads.model("chat")}) == []
        cluster.scale("deployments", "chat", 1)
        run = await found(runtime)
        assert run.external
        await ready(run.handle)
        cluster.scale("deployments", "chat", 0)
        end = await runtime.wait(run.handle)
        assert end.outside
        assert "scaled to 0" in end.reason.summary
        assert cluster.survivors() == []

    play(story)


def restart(cluster: Cluster, name: str) -> None:
    """Do what ``kubectl rollout restart`` does."""
    notes = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}
    path = f"/apis/apps/v1/namespaces/default/deployments/{name}"
    cluster.request("PATCH", path, {"spec": {"template": notes}}, "application/strategic-merge-patch+json")


def test_a_rollout_moves_the_run_to_its_new_pod(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0.2))

    async def story(runtime: KubernetesRuntime) -> None:
        handle = await runtime.start(workloads.model("chat"), 1)
        await ready(handle)
        before = {pod["metadata"]["name"] for pod in cluster.pods()}
        restart(cluster, "chat")
        await until(lambda: not before & {pod["metadata"]["name"] for pod in cluster.pods()})
        wait = asyncio.ensure_future(runtime.wait(handle))  # noqa: TID251 (a test's own)
        done, _ = await asyncio.wait({wait}, timeout=0.5)
        assert not done, wait
        (address,) = await anext(aiter(runtime.addresses(handle)))
        assert address.host != handle.host
        await until_ready(address.host, address.port, "/health")
        await runtime.stop(handle, 5)
        assert not (await wait).outside
        assert cluster.survivors() == []

    play(story)


def test_the_addresses_of_ready_replicas_are_told(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0))

    async def story(runtime: KubernetesRuntime) -> None:
        handle = await runtime.start(workloads.model("chat"), 1)
        await ready(handle)
        told = runtime.addresses(handle)
        cluster.scale("deployments", "chat", 2)
        two = await anext(aiter(told))
        assert len({one.host for one in two}) == 2
        assert two[0].host == handle.host
        cluster.scale("deployments", "chat", 1)
        (one,) = await anext(aiter(told))
        assert one in two
        await runtime.stop(handle, 5)
        assert [late async for late in told] == []

    play(story)


def test_a_deleted_pod_ends_its_run_and_its_successor_is_found(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0.2))

    async def story(runtime: KubernetesRuntime) -> None:
        handle = await runtime.start(workloads.model("chat"), 1)
        await ready(handle)
        (pod,) = cluster.pods()
        cluster.request("DELETE", f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}")
        end = await runtime.wait(handle)
        assert end.outside
        assert end.reason.summary == "its pod was replaced by another one"
        run = await found(runtime)
        assert run.handle.ident != handle.ident
        await ready(run.handle)
        await runtime.stop(run.handle, 5)

    play(story)


def test_more_replicas_are_left_alone_until_the_model_is_stopped(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0))

    async def story(runtime: KubernetesRuntime) -> None:
        handle = await runtime.start(workloads.model("chat"), 1)
        await ready(handle)
        cluster.scale("deployments", "chat", 3)
        await until(lambda: len(cluster.survivors()) == 3)
        await runtime.recover({"chat": workloads.model("chat")})
        assert cluster.replicas("deployments", "chat") == 3
        await runtime.stop(handle, 5)
        assert cluster.replicas("deployments", "chat") == 0
        assert cluster.survivors() == []

    play(story)


def test_the_crash_of_one_of_several_replicas_is_not_the_end(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0))

    async def story(runtime: KubernetesRuntime) -> None:
        handle = await runtime.start(workloads.model("chat"), 1)
        await ready(handle)
        cluster.scale("deployments", "chat", 2)
        await until(lambda: sum(is_ready(pod) for pod in cluster.pods()) == 2)
        os.kill(cluster.survivors()[0], signal.SIGKILL)
        await until(lambda: any(restarts(pod) for pod in cluster.pods()))
        wait = asyncio.ensure_future(runtime.wait(handle))  # noqa: TID251 (a test's own)
        done, _ = await asyncio.wait({wait}, timeout=0.3)
        assert not done
        assert cluster.replicas("deployments", "chat") == 2
        await runtime.stop(handle, 5)
        await wait

    play(story)


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def restarts(pod: dict[str, Any]) -> int:
    return sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))


def test_a_statefulset_is_scaled_as_a_deployment_is(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", kind="StatefulSet", start_s=0))

    async def story(runtime: KubernetesRuntime) -> None:
        model = workloads.model("chat", kind="statefulset")
        for number in (1, 2):
            handle = await runtime.start(model, number)
            await ready(handle)
            assert cluster.replicas("statefulsets", "chat") == 1
            await runtime.stop(handle, 5)
            assert cluster.survivors() == []

    play(story)


# hotseat comes and goes


def test_a_launch_that_was_cut_short_is_swept_away(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", gpus=99))

    async def story(runtime: KubernetesRuntime) -> None:
        model = workloads.model("chat")
        starting = asyncio.ensure_future(runtime.start(model, 1))  # noqa: TID251 (a test's own)
        await until(cluster.pods)
        async with opened() as later:
            assert await later.recover({"chat": model}) == []
            assert cluster.replicas("deployments", "chat") == 0
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting

    play(story)


def test_what_runs_is_adopted_when_the_api_server_is_back(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0))
    handles: list[Handle] = []

    async def before(runtime: KubernetesRuntime) -> None:
        handles.append(await runtime.start(workloads.model("chat"), 4))
        await ready(handles[0])

    async def after(runtime: KubernetesRuntime) -> None:
        assert await runtime.recover({"chat": workloads.model("chat")}) == []
        assert runtime.unusable() is not None
        await asyncio.to_thread(cluster.start_api_server)
        run = await found(runtime)
        assert run.handle == handles[0]
        assert run.fingerprint == "v1"
        assert not run.external
        await until(lambda: runtime.unusable() is None)
        await runtime.stop(run.handle, 5)

    play(before)
    cluster.kill("kube-apiserver")
    play(after)


def test_a_recovery_does_not_wait_for_a_launch(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", gpus=99))

    async def story(runtime: KubernetesRuntime) -> None:
        model = workloads.model("chat")
        starting = asyncio.ensure_future(runtime.start(model, 1))  # noqa: TID251 (a test's own)
        await until(cluster.pods)
        assert await runtime.recover({"chat": model}) == []  # as a reload does
        assert not starting.done()
        starting.cancel()
        await asyncio.wait({starting})
        assert cluster.replicas("deployments", "chat") == 0

    play(story)


# the cluster is in trouble


def test_a_lost_node_does_not_hold_the_run_for_ever(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "LOST_AFTER_S", 1.0)
    spec = workloads.workload("chat", start_s=0)
    spec["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": "gpu-2"}
    cluster.apply(spec)
    cluster.start_node("gpu-2", 1)

    async def story(runtime: KubernetesRuntime) -> None:
        handle = await runtime.start(workloads.model("chat"), 1)
        await ready(handle)
        cluster.signal("gpu-2", signal.SIGSTOP)
        await runtime.stop(handle, 1)
        end = await runtime.wait(handle)
        assert end.reason.summary == "gone with its node gpu-2, which does not answer"
        (pod,) = cluster.pods()
        assert "deletionTimestamp" in pod["metadata"]
        # It comes back with the pod, and ends it: nothing is found, and the next start is a new run.
        cluster.signal("gpu-2", signal.SIGCONT)
        await until(lambda: not cluster.pods() and not cluster.survivors())
        again = await runtime.start(workloads.model("chat"), 2)
        await ready(again)
        await runtime.stop(again, 5)

    try:
        play(story)
    finally:
        cluster.kill("gpu-2")
        cluster.clear()
        cluster.request("DELETE", "/api/v1/nodes/gpu-2")


def test_an_api_server_that_is_killed_makes_it_unusable_and_ends_no_run(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0), workloads.workload("coder", start_s=0))

    async def story(runtime: KubernetesRuntime) -> None:
        handle = await runtime.start(workloads.model("chat"), 1)
        await ready(handle)
        cluster.kill("kube-apiserver")
        await until(lambda: runtime.unusable() is not None)
        assert "cannot be reached" in (runtime.unusable() or "")
        with pytest.raises(LaunchError):
            await runtime.start(workloads.model("coder"), 1)
        await ready(handle)
        await asyncio.to_thread(cluster.start_api_server)
        await until(lambda: runtime.unusable() is None)
        await runtime.stop(handle, 5)
        assert (await runtime.wait(handle)).reason.summary == "stopped"

    play(story)


def test_an_end_during_an_outage_is_seen_afterwards(cluster: Cluster) -> None:
    cluster.apply(workloads.workload("chat", start_s=0, exits_after=1.0, exit_code=3))

    async def story(runtime: KubernetesRuntime) -> None:
        handle = await runtime.start(workloads.model("chat"), 1)
        await ready(handle)
        cluster.kill("kube-apiserver")
        await until(lambda: not cluster.survivors())
        await asyncio.to_thread(cluster.start_api_server)
        end = await runtime.wait(handle)
        assert end.reason.exit_code == 3

    play(story)


def test_an_api_server_that_is_frozen_is_noticed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "READY_EVERY_S", 0.2)
    cluster.apply(workloads.workload("chat", start_s=0))

    async def story(runtime: KubernetesRuntime) -> None:
        handle = await runtime.start(workloads.model("chat"), 1)
        await ready(handle)
        cluster.signal("kube-apiserver", signal.SIGSTOP)
        try:
            await until(lambda: runtime.unusable() is not None)
            assert "does not answer" in (runtime.unusable() or "")
        finally:
            cluster.signal("kube-apiserver", signal.SIGCONT)
        await until(lambda: runtime.unusable() is None)
        await runtime.stop(handle, 5)

    play(story)
