"""Proxies under test, each started in front of the same fake upstream.

Every proxy runs on the proxy core; every fake upstream, also that of hotseat, on the load core.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.measure import children, pin

ROOT = Path(__file__).resolve().parents[1]
"""Folder in which ``python -m benchmarks.…`` works."""
KEY = "bench-key"
MANY_PER_MINUTE = 100_000_000
"""Rate limit that is counted for each request and never reached."""

_NGINX = """
daemon off; worker_processes 1; worker_rlimit_nofile 65536;
pid {dir}/nginx.pid; error_log {dir}/error.log;
events {{ worker_connections 30000; }}
http {{
  access_log {dir}/access.log;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  keepalive_requests 100000000; {more}
  upstream fake {{ server 127.0.0.1:{upstream}; keepalive 6000; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://fake; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 600s;
    }}
  }}
}}
"""


class Unavailable(Exception):
    """Proxy that cannot be measured here; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """Server of chat completions: a proxy, or the upstream itself."""

    name: str
    host: str
    port: int
    pids: tuple[int, ...]
    prefix: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def order(self, **more: object) -> dict[str, object]:
        """Part of an order to the load generator that names the target."""
        return {
            "host": self.host,
            "port": self.port,
            "path": self.prefix + "/v1/chat/completions",
            "pids": list(self.pids),
            "headers": self.headers,
            **more,
        }


