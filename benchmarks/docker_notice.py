"""Delay, in ms after the Engine's event, until the Docker runtime notices what others do to a container.

    PYTHONPATH=tests python -m benchmarks.docker_notice [ROUNDS]

Runs against a private Docker Engine (``tests/fakes/dockerd.py``, as root) that ends with this program.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import uvloop

from fakes import containers
from fakes.dockerd import Dockerd
from hotseat.probing.readiness import until_ready
from hotseat.runtimes.docker.runtime import DockerRuntime

CHAT = containers.model("chat")


def last_event_s(engine: Dockerd, action: str, since: float) -> float:
    """Time of the Engine's last event of this kind for the container, in s."""
    words = (
        "events",
        "--since",
        f"{since:.3f}",
        "--until",
        f"{time.time():.6f}",
        "--filter",
        f"event={action}",
        "--format",
    )
    events = [json.loads(line) for line in engine.docker(*words, "{{json .}}").stdout.splitlines()]
    return float(events[-1]["timeNano"]) / 1e9


def kill_process(engine: Dockerd) -> None:
    """Kill the container's process with SIGKILL, without the Engine."""
    pid = engine.docker("inspect", "-f", "{{.State.Pid}}", "chat").stdout
    os.kill(int(pid), signal.SIGKILL)


ACTIONS: dict[str, Callable[[Dockerd], object]] = {
    "docker stop": lambda engine: engine.docker("stop", "-t", "1", "chat"),
    "docker kill": lambda engine: engine.docker("kill", "chat"),
    "docker rm -f": lambda engine: engine.docker("rm", "-f", "chat"),
    "kill -9 of its process": kill_process,
}


async def measure(engine: Dockerd, rounds: int) -> dict[str, list[float]]:
    """Measure the delays by action, in ms."""
    lags: dict[str, list[float]] = {"docker start": [], **{action: [] for action in ACTIONS}}
    runtime = DockerRuntime(engine.url)
    await runtime.open()
    await runtime.recover({"chat": CHAT})
    watch = runtime.watch()
    for action, do in ACTIONS.items():
        for _ in range(rounds):
            if engine.docker("inspect", "chat", check=False).returncode:
                containers.create(engine, "chat")
            since = time.time()
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.to_thread(engine.docker, "start", "chat"))
                found = await anext(watch)
                noticed = time.time()
            lags["docker start"].append(1e3 * (noticed - last_event_s(engine, "start", since)))
            await until_ready(found.handle.host, found.handle.port, "/health")
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.to_thread(do, engine))
                await runtime.wait(found.handle)
                noticed = time.time()
            lags[action].append(1e3 * (noticed - last_event_s(engine, "die", since)))
    await runtime.close()
    return lags


def main() -> None:
    """Measure and print a table."""
    rounds = int(sys.argv[1]) if sys.argv[1:] else 10
    with Dockerd() as engine:
        engine.add_image()
        lags = uvloop.run(measure(engine, rounds))
    print(f"{'action':24}{'n':>4}{'median ms':>11}{'worst ms':>10}")
    for action, values in lags.items():
        print(f"{action:24}{len(values):>4}{statistics.median(values):>11.1f}{max(values):>10.1f}")


if __name__ == "__main__":
    try:
        main()
    except (subprocess.CalledProcessError, RuntimeError) as error:
        sys.exit(f"cannot measure: {error}")
