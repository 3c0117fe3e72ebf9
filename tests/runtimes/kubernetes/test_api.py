"""What the API asks of its clients: throttling, conflicts, expired versions, watches that hang."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from hotseat.runtimes.kubernetes import api
from hotseat.runtimes.kubernetes.api import Cluster
from hotseat.runtimes.kubernetes.errors import ClusterError, ClusterUnavailable
from hotseat.runtimes.kubernetes.watcher import PodWatcher
from hotseat.runtimes.kubernetes.workload import parse_workload

CHAT = parse_workload("chat")
SCALE = {
    "kind": "Scale",
    "apiVersion": "autoscaling/v1",
    "metadata": {"name": "chat"},
    "spec": {"replicas": 1},
}
Reply = tuple[int, dict[str, str], Any]


def status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}


def pod(name: str) -> dict[str, Any]:
    meta = {"name": name, "uid": f"uid-{name}", "resourceVersion": "7", "labels": {"app": "chat"}}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta, "spec": {"containers": [{"name": "server"}]}}


def pods(*names: str) -> Reply:
    found = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}}
    return 200, {}, {**found, "items": [pod(name) for name in names]}


class ScriptedServer:
    """An API server that says what it is told; ``None`` as a body: nothing more, and the connection stays."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answer: Callable[[str, int], Reply] = lambda call, count: (404, {}, status(404, "not found"))
        self.closing = threading.Event()
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def respond(self) -> None:
                self.rfile.read(int(self.headers.get("content-length") or 0))
                watching = "watch=true" in self.path
                call = f"{'WATCH' if watching else self.command} {self.path.partition('?')[0]}"
                scripted.calls.append(call)
                code, headers, body = scripted.answer(call, scripted.calls.count(call))
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                if body is None:
                    self.send_header("transfer-encoding", "chunked")
                    self.end_headers()
                    scripted.closing.wait(30)
                    return
                text = json.dumps(body).encode() + b"\n"
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = respond  # noqa: N815

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    made = ScriptedServer()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "llm"}}],
        "clusters": [{"name": "c", "cluster": {"server": made.url}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    thread = threading.Thread(target=made.server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    yield made
    made.closing.set()
    made.server.shutdown()
    made.server.server_close()


def play(story: Callable[[Cluster], Any]) -> None:
    async def told() -> None:
        cluster = Cluster()
        try:
            async with asyncio.timeout(20):
                await story(cluster)
        finally:
            await cluster.close()

    asyncio.run(told())


@pytest.mark.parametrize(("code", "headers"), [(429, {"Retry-After": "0"}), (409, {})])
def test_a_call_is_made_again_when_the_server_asks_for_it(
    server: ScriptedServer, code: int, headers: dict[str, str]
) -> None:
    server.answer = lambda call, count: (
        (code, headers, status(code, "later")) if count < 3 else (200, {}, SCALE)
    )

    async def story(cluster: Cluster) -> None:
        await cluster.set_scale(CHAT, "llm", 1)

    play(story)
    assert server.calls == ["PATCH /apis/apps/v1/namespaces/llm/deployments/chat/scale"] * 3


def test_a_server_that_throttles_for_ever_is_given_up(server: ScriptedServer) -> None:
    server.answer = lambda call, count: (429, {"Retry-After": "0"}, status(429, "too many requests"))

    async def story(cluster: Cluster) -> None:
        with pytest.raises(ClusterError, match="too many requests"):
            await cluster.set_scale(CHAT, "llm", 1)

    play(story)
    assert len(server.calls) == 6


def test_a_refusal_is_not_repeated(server: ScriptedServer) -> None:
    server.answer = lambda call, count: (403, {}, status(403, 'deployments "chat" is forbidden'))

    async def story(cluster: Cluster) -> None:
        with pytest.raises(ClusterError, match="is forbidden") as caught:
            await cluster.scale_of(CHAT, "llm")
        assert caught.value.code == 403

    play(story)
    assert len(server.calls) == 1


def test_a_server_in_trouble_is_unavailable(server: ScriptedServer) -> None:
    server.answer = lambda call, count: (503, {}, status(503, "etcd is away"))

    async def story(cluster: Cluster) -> None:
        with pytest.raises(ClusterUnavailable, match="etcd is away"):
            await cluster.scale_of(CHAT, "llm")
        with pytest.raises(ClusterUnavailable, match="is not ready"):
            await cluster.check_ready()

    play(story)


def gone(call: str) -> Reply:
    return 200, {}, {"type": "ERROR", "object": status(410, "too old resource version")}


def test_an_expired_version_leads_to_a_new_list_at_once(server: ScriptedServer) -> None:
    def answer(call: str, count: int) -> Reply:
        if call.startswith("WATCH"):
            return gone(call) if count == 1 else (200, {}, None)
        return pods("chat-1") if count == 1 else pods("chat-2")

    server.answer = answer

    async def story(cluster: Cluster) -> None:
        watcher = PodWatcher(cluster)
        try:
            store = await watcher.watch_namespace("llm")
            while "uid-chat-2" not in store.pods:  # noqa: ASYNC110 (another program's state)
                await asyncio.sleep(0.01)
            assert list(store.pods) == ["uid-chat-2"]
            assert watcher.unusable_reason is None
        finally:
            await watcher._tasks.close()

    play(story)


def test_a_watch_that_hangs_is_noticed_and_the_pods_are_listed_again(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "WATCH_DEADLINE_S", 0.1)
    server.answer = lambda call, count: (200, {}, None) if call.startswith("WATCH") else pods(f"chat-{count}")

    async def story(cluster: Cluster) -> None:
        watcher = PodWatcher(cluster)
        try:
            store = await watcher.watch_namespace("llm")
            while "uid-chat-3" not in store.pods:  # noqa: ASYNC110 (another program's state)
                await asyncio.sleep(0.01)
        finally:
            await watcher._tasks.close()

    play(story)


def test_missing_rights_name_the_role(server: ScriptedServer) -> None:
    server.answer = lambda call, count: (403, {}, status(403, "pods is forbidden"))

    async def story(cluster: Cluster) -> None:
        watcher = PodWatcher(cluster)
        try:
            await watcher.watch_namespace("llm")
            assert "pods is forbidden" in (watcher.unusable_reason or "")
            assert "The launcher's Role must allow pods to be listed" in (watcher.unusable_reason or "")
        finally:
            await watcher._tasks.close()

    play(story)


def test_no_cluster_at_all_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "there-is-none"))
    with pytest.raises(ClusterUnavailable, match="no cluster is configured"):
        Cluster()
