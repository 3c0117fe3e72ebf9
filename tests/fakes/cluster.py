"""A real Kubernetes control plane on loopback: etcd, API server, scheduler and controller manager.

``scripts/kubernetes.sh`` builds the programs. Nodes are ``fakes.kubelet``, one process each, so that a node
can be lost (``kill``) or frozen (``SIGSTOP``) by itself.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from fakes import kubelet

ROOT = Path(__file__).parents[2]
_DATA_BYTES = 2 << 30
_UP_S = 90.0
"""Generous: on a busy machine the API server takes 10 s."""


def programs() -> Path:
    """Return the folder of the built programs; builds them where they are missing, which takes minutes."""
    script = ROOT / "scripts" / "kubernetes.sh"
    made = subprocess.run([str(script)], check=True, stdout=subprocess.PIPE, text=True)
    return Path(made.stdout.strip().splitlines()[-1])


class Cluster:
    """One control plane with its nodes; ``with Cluster() as cluster`` starts it and takes all of it away."""

    def __init__(self, **nodes: int) -> None:
        """``nodes``: GPUs by node name; ``gpu_1`` becomes ``gpu-1``."""
        # etcd waits for the disk with every write; a container's own /dev/shm may be too small for it.
        memory = Path("/dev/shm")
        roomy = memory.is_dir() and shutil.disk_usage(memory).free > _DATA_BYTES
        self.folder = Path(tempfile.mkdtemp(prefix="hotseat-cluster-", dir=memory if roomy else None))
        self.mark = f"{kubelet.MARK}={self.folder.name}"
        """In the environment of every process of a pod."""
        self.port, self._etcd = _free_port(), _free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.token = secrets.token_hex(8)
        self._nodes = {name.replace("_", "-"): gpus for name, gpus in nodes.items()}
        self._programs = programs()
        self._tls: ssl.SSLContext | None = None
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        try:
            self._make_certificates()
            self._start_etcd()
            self.start_api_server()
            self._start_controllers()
            for name, gpus in self._nodes.items():
                self.start_node(name, gpus)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    # what tests do with it

    def request(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        """One call of the API with full rights. Raises ``urllib.error.HTTPError``."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", kind)
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        with urllib.request.urlopen(request, timeout=20, context=self._tls) as answer:
            text = answer.read()
        return json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create each object, or replace what has its name."""
        for one in objects:
            path = collection(one)
            try:
                self.request("POST", path, one)
            except urllib.error.HTTPError as error:
                if error.code != 409:
                    raise AssertionError(error.read().decode()) from error
                self.request(
                    "PATCH", f"{path}/{one['metadata']['name']}", one, "application/merge-patch+json"
                )

    def scale(self, kind: str, name: str, replicas: int) -> None:
        """Do what ``kubectl scale`` does."""
        path = f"/apis/apps/v1/namespaces/default/{kind}/{name}/scale"
        self.request("PATCH", path, {"spec": {"replicas": replicas}}, "application/merge-patch+json")

    def replicas(self, kind: str, name: str) -> int:
        """Return how many replicas are wanted."""
        found = self.request("GET", f"/apis/apps/v1/namespaces/default/{kind}/{name}/scale")
        return int(found["spec"].get("replicas", 0))

    def pods(self, selector: str = "") -> list[dict[str, Any]]:
        """Return the pods of the namespace ``default``."""
        query = f"?labelSelector={selector}" if selector else ""
        found: list[dict[str, Any]] = self.request("GET", f"/api/v1/namespaces/default/pods{query}")["items"]
        return found

    def survivors(self) -> list[int]:
        """Return the processes of all pods."""
        return kubelet.marked(self.mark)

    def kubeconfig(self, user: str = "system:masters", token: str | None = None) -> Path:
        """Write a kubeconfig for this user, and return its path."""
        path = self.folder / f"kubeconfig-{user.replace(':', '-')}"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                    "clusters": [
                        {
                            "name": "test",
                            "cluster": {
                                "server": self.url,
                                "certificate-authority": str(self.folder / "ca.crt"),
                            },
                        }
                    ],
                    "users": [{"name": "test", "user": {"token": token or self.token}}],
                }
            ),
            encoding="utf-8",
        )
        return path

    def clear(self) -> None:
        """Delete all workloads and pods of the namespace ``default``, processes included."""
        now = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        for kind in ("apps/v1/namespaces/default/deployments", "apps/v1/namespaces/default/statefulsets"):
            self.request("DELETE", f"/apis/{kind}", now)
        for kind in ("resourcequotas", "pods"):
            self.request("DELETE", f"/api/v1/namespaces/default/{kind}", now)
        deadline = time.monotonic() + 30
        while self.pods() or self.survivors():
            if time.monotonic() > deadline:
                raise TimeoutError(f"pods left: {[one['metadata']['name'] for one in self.pods()]}")
            for one in self.pods():  # controllers may have made another one meanwhile
                self.request("DELETE", f"/api/v1/namespaces/default/pods/{one['metadata']['name']}", now)
            time.sleep(0.05)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a component or node: ``SIGSTOP`` freezes it, ``SIGCONT`` lets it go on."""
        self.processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """Kill a component or node without warning."""
        self.processes[name].kill()
        self.processes[name].wait()

    # components

    def _spawn(self, name: str, *argv: object, env: dict[str, str] | None = None) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=env,
            )

    def _start_etcd(self) -> None:
        peers = f"http://127.0.0.1:{_free_port()}"
        clients = f"http://127.0.0.1:{self._etcd}"
        self._spawn(
            "etcd", "etcd", "--data-dir", self.folder / "etcd",
            "--listen-client-urls", clients, "--advertise-client-urls", clients,
            "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
            "--initial-cluster", f"default={peers}", "--log-level", "warn",
        )  # fmt: skip

    def start_api_server(self) -> None:
        """Start the API server and wait until it is ready."""
        folder = self.folder
        self._spawn(
            "kube-apiserver", self._programs / "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            f"--secure-port={self.port}", "--bind-address=127.0.0.1", "--advertise-address=10.254.0.1",
            f"--tls-cert-file={folder}/api.crt", f"--tls-private-key-file={folder}/api.key",
            f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={folder}/sa.key",
            f"--service-account-key-file={folder}/sa.key",
            "--disable-admission-plugins=ServiceAccount", f"--cert-dir={folder}/certs",
        )  # fmt: skip
        deadline = time.monotonic() + _UP_S
        while True:
            if self.processes["kube-apiserver"].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((folder / "kube-apiserver.log").read_text(errors="replace")[-3000:])
            try:
                if self.request("GET", "/readyz") == "ok":
                    return
            except OSError:
                time.sleep(0.05)

    def _start_controllers(self) -> None:
        config = self.kubeconfig()
        self._spawn(
            "kube-scheduler", self._programs / "kube-scheduler", f"--kubeconfig={config}",
            "--leader-elect=false", "--port=0", f"--secure-port={_free_port()}", "--bind-address=127.0.0.1",
        )  # fmt: skip
        controllers = (
            "deployment,replicaset,statefulset,endpoint,garbagecollector,nodelifecycle,namespace,podgc,"
        )
        controllers += "resourcequota"
        self._spawn(
            "kube-controller-manager", self._programs / "kube-controller-manager", f"--kubeconfig={config}",
            "--leader-elect=false", "--port=0", f"--secure-port={_free_port()}", "--bind-address=127.0.0.1",
            f"--controllers={controllers}", f"--service-account-private-key-file={self.folder}/sa.key",
            "--node-monitor-period=1s", "--node-monitor-grace-period=4s", "--kube-api-qps=200",
            "--kube-api-burst=400", "--concurrent-deployment-syncs=20", "--concurrent-replicaset-syncs=20",
        )  # fmt: skip

    def start_node(self, name: str, gpus: int) -> None:
        """Start a node, and wait until pods can be placed on it."""
        env = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
        self._spawn(
            name, sys.executable, "-m", "fakes.kubelet", self.kubeconfig(), name, gpus, self.mark, env=env
        )
        deadline = time.monotonic() + _UP_S
        while not self.node_ready(name):
            if self.processes[name].poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / f"{name}.log").read_text(errors="replace")[-3000:])
            time.sleep(0.05)

    def node_ready(self, name: str) -> bool:
        """Return whether the node is ready, and nothing is kept off it."""
        try:
            node = self.request("GET", f"/api/v1/nodes/{name}")
        except urllib.error.HTTPError:
            return False
        conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", ())}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")

    def remove(self) -> None:
        """End everything and remove the folder."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in self.processes.values():
            process.wait()
        for pid in self.survivors():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        shutil.rmtree(self.folder, ignore_errors=True)

    # identities

    def _make_certificates(self) -> None:
        folder = self.folder
        _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test-ca",
                 "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.crt")  # fmt: skip
        _openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=kube-apiserver",
                 "-keyout", f"{folder}/api.key", "-out", f"{folder}/api.csr")  # fmt: skip
        names = folder / "api.ext"
        names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes.default.svc\n")
        _openssl("x509", "-req", "-in", f"{folder}/api.csr", "-CA", f"{folder}/ca.crt",
                 "-CAkey", f"{folder}/ca.key", "-CAcreateserial", "-days", "2", "-extfile", str(names),
                 "-out", f"{folder}/api.crt")  # fmt: skip
        _openssl("genrsa", "-out", f"{folder}/sa.key", "2048")
        lines = [
            f'{self.token},admin,1,"system:masters"',
            # What a Role of the namespace "default" can be bound to.
            f"{user_token(self.token, 'hotseat')},hotseat,2",
        ]
        (folder / "tokens.csv").write_text("\n".join(lines) + "\n")


def user_token(admin: str, user: str) -> str:
    """Return the token of a user without rights of its own."""
    return base64.urlsafe_b64encode(f"{user}-{admin}".encode()).decode().rstrip("=")


def collection(one: dict[str, Any]) -> str:
    """Return the path that objects like this one are created under."""
    version, kind = one["apiVersion"], one["kind"]
    plural = kind.lower() + ("es" if kind.endswith("s") else "s")
    plural = {"networkpolicys": "networkpolicies", "configmapes": "configmaps"}.get(plural, plural)
    root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    if kind in ("Node", "Namespace", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"):
        return f"{root}/{plural}"
    return f"{root}/namespaces/{one['metadata'].get('namespace', 'default')}/{plural}"


def _openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
