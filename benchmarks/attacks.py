"""Measure what the owner notices while strangers attack, beside nginx in the same run.

    python -m benchmarks.attacks [NAME …] [--seconds 10] [--markdown]

Each attack runs against a fresh hotseat and a fresh nginx (one worker, Debian's, bodies up to 32
MiB), both under ``ulimit -n 4096`` and in front of the same server. Meanwhile the owner asks twenty times
a second on a kept connection, and four times a second on a new one. Printed are the owner's median, 99th
percentile and worst wait, failed requests, and the proxy's peak memory (with its helper processes, without
the models).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import children, quantile, rss_kib
from benchmarks.proxies import KEY, Cores, Unavailable, free_port, nginx, running, wait_until_listening

DESCRIPTORS = 4096
MIB = 1024 * 1024
FAILED_S = 10.0
"""What a request of the owner that failed or took longer counts as."""
_PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
_CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


# The fake server: well-behaved, except on some paths


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    await reader.readexactly(int(line.split(b":")[1]))
            await _respond(head.split(b" ")[1], writer)
    writer.close()


async def _respond(path: bytes, writer: asyncio.StreamWriter) -> None:
    endless = {
        b"trailer": (_CHUNKED + b"2\r\n{}\r\n0\r\nX: ", b"a" * 65536),
        b"trailers": (_CHUNKED + b"2\r\n{}\r\n0\r\n", b"a: b\r\n" * 10_000),
        b"chunks": (_CHUNKED, b"1\r\nx\r\n" * 10_000),
        b"flood": (_CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        b"informational": (b"", b"HTTP/1.1 102 Processing\r\n\r\n" * 1000),
    }.get(path.rpartition(b"/")[2])
    if endless is None:
        status = b"999 Odd" if path.endswith(b"/status") else b"200 OK"
        writer.write(_PLAIN.replace(b"200 OK", status))
        await writer.drain()
        return
    writer.write(endless[0])
    while True:
        writer.write(endless[1])
        await writer.drain()


async def _run_server(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port, limit=64 * MIB)
    await server.serve_forever()


# The attacks: each runs in a process of its own until it is ended


@dataclass(frozen=True, slots=True)
class Victim:
    """The proxy under attack."""

    name: str
    port: int
    pid: int
    prefix: str = ""
    headers: str = ""

    def post(self, path: str, length: int, route: str = "/chat", *, key: bool = True) -> bytes:
        """Head of a POST to a model's path."""
        prefix = route if self.name == "hotseat" else ""
        headers = self.headers if key else ""
        return (
            f"POST {prefix}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}"
            f"Content-Length: {length}\r\n\r\n"
        ).encode()


async def _many(count: int, one: Callable[[int], Awaitable[None]]) -> None:
    async def again(number: int) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await one(number)
            await asyncio.sleep(0.05)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(again(number))


_HELD = (
    b"\r\n",
    b"",
    b"GET / HTTP/1.1\r\nHost: ",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
)


async def held_connections(victim: Victim) -> None:
    """Hold 3,500 connections that never complete a request, without a key."""

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", victim.port)
        writer.write(_HELD[number % len(_HELD)])
        await reader.read()
        writer.close()

    await _many(3500, one)


async def unread_answers(victim: Victim) -> None:
    """Pipeline refused requests on 50 connections, and read none of the answers; without a key."""
    loop = asyncio.get_running_loop()
    burst = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000

    async def one(number: int) -> None:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", victim.port))
            while True:
                await loop.sock_sendall(sock, burst)

    await _many(50, one)


async def _send_bodies(victim: Victim, count: int, body: bytes, route: str) -> None:
    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", victim.port)
        writer.write(victim.post("/v1/chat/completions", len(body), route))
        for at in range(0, len(body), 65536):
            writer.write(body[at : at + 65536])
            await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    await _many(count, one)


