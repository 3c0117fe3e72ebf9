"""A running hotseat over a real control plane: full clusters, outages, takeovers, a thousand models."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes import workloads
from fakes.cluster import Cluster
from fakes.cluster_hotseat import Clustered
from fakes.hotseat import LIMIT_S, Hotseat
from hotseat.runtimes.kubernetes import leader

pytestmark = pytest.mark.system("etcd", "go", "dpkg-source", "openssl")

POOL = {"devices": {"gpus": 4}}


@contextmanager
def serving(made: Clustered) -> Iterator[Clustered]:
    try:
        yield made.start()  # type: ignore[misc]
        assert made.stop() == 0, made.lines[-5:]
    finally:
        made.sweep()


def one_gpu(*options: str, **terms: Any) -> dict[str, Any]:
    return {"options": list(options), "footprint": 1, **terms}


class Stream:
    """A client that reads a long stream."""

    def __init__(self, hotseat: Hotseat, model: str) -> None:
        self._wire = http.client.HTTPConnection("127.0.0.1", hotseat.port, timeout=LIMIT_S)
        body = json.dumps({"model": model, "messages": [], "stream": True})
        self._wire.request(
            "POST", f"/{model}/v1/chat/completions", body, {"Content-Type": "application/json"}
        )
        self._response = self._wire.getresponse()
        assert self._response.status == 200
        self.first = self._line()
        self._pool = ThreadPoolExecutor(1)
        self._rest = self._pool.submit(self._response.read)

    def _line(self) -> bytes:
        while not (line := self._response.readline()).startswith(b"data:"):
            assert line, "ended without a word"
        return line

    def rest(self) -> bytes:
        """All that came after the first event."""
        try:
            return self._rest.result(LIMIT_S)
        finally:
            self._pool.shutdown()
            self._wire.close()


LONG = ("--tokens", "300", "--token-interval-s", "0.02")


def test_a_full_cluster_unloads_one_quiet_model_more(cluster: Cluster, tmp_path: Path) -> None:
    """Somebody else's pods take GPUs that the budget counts on."""
    models = {name: one_gpu() for name in ("chat", "coder", "late")}
    made = Clustered(
        cluster, tmp_path, models, gpus={"chat": 2, "coder": 1, "late": 2}, gpu=POOL, residency="0s"
    )
    with serving(made) as hotseat:
        assert hotseat.ask("chat").status == 200
        assert hotseat.ask("coder").status == 200
        assert hotseat.ask("late").status == 200
        hotseat.told(lambda line: line["event"] == "no room" and line["model"] == "late")
        assert {hotseat.model("chat")["state"], hotseat.model("coder")["state"]} != {"ready"}


def test_no_room_is_refused_with_the_schedulers_reason(cluster: Cluster, tmp_path: Path) -> None:
    made = Clustered(cluster, tmp_path, {"huge": one_gpu(start_timeout="1s")}, gpus={"huge": 99}, gpu=POOL)
    with serving(made) as hotseat:
        answer = hotseat.ask("huge")
        assert answer.status == 503
        assert answer.error["code"] == "unschedulable"
        assert "Insufficient nvidia.com/gpu" in answer.error["message"]
        hotseat.until("huge", lambda stats: stats["run"] is None)
        assert cluster.replicas("deployments", "huge") == 0


def test_a_node_that_an_autoscaler_adds_is_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    made = Clustered(cluster, tmp_path, {"big": one_gpu()}, gpus={"big": 6}, gpu=POOL)
    try:
        with serving(made) as hotseat, ThreadPoolExecutor(1) as pool:
            answer = pool.submit(hotseat.ask, "big")
            hotseat.told(lambda line: line["event"] == "no room")
            assert hotseat.model("big")["phase"] == "waiting for room"
            cluster.start_node("gpu-9", 8)
            assert answer.result(LIMIT_S).status == 200
    finally:
        if "gpu-9" in cluster.processes:
            cluster.clear()
            cluster.kill("gpu-9")
            cluster.request("DELETE", "/api/v1/nodes/gpu-9")


def test_streams_and_ready_models_outlive_the_api_server(cluster: Cluster, tmp_path: Path) -> None:
    models = {"chat": one_gpu(*LONG), "coder": one_gpu()}
    with serving(Clustered(cluster, tmp_path, models, gpu=POOL)) as hotseat:
        stream = Stream(hotseat, "chat")
        cluster.kill("kube-apiserver")
        hotseat.told(lambda line: line["event"] == "runtime unusable")
        refused = hotseat.ask("coder")
        assert refused.status == 503
        assert refused.error["code"] == "runtime_unavailable"
        assert "the API server at" in refused.error["message"]
        assert hotseat.send("GET", "/readyz").status == 200
        assert stream.rest().endswith(b"data: [DONE]\n\n")
        assert hotseat.ask("chat").status == 200
        cluster.start_api_server()
        hotseat.told(lambda line: line["event"] == "runtime usable")
        assert hotseat.ask("coder").status == 200


