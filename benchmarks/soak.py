"""Ten models, impatient clients, crashes and reloads for as long as you like: is anything left at the end?

    make soak    (or: SOAK_S=60 PYTHONPATH=tests python -m benchmarks.soak)

hotseat runs in this process, so that its tasks can be counted. At the end, with everybody gone: no
request held or waiting, no ticket, no task, no descriptor and no process more than before, the memory
as flat as it was, and no answer that nobody can explain.
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
"""404: the model was just configured away."""
GROWTH_MIB = 24.0
"""What the memory may differ between the first and the last third."""
QUIET_S = 60.0
_ENV = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}


@dataclass
class Seen:
    """What the clients saw and what was done to them."""

    answers: Counter[str] = field(default_factory=Counter)
    chaos: Counter[str] = field(default_factory=Counter)
    memory_mib: list[float] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)


class Soak:
    """One run of it."""

    def __init__(self, folder: Path, luck: random.Random) -> None:
        self.luck = luck
        self.seen = Seen()
        self.names = [f"m{number}" for number in range(MODELS)]
        self.made = Hotseat(folder, {})
        self.variants = dict.fromkeys(self.names, 0)
        self.write(self.names)

    def write(self, names: list[str]) -> None:
        """A configuration with these models; a model of another variant is launched otherwise."""
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
        """Ask, and leave when and how it likes."""
        luck = self.luck
        while True:
            name = luck.choice(self.names)
            stream = luck.random() < 0.5
            patience_s = luck.choice((0.05, 0.3, 1.0, 30.0, 30.0))
            try:
                async with asyncio.timeout(patience_s):
                    await self.one(name, stream)
            except TimeoutError:
                self.seen.answers["left"] += 1
            except (OSError, asyncio.IncompleteReadError) as error:
                self.seen.strange.append(f"{name}: {error!r}")
            await asyncio.sleep(luck.random() * 0.2)

    async def one(self, name: str, stream: bool) -> None:
        """One request, to the end of its answer."""
        body = f'{{"model":"{name}","stream":{str(stream).lower()}}}'.encode()
        async with await Wire.open(self.made.port) as wire:
            await wire.ask(f"/{name}/v1/chat/completions", body)
            answer = await read_message(wire.reader) if luck_of(self.luck) else await read_head(wire.reader)
        self.seen.answers[str(answer.status)] += 1
        if answer.status not in EXPLAINED:
            self.seen.strange.append(f"{name}: {answer.status} {answer.body!r}")

    async def chaos(self, app: App) -> None:
        """Crashes, reloads and operators."""
        deeds = (self.crash, self.reload, self.reload_badly, self.operate)
        while True:
            await asyncio.sleep(CHAOS_EVERY_S)
            deed = self.luck.choice(deeds)
            self.seen.chaos[deed.__name__] += 1
            await deed(app)
            self.seen.memory_mib.append(memory_mib())

    async def crash(self, app: App) -> None:
        """``kill -9`` of a model's server."""
        pids = await asyncio.to_thread(self.made.engines)
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.luck.choice(pids), signal.SIGKILL)

    async def reload(self, app: App) -> None:
        """Another configuration: a model changed, some gone, some back."""
        name = self.luck.choice(self.names)
        self.variants[name] = (self.variants[name] + 1) % 5
        self.write(self.luck.sample(self.names, self.luck.randint(MODELS - 3, MODELS)))
        await app.reload()

    async def reload_badly(self, app: App) -> None:
        """A configuration that is not right."""
        self.made.file.write_text("models: [")
        try:
            await app.reload()
        except CannotReload:
            return
        self.seen.strange.append("a bad configuration was taken")

    async def operate(self, app: App) -> None:
        """An operator starts or stops a model."""
        name = self.luck.choice(list(app.settings.models))
        if self.luck.random() < 0.5:
            await app.supervisor.start(name, wait=False)
        else:
            await app.supervisor.stop(name, wait=False)

    async def run(self, seconds: float) -> list[str]:
        """Soak; returns what was wrong."""
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
        wrong = await self.quiet(app, tasks)
        await app.close()
        wrong += self.left_behind(before_open)
        return wrong + self.seen.strange

    async def quiet(self, app: App, tasks: int) -> list[str]:
        """Everybody has gone: wait until nothing moves, then look."""
        supervisor = app.supervisor
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                while any(view.run is not None for view in supervisor.views().values()):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        wrong = [
            f"{name} is {view.state}, {view.in_flight} in flight, {view.waiting} waiting"
            for name, view in supervisor.views().items()
            if view.run is not None or view.in_flight or view.waiting
        ]
        if supervisor.tickets:
            wrong.append(f"{supervisor.tickets} tickets are left")
        now = sorted(task.get_name() for task in asyncio.all_tasks())
        if len(now) > tasks:
            wrong.append(f"{len(now)} tasks, {tasks} at the beginning: {', '.join(now)}")
        return wrong

    def left_behind(self, before: int) -> list[str]:
        """After the end: descriptors, processes, memory."""
        wrong = []
        gc.collect()
        if (now := descriptors()) > before:
            wrong.append(f"{now} descriptors are open, {before} at the beginning")
        if pids := self.made.engines():
            wrong.append(f"processes are left: {pids}")
        third = len(self.seen.memory_mib) // 3
        if third:
            first, last = min(self.seen.memory_mib[third : 2 * third]), min(self.seen.memory_mib[-third:])
            print(f"memory: {first:.0f} MiB in the second third, {last:.0f} MiB in the last")
            if last - first > GROWTH_MIB:
                wrong.append(f"the memory grew from {first:.0f} to {last:.0f} MiB")
        return wrong


def luck_of(luck: random.Random) -> bool:
    """Whether a client reads its answer to the end."""
    return luck.random() < 0.8


def descriptors() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def memory_mib() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


def main() -> int:
    """Soak for ``SOAK_S`` seconds (600); the exit status is 1 when something was wrong."""
    seconds = float(os.environ.get("SOAK_S", "600"))
    seed = int(os.environ.get("SOAK_SEED", "0")) or random.randrange(1, 2**31)
    print(f"{seconds:g} s, SOAK_SEED={seed}")
    with tempfile.TemporaryDirectory(prefix="hotseat-soak-") as folder:
        with Path(folder, "log").open("w") as log:
            logs.setup(form="json", stream=log)
            soak = Soak(Path(folder), random.Random(seed))
            try:
                wrong = uvloop.run(soak.run(seconds))
            finally:
                soak.made.sweep()
        text = Path(folder, "log").read_text()
        wrong += [
            line for line in text.splitlines() if '"level":"error"' in line and "not reloaded" not in line
        ]
    print("answers:", dict(sorted(soak.seen.answers.items())))
    print("chaos:", dict(sorted(soak.seen.chaos.items())))
    for words in wrong[:20]:
        print("WRONG:", words)
    print("nothing is left" if not wrong else f"{len(wrong)} thing(s) wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
