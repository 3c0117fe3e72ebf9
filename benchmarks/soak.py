"""Soak test: ten models, impatient clients, crashes and reloads, and a check for leaks at the end.

    make soak    (or: SOAK_S=60 PYTHONPATH=tests python -m benchmarks.soak)

hotseat runs in this process, so that its tasks can be counted. When all clients have gone, no request
may be held or waiting, no ticket, task, descriptor or process may be left over, memory must not have
grown, and every response must have had an expected status.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from fakes.hotseat import Hotseat
from fakes.wire import Wire, read_head, read_message
from hotseat import logs
from hotseat.admin.control import CannotReload
from hotseat.app import App
from hotseat.config import load

MODELS = 10
CLIENTS = 24
CHAOS_EVERY_S = 0.7
EXPLAINED = frozenset({200, 404, 502, 503, 504})
"""Expected statuses; 404: the model was just removed from the configuration."""
GROWTH_MIB = 24.0
"""Allowed growth of memory between the second and the last third."""
QUIET_S = 60.0
_ENV = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


@dataclass
class Observations:
    """Responses that clients got, and faults that were injected."""

    answers: Counter[str] = field(default_factory=Counter)
    chaos: Counter[str] = field(default_factory=Counter)
    memory_mib: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Soak:
    """One run of the soak test."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.rng = rng
        self.observed = Observations()
        self.names = [f"m{number}" for number in range(MODELS)]
        self.made = Hotseat(folder, {})
        self.variants = dict.fromkeys(self.names, 0)
        self.write(self.names)

    def write(self, names: list[str]) -> None:
        """Write a configuration with these models; another variant changes a model's launch settings."""
        models: dict[str, object] = {}
        for number, name in enumerate(self.names):
            if name not in names:
                continue
            options = ["--start-s", "0.2", "--token-interval-s", "0.01", "--tokens", str(5 + number)]
            options += ["--service-s", f"{self.variants[name] / 1000}"]
            model: dict[str, object] = {
                "options": options,
                "footprint": 0.25,
                "idle": "2s",
                "max_in_flight": 4,
                "drain_timeout": "2s",
                "stop_grace": "1s",
                "served_name": name,
            }
            if number % 3 == 0:
                model |= {"engine": "vllm", "sleep": {"level": 1, "leftover": 0.01, "idle": "2s"}}
            models[name] = model
        terms = {"listen": "127.0.0.1:0", "residency": "500ms", "max_wait": "2s", "access_log": False}
        self.made.write(models, **terms)  # type: ignore[arg-type]

    async def client(self) -> None:
        """Send requests in a loop, and give up on each after a random time."""
        rng = self.rng
        while True:
            name = rng.choice(self.names)
            stream = rng.random() < 0.5
            patience_s = rng.choice((0.05, 0.3, 1.0, 30.0, 30.0))
            try:
                async with asyncio.timeout(patience_s):
                    await self.one(name, stream)
            except TimeoutError:
                self.observed.answers["left"] += 1
            except (OSError, asyncio.IncompleteReadError) as error:
                self.observed.problems.append(f"{name}: {error!r}")
            await asyncio.sleep(rng.random() * 0.2)

    async def one(self, name: str, stream: bool) -> None:
        """Send one request and read its response, in some cases the head alone."""
        body = f'{{"model":"{name}","stream":{str(stream).lower()}}}'.encode()
        async with await Wire.open(self.made.port) as wire:
            await wire.ask(f"/{name}/v1/chat/completions", body)
            answer = (
                await read_message(wire.reader)
                if reads_to_the_end(self.rng)
                else await read_head(wire.reader)
            )
        self.observed.answers[str(answer.status)] += 1
        if answer.status not in EXPLAINED:
            self.observed.problems.append(f"{name}: {answer.status} {answer.body!r}")

    async def chaos(self, app: App) -> None:
        """Inject crashes, reloads and operator orders."""
        faults = (self.crash, self.reload, self.reload_badly, self.operate)
        while True:
            await asyncio.sleep(CHAOS_EVERY_S)
            fault = self.rng.choice(faults)
            self.observed.chaos[fault.__name__] += 1
            await fault(app)
            self.observed.memory_mib.append(memory_mib())

    async def crash(self, app: App) -> None:
        """Kill a model's server with SIGKILL."""
        pids = await asyncio.to_thread(self.made.engines)
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.rng.choice(pids), signal.SIGKILL)

    async def reload(self, app: App) -> None:
        """Reload with one model changed, some removed and some added again."""
        name = self.rng.choice(self.names)
        self.variants[name] = (self.variants[name] + 1) % 5
        self.write(self.rng.sample(self.names, self.rng.randint(MODELS - 3, MODELS)))
        await app.reload()

    async def reload_badly(self, app: App) -> None:
        """Reload with an invalid configuration."""
        self.made.file.write_text("models: [")
        try:
            await app.reload()
        except CannotReload:
            return
        self.observed.problems.append("an invalid configuration was accepted")

    async def operate(self, app: App) -> None:
        """Start or stop a model as an operator."""
        name = self.rng.choice(list(app.settings.models))
        if self.rng.random() < 0.5:
            await app.supervisor.start(name, wait=False)
        else:
            await app.supervisor.stop(name, wait=False)

    async def run(self, seconds: float) -> list[str]:
        """Run the soak test; returns the problems found."""
        app = App(load(self.made.file, _ENV), lambda: load(self.made.file, _ENV))
        before_open = descriptors()
        await app.open()
        self.made.port = app.addresses[0][1]
        tasks = len(asyncio.all_tasks())
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(self.client()) for _ in range(CLIENTS)]
            work.append(group.create_task(self.chaos(app)))
            await asyncio.sleep(seconds)
            for task in work:
                task.cancel()
        self.write(self.names)
        await app.reload()
        problems = await self.quiet(app, tasks)
        await app.close()
        problems += self.left_behind(before_open)
        return problems + self.observed.problems

    async def quiet(self, app: App, tasks: int) -> list[str]:
        """Wait until no model runs, then check for leaks inside the program."""
        supervisor = app.supervisor
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                while any(view.run is not None for view in supervisor.views().values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        problems = [
            f"{name} is {view.state}, {view.in_flight} in flight, {view.waiting} waiting"
            for name, view in supervisor.views().items()
            if view.run is not None or view.in_flight or view.waiting
        ]
        if supervisor.tickets:
            problems.append(f"{supervisor.tickets} tickets are left over")
        now = sorted(task.get_name() for task in asyncio.all_tasks())
        if len(now) > tasks:
            problems.append(f"{len(now)} tasks instead of {tasks}: {', '.join(now)}")
        return problems

    def left_behind(self, before: int) -> list[str]:
        """Check for leaked descriptors, processes and memory after the end."""
        problems = []
        gc.collect()
        if (now := descriptors()) > before:
            problems.append(f"{now} descriptors are open instead of {before}")
        if pids := self.made.engines():
            problems.append(f"processes are left over: {pids}")
        third = len(self.observed.memory_mib) // 3
        if third:
            first, last = (
                min(self.observed.memory_mib[third : 2 * third]),
                min(self.observed.memory_mib[-third:]),
            )
            print(f"memory: {first:.0f} MiB in the second third, {last:.0f} MiB in the last")
            if last - first > GROWTH_MIB:
                problems.append(f"memory grew from {first:.0f} to {last:.0f} MiB")
        return problems


def reads_to_the_end(rng: random.Random) -> bool:
    """Whether a client reads its response to the end (four of five do)."""
    return rng.random() < 0.8


def descriptors() -> int:
    """Number of open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def memory_mib() -> float:
    """Resident memory of this process, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def main() -> int:
    """Run for ``SOAK_S`` seconds (600); the exit status is 1 if there was a problem."""
    seconds = float(os.environ.get("SOAK_S", "600"))
    seed = int(os.environ.get("SOAK_SEED", "0")) or random.randrange(1, 2**31)
    print(f"{seconds:g} s, SOAK_SEED={seed}")
    with tempfile.TemporaryDirectory(prefix="hotseat-soak-") as folder:
        with Path(folder, "log").open("w") as log:
            logs.setup(form="json", stream=log)
            soak = Soak(Path(folder), random.Random(seed))
            try:
                problems = uvloop.run(soak.run(seconds))
            finally:
                soak.made.sweep()
        text = Path(folder, "log").read_text()
        problems += [
            line for line in text.splitlines() if '"level":"error"' in line and "not reloaded" not in line
        ]
    print("responses:", dict(sorted(soak.observed.answers.items())))
    print("faults:", dict(sorted(soak.observed.chaos.items())))
    for words in problems[:20]:
        print("problem:", words)
    print("no leaks, no problems" if not problems else f"{len(problems)} problem(s)")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