def test_requests_are_spread_over_the_replicas_of_an_autoscaler(cluster: Cluster, tmp_path: Path) -> None:
    with serving(Clustered(cluster, tmp_path, {"chat": one_gpu("--service-s", "0.3")}, gpu=POOL)) as hotseat:
        assert hotseat.ask("chat").status == 200
        cluster.scale("deployments", "chat", 3)
        hotseat.told(lambda line: line["event"] == "addresses changed" and line["replicas"] == 3)
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(lambda _: hotseat.ask("chat"), range(6)))
        pids = [answer.pid for answer in answers]
        assert sorted(pids.count(pid) for pid in set(pids)) == [2, 2, 2]
        assert cluster.replicas("deployments", "chat") == 3


def test_a_restarted_hotseat_adopts_what_runs(cluster: Cluster, tmp_path: Path) -> None:
    with serving(Clustered(cluster, tmp_path, {"chat": one_gpu()}, gpu=POOL)) as hotseat:
        pid = hotseat.ask("chat").pid
        hotseat.kill()
        hotseat.start()
        assert hotseat.ask("chat").pid == pid
        assert hotseat.model("chat")["starts"] == 0


# several launchers


@pytest.fixture
def launchers(cluster: Cluster, tmp_path: Path) -> Iterator[tuple[Clustered, Clustered]]:
    """Two launchers that share a Lease; the first one leads."""
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(
            Clustered(
                cluster, tmp_path / name, {"chat": one_gpu(*LONG)}, gpu=POOL, lease="hotseat", on_exit="leave"
            )
        )
    first, second = made
    with ExitStack() as stack:
        for one in made:
            stack.callback(one.sweep)
        stack.callback(remove_lease, cluster)
        first.start()
        yield first, second


def remove_lease(cluster: Cluster) -> None:
    cluster.request("DELETE", "/apis/coordination.k8s.io/v1/namespaces/default/leases/hotseat")


def stand_by(second: Clustered, port: int) -> threading.Thread:
    """Start it beside the leader; the thread ends when it leads."""
    second.port = port
    starting = threading.Thread(target=second.start)
    starting.start()
    second.told(lambda line: line["event"] == "standing by")
    return starting


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def test_a_standby_lives_and_is_not_ready(launchers: tuple[Clustered, Clustered]) -> None:
    first, second = launchers
    starting = stand_by(second, free_port())
    assert first.send("GET", "/readyz").status == 200
    assert second.send("GET", "/health").status == 200
    assert second.send("GET", "/readyz").status == 503
    refused = second.ask("chat")
    assert refused.status == 503
    assert refused.error["code"] == "standby"
    assert int(refused.headers["retry-after"]) >= 1
    first.kill()
    starting.join(LIMIT_S)
    assert second.send("GET", "/readyz").status == 200


def test_the_lease_of_a_dead_leader_is_taken_within_15_s() -> None:
    assert leader.DURATION_S + leader.ATTEMPT_EVERY_S < 15
    assert leader.RENEW_EVERY_S * 4 < leader.DURATION_S  # some renewals may fail


def test_a_killed_leader_is_replaced_and_its_models_are_adopted(
    launchers: tuple[Clustered, Clustered],
) -> None:
    first, second = launchers
    starting = stand_by(second, free_port())
    pid = first.ask("chat").pid
    first.kill()
    starting.join(LIMIT_S)
    answer = second.ask("chat")
    assert answer.status == 200
    assert answer.pid == pid
    assert second.model("chat")["starts"] == 0


def test_a_leader_that_is_told_to_go_hands_over_and_ends_its_streams_whole(
    launchers: tuple[Clustered, Clustered],
) -> None:
    first, second = launchers
    starting = stand_by(second, free_port())
    stream = Stream(first, "chat")
    assert first.process is not None
    first.process.terminate()
    starting.join(LIMIT_S)
    assert second.send("GET", "/readyz").status == 200  # while the old one still streams
    assert first.process.poll() is None
    assert second.model("chat")["state"] in ("starting", "ready")
    rest = stream.rest()
    assert rest.endswith(b"data: [DONE]\n\n")
    assert rest.count(b'"delta"') + 1 >= 300
    assert first.exit_status() == 0


# many


def test_a_thousand_models_are_known_within_seconds(cluster: Cluster, tmp_path: Path) -> None:
    names = [f"model-{number}" for number in range(1000)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: cluster.apply(workloads.workload(name, gpus=0)), names))
    made = Clustered(
        cluster, tmp_path, {name: one_gpu() for name in names}, missing=frozenset(names), gpu=POOL
    )
    with serving(made) as hotseat:
        assert hotseat.ask("model-500").status == 200
        assert hotseat.ask("model-999").status == 200
        assert (
            sum(one["state"] == "ready" for one in hotseat.send("GET", "/stats").json["models"].values()) == 2
        )