async def intricate_bodies(victim: Victim) -> None:
    """Send bodies of 32 MiB of small values on 4 connections, to a route with a prompt, with a key."""
    filling = b"{}," * (31 * MIB // 3)
    await _send_bodies(victim, 4, b'{"messages":[' + filling + b"{}]}", "/site")


async def unfinished_bodies(victim: Victim) -> None:
    """Send bodies of 32 MiB but for their last byte on 40 connections, with a key."""
    size = 32 * MIB

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", victim.port)
        writer.write(victim.post("/v1/chat/completions", size))
        for _ in range(0, size - 65536, 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        await reader.read()
        writer.close()

    await _many(40, one)


async def hostile_server(victim: Victim) -> None:
    """Ask a server that answers with endless trailers, chunks of one byte, and statuses that do not exist."""
    paths = ("trailer", "trailers", "chunks", "informational", "status")

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", victim.port)
        writer.write(victim.post(f"/v1/{paths[number % len(paths)]}", 2) + b"{}")
        while not reader.at_eof():
            await reader.read(65536)
        writer.close()

    await _many(10, one)


async def slow_readers(victim: Victim) -> None:
    """Take nothing of 20 endless responses, with a key."""
    loop = asyncio.get_running_loop()

    async def one(number: int) -> None:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", victim.port))
            await loop.sock_sendall(sock, victim.post("/v1/flood", 2) + b"{}")
            await asyncio.sleep(3600)

    await _many(20, one)


async def nothing(victim: Victim) -> None:
    """Do nothing: what the owner notices without an attack."""
    await asyncio.sleep(3600)


ATTACKS: dict[str, Callable[[Victim], Awaitable[None]]] = {
    "nothing": nothing,
    "held_connections": held_connections,
    "unread_answers": unread_answers,
    "intricate_bodies": intricate_bodies,
    "unfinished_bodies": unfinished_bodies,
    "hostile_server": hostile_server,
    "slow_readers": slow_readers,
}


# The proxies


@contextmanager
def hotseat_under_limits(cores: Cores, folder: Path) -> Iterator[Victim]:
    """Run hotseat with a well-behaved model and a route with a prompt, in keys' hands."""
    port = free_port()
    server = [sys.executable, "-m", "benchmarks.attacks", "--server", "{port}"]
    config = {
        "listen": f"127.0.0.1:{port}",
        "state_dir": str(folder / "state"),
        "gpu": {"budget": 0.9},
        "models": {"chat": {"command": server, "footprint": 0.4, "idle": 0}},
        "routes": {
            "chat": {"model": "chat", "path": "/chat"},
            "site": {"model": "chat", "path": "/site", "system_prompt": {"text": "Be kind."}},
        },
    }
    file = folder / "hotseat.yaml"
    file.write_text(json.dumps(config))
    log = folder / "hotseat.log"
    command = [sys.executable, "-m", "hotseat", "serve", "-c", str(file)]
    with running(command, cores.proxy, log, {"VLLM_API_KEY": KEY}) as process:
        wait_until_listening(port, process, log)
        victim = Victim("hotseat", port, process.pid, headers=f"Authorization: Bearer {KEY}\r\n")
        _ask_once(victim)
        yield victim


@contextmanager
def nginx_under_limits(cores: Cores, folder: Path) -> Iterator[Victim]:
    """Run nginx as a proxy for the same server."""
    port = free_port()
    log = folder / "server.log"
    command = [sys.executable, "-m", "benchmarks.attacks", "--server", str(port)]
    with running(command, cores.load, log) as process:
        wait_until_listening(port, process, log)
        with nginx(cores, folder, port, more="client_max_body_size 32m;") as target:
            yield Victim("nginx", target.port, target.pids[0])


def _ask_once(victim: Victim) -> None:
    with socket.create_connection(("127.0.0.1", victim.port), timeout=60) as sock:
        sock.sendall(victim.post("/v1/chat/completions", 2) + b"{}")
        answer = sock.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise Unavailable(f"the first request was not answered: {answer.decode()}")


# What the owner notices


@dataclass(slots=True)
class Notices:
    """Waits of the owner, and the proxy's memory."""

    waits_s: list[float] = field(default_factory=list)
    failed: int = 0
    peak_kib: int = 0


async def _owner(victim: Victim, seconds: float, notices: Notices) -> None:
    request = victim.post("/v1/chat/completions", 2) + b"{}"

    async def ask(kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(FAILED_S):
                reader, writer = (
                    kept.pop() if kept else await asyncio.open_connection("127.0.0.1", victim.port)
                )
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                await reader.readexactly(length)
                if b" 200 " not in head[:20]:
                    raise ConnectionError(head[:20])
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            notices.failed += 1
            notices.waits_s.append(max(FAILED_S, time.monotonic() - began))
            return
        notices.waits_s.append(time.monotonic() - began)
        kept.append((reader, writer))

    kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    end = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        number = 0
        while time.monotonic() < end:
            if number % 5 == 0:
                group.create_task(ask([]))
            await ask(kept)
            helpers = [pid for pid in children(victim.pid) if _is_helper(pid)]
            with contextlib.suppress(OSError):
                notices.peak_kib = max(notices.peak_kib, rss_kib([victim.pid, *helpers]))
            number += 1
            await asyncio.sleep(0.05)


def _is_helper(pid: int) -> bool:
    try:
        return b"body_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def measure(name: str, victim: Victim, cores: Cores, seconds: float) -> Notices:
    """Run one attack, and ask as the owner meanwhile."""
    notices = Notices()
    command = [sys.executable, "-m", "benchmarks.attacks", "--attack", name, *map(str, _fields(victim))]
    with running(command, cores.load, Path(os.devnull), grace_s=1):
        time.sleep(2)  # until it is in full swing
        os.sched_setaffinity(0, {cores.load})
        asyncio.run(_owner(victim, seconds, notices))
    return notices


def _fields(victim: Victim) -> tuple[str, int, int, str, str]:
    return victim.name, victim.port, victim.pid, victim.prefix, victim.headers.encode().hex()


def main() -> int:
    """Measure and print; the exit status is 1 if a promise does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ATTACKS))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--server", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--attack", nargs=6, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.server:
        asyncio.run(_run_server(args.server))
        return 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    if args.attack:
        name, victim, port, pid, prefix, headers = args.attack
        attacked = Victim(victim, int(port), int(pid), prefix, bytes.fromhex(headers).decode())
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(ATTACKS[name](attacked))  # type: ignore[arg-type]
        return 0
    return _measure_all(args.names or list(ATTACKS), args.seconds)


def _measure_all(names: list[str], seconds: float) -> int:
    cores = Cores.pick()
    kept = True
    print("| attack | proxy | requests | failed | median ms | p99 ms | worst ms | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        for start in (hotseat_under_limits, nginx_under_limits):
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hotseat-attack-")))
                folder.chmod(0o755)
                try:
                    victim = stack.enter_context(start(cores, folder))
                except Unavailable as error:
                    print(error, file=sys.stderr)
                    continue
                seen = measure(name, victim, cores, seconds)
            p99_ms, peak_mib = 1e3 * quantile(seen.waits_s, 0.99), seen.peak_kib / 1024
            print(
                f"| {name} | {victim.name} | {len(seen.waits_s)} | {seen.failed} "
                f"| {1e3 * quantile(seen.waits_s, 0.5):.1f} | {p99_ms:.1f} | {1e3 * max(seen.waits_s):.1f} "
                f"| {peak_mib:.0f} |",
                flush=True,
            )
            if victim.name == "hotseat":
                kept = kept and p99_ms < 100 and peak_mib < 256
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