@dataclass(frozen=True, slots=True)
class Cores:
    """Cores of the proxy under test and of everything else."""

    proxy: int
    load: int

    @classmethod
    def pick(cls) -> Cores:
        """Choose the last core for the proxy, the first one for everything else."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(proxy=usable[-1], load=usable[0])


def free_port() -> int:
    """Find a port on which nothing listens now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def running(
    command: list[str], core: int, log: Path, env: dict[str, str] | None = None, *, grace_s: float = 60.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command on this core, with its output in ``log``; end it by SIGTERM, then SIGKILL.

    Variables of coverage measurement are not inherited: the overhead would be measured too.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # inherited by the child, from its first instruction on
    try:
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=ROOT, env={**inherited, **(env or {})}
            )
    finally:
        os.sched_setaffinity(0, ours)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_listening(
    port: int, process: subprocess.Popen[bytes], log: Path, within_s: float = 60
) -> None:
    """Wait until the port accepts connections. Raises ``Unavailable`` with the end of the log."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.005)
    raise Unavailable(f"nothing listens on port {port}; {log.name} ends with\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


@contextmanager
def fake_upstream(cores: Cores, folder: Path, port: int) -> Iterator[Target]:
    """Run the fake upstream by itself: the baseline without a proxy."""
    log = folder / "upstream.log"
    with running(upstream_command(port, cores), cores.load, log) as process:
        wait_until_listening(port, process, log)
        yield Target("direct", "127.0.0.1", port, (process.pid,))


def upstream_command(port: int | str, cores: Cores, *more: str) -> list[str]:
    """Command that starts the fake upstream, here or in hotseat."""
    arguments = ["--port", str(port), "--core", str(cores.load), *more]
    return [sys.executable, "-m", "benchmarks.fake_upstream", *arguments]


@contextmanager
def nginx(cores: Cores, folder: Path, upstream_port: int, more: str = "") -> Iterator[Target]:
    """Run Debian's nginx: one worker, keep-alive to the upstream, no buffering, its default access log.

    ``more``: further directives of its ``http`` block.
    """
    binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if binary is None:
        raise Unavailable("nginx, the reference, is not installed; run: apt-get install nginx-light")
    place = folder / "nginx"
    place.mkdir()
    port = free_port()
    config = place / "nginx.conf"
    config.write_text(_NGINX.format(dir=place, port=port, upstream=upstream_port, more=more))
    if os.geteuid() == 0:
        config.write_text("user root;" + config.read_text())  # the worker writes into a folder that root owns
    log = place / "out.log"
    command = [binary, "-e", str(place / "error.log"), "-c", str(config)]
    with running(command, cores.proxy, log) as process:
        wait_until_listening(port, process, log)
        while not (workers := children(process.pid)):  # the master listens before it has forked its worker
            time.sleep(0.005)
        yield Target("nginx", "127.0.0.1", port, workers)


@contextmanager
def proto_relay(cores: Cores, folder: Path, upstream_port: int) -> Iterator[Target]:
    """Run the bare relay in Python."""
    port = free_port()
    log = folder / "proto_relay.log"
    command = [sys.executable, "-m", "benchmarks.proto_relay", "--port", str(port)]
    with running([*command, "--upstream-port", str(upstream_port)], cores.proxy, log) as process:
        wait_until_listening(port, process, log)
        yield Target("proto", "127.0.0.1", port, (process.pid,))


def hotseat_config(cores: Cores, folder: Path, port: int, *, models: int = 1, policies: bool = True) -> str:
    """Build the configuration under test, as JSON, which is valid YAML.

    With ``policies``, the route ``fake`` has policies that leave the request unchanged (key, rate limit,
    defaults that the request already gives), and the route ``guarded`` rewrites each request (system
    prompt and clamps).
    """
    fake: dict[str, object] = {
        "command": upstream_command("{port}", cores),
        "served_name": "fake",
        "footprint": 0.4,
        "idle": 0,
    }
    config: dict[str, object] = {
        "listen": f"127.0.0.1:{port}",
        "state_dir": str(folder / "state"),
        "gpu": {"budget": 0.9},
        "models": {"fake": fake}
        | {
            f"other-{n}": {"command": upstream_command("{port}", cores), "footprint": 0.1}
            for n in range(1, models)
        },
    }
    if policies:
        limits = {
            "rate_limit": f"{MANY_PER_MINUTE}/minute",
            "defaults": {"temperature": 0.2, "max_tokens": 100},
        }
        prompt = {"text": "You are a helpful assistant.", "mode": "replace"}
        config["routes"] = {
            "fake": {"model": "fake", "path": "/fake", **limits},
            "guarded": {
                "model": "fake",
                "path": "/guarded",
                **limits,
                "clamp": {"max_tokens": 64, "n": 1},
                "system_prompt": prompt,
            },
        }
    return json.dumps(config, indent=1)


@contextmanager
def hotseat(
    cores: Cores, folder: Path, *, name: str = "hotseat", models: int = 1, policies: bool = True
) -> Iterator[list[Target]]:
    """Run ``hotseat serve`` with a ready model: the plain route and, with policies, the rewriting one."""
    place = folder / name
    place.mkdir()
    port = free_port()
    config = place / "hotseat.yaml"
    config.write_text(hotseat_config(cores, place, port, models=models, policies=policies))
    log = place / "hotseat.log"
    env = {"VLLM_API_KEY": KEY}
    with running(serve_command(config), cores.proxy, log, env) as process:
        wait_until_listening(port, process, log)
        headers = {"authorization": f"Bearer {KEY}"}
        plain = Target(name, "127.0.0.1", port, (process.pid,), "/fake", headers)
        _first_answer(plain, log)
        targets = [plain]
        if policies:
            targets.append(Target(f"{name}+rewrite", "127.0.0.1", port, plain.pids, "/guarded", headers))
        yield targets


def serve_command(config: Path) -> list[str]:
    """Command that starts ``hotseat serve``."""
    return [sys.executable, "-m", "hotseat", "serve", "-c", str(config)]


def _first_answer(target: Target, log: Path) -> None:
    """Send one request, which starts the model. Raises ``Unavailable`` with the cause."""
    body = json.dumps({"model": "fake", "messages": [{"role": "user", "content": "?"}]}).encode()
    url = f"http://{target.host}:{target.port}{target.prefix}/v1/chat/completions"
    asked = urllib.request.Request(
        url, body, {"content-type": "application/json", **target.headers}, method="POST"
    )
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            answer.read()
    except OSError as error:
        raise Unavailable(f"{url}: {error}; {log.name} ends with\n{_tail(log)}") from error


def peer(text: str, cores: Cores) -> Target:
    """Parse ``NAME=URL,PID[,PID…]``, a proxy that was started by hand, and pin its processes."""
    name, _, rest = text.partition("=")
    url, *pids = rest.split(",")
    parts = urlsplit(url)
    if not (name and parts.hostname and parts.port and pids and all(pid.isdigit() for pid in pids)):
        raise Unavailable(f"--peer {text}: write NAME=http://HOST:PORT/PREFIX,PID")
    for pid in pids:
        pin(int(pid), cores.proxy)
    return Target(name, parts.hostname, parts.port, tuple(map(int, pids)), parts.path.rstrip("/"))


def start_all(
    stack: ExitStack, cores: Cores, folder: Path, upstream_port: int, peers: list[str], *, policies: bool
) -> tuple[Target, list[Target], list[str]]:
    """Start all targets; returns the bare upstream, the proxies, and why others are missing."""
    direct = stack.enter_context(fake_upstream(cores, folder, upstream_port))
    targets: list[Target] = []
    missing = []
    for start in (nginx, proto_relay):
        try:
            targets.append(stack.enter_context(start(cores, folder, upstream_port)))
        except Unavailable as error:
            missing.append(str(error))
    try:
        targets += stack.enter_context(hotseat(cores, folder, policies=policies))
    except Unavailable as error:
        missing.append(str(error))
    targets += [peer(text, cores) for text in peers]
    return direct, targets, missing
