"""A runtime in memory, with faults as settings, for tests on virtual time (``fakes.clock``).

    runtime = FakeRuntime(budget={"0": 900_000})
    runtime.world.faults["coder"] = Faults(start_s=3, ignores_stop=True)

The ``World`` holds what runs, as the machine does: a second ``FakeRuntime`` over the same world is
hotseat after a restart. It keeps book of every instant at which the footprints of all runs together
were more than the budget (``overlaps``), and of every second copy of a model (``doubles``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from hotseat.core.errors import Reason
from hotseat.core.spec import Footprint, ModelSpec
from hotseat.runtimes.base import FoundRun, Handle, LaunchError, RunExit


@dataclass(kw_only=True)
class Faults:
    """How a model's runs behave; all times in seconds."""

    start_s: float = 1.0
    """From launch to ready."""
    prepare_s: float = 1.0
    """From a launch behind a closed gate to the gate."""
    no_gate: bool = False
    """Its server knows no gate: a closed one does not hold it."""
    stop_s: float = 0.0
    """From being asked to stop to the end."""
    launch_s: float = 0.0
    """How long the launch itself takes."""
    cannot_launch: Reason | None = None
    start_fails: bool = False
    """Writes a failure line and exits with 1 instead of becoming ready."""
    never_ready: bool = False
    health_hangs: bool = False
    """Accepts probes and never answers them."""
    ignores_stop: bool = False
    hangs: bool = False
    """Ready once, then its health never answers again."""
    exits_after: float | None = None
    """Exits so long after it was ready."""
    exit_code: int = 0
    kill_s: float = 0.0
    """From being killed to the end (a driver that takes its time)."""
    says: tuple[str, ...] = ()
    """Lines that it writes at once."""


@dataclass
class FakeRun:
    """One run in the world."""

    handle: Handle
    footprint: Footprint
    fingerprint: str
    faults: Faults
    launched_at: float
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    held: bool = False
    """Its gate is closed: it takes no GPU memory."""
    at_gate: bool = False
    ready: bool = False
    asked: bool = False
    exit: RunExit | None = None
    lines: list[str] = field(default_factory=list)
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Call it then, unless the run has ended by then."""
        self.timers.append(asyncio.get_running_loop().call_later(delay_s, call))

    def change(self) -> None:
        """Wake whoever watches the run."""
        self.changed.set()
        self.changed = asyncio.Event()

    def say(self, *lines: str) -> None:
        """Write lines."""
        self.lines.extend(lines)
        self.change()

    def reach_gate(self) -> None:
        """The end of what it can do without the GPU."""
        self.at_gate = True
        self.change()

    def pass_gate(self) -> None:
        """The rest of a start, once the gate is open."""
        self.held = False
        if self.faults.start_fails:
            self.later(self.faults.start_s, self.fail)
        elif not self.faults.never_ready:
            self.later(self.faults.start_s, self.become_ready)

    def become_ready(self) -> None:
        """The end of a good start."""
        self.ready = True
        self.say("Application startup complete.")
        if self.faults.exits_after is not None:
            self.later(self.faults.exits_after, lambda: self.end(_exited(self.faults.exit_code)))

    def fail(self) -> None:
        """The end of a bad start."""
        self.say("ValueError: No available memory for the cache blocks.")
        self.end(_exited(1))

    def end(self, reason: Reason, outside: bool = False) -> None:
        """The end of the run; repeats are harmless."""
        if self.exit is None:
            for timer in self.timers:
                timer.cancel()
            self.ready = False
            lines = tuple(self.lines[-50:])
            self.exit = RunExit(
                Reason(
                    summary=reason.summary,
                    exit_code=reason.exit_code,
                    signal=reason.signal,
                    oom=reason.oom,
                    lines=lines,
                ),
                outside,
            )
            self.change()


@dataclass
class World:
    """The machine: what runs, and what was seen of it."""

    budget: Footprint = field(default_factory=dict)
    faults: dict[str, Faults] = field(default_factory=dict)
    """By model; those without have none."""
    runs: list[FakeRun] = field(default_factory=list)
    """All there ever were, oldest first."""
    overlaps: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)
    gates: dict[str, str] = field(default_factory=dict)
    """By model whose server knew its gate: the fingerprint of that run."""
    next_port: int = 20_000

    def live(self, model: str | None = None) -> list[FakeRun]:
        """Runs that have not ended."""
        return [r for r in self.runs if r.exit is None and model in (None, r.handle.model)]

    def starts(self, model: str) -> int:
        """How many runs of a model there were."""
        return sum(run.handle.model == model for run in self.runs)

    def launch(self, model: ModelSpec, run: int, *, held: bool = False) -> FakeRun:
        """A new run; ``held``: behind a closed gate."""
        loop = asyncio.get_running_loop()
        self.next_port += 1
        handle = Handle(model.name, run, f"fake-{self.next_port}", "127.0.0.1", self.next_port)
        faults = self.faults.get(model.name, Faults())
        if self.live(model.name):
            self.doubles.append(f"{loop.time():g}s: a second {model.name}")
        new = FakeRun(handle, model.scheduling.footprint, model.scheduling.fingerprint, faults, loop.time())
        new.held = held and not faults.no_gate
        self.runs.append(new)
        self._note_overlap(loop.time())
        new.say(*faults.says)
        if new.held:
            new.later(faults.prepare_s, new.reach_gate)
        else:
            new.pass_gate()
        return new

    def admit(self, run: FakeRun) -> None:
        """Open a run's gate."""
        if run.held and run.exit is None:
            run.pass_gate()
            self._note_overlap(asyncio.get_running_loop().time())

    def _note_overlap(self, now: float) -> None:
        for device, limit in self.budget.items():
            taken = {run.handle.model: run.footprint.get(device, 0) for run in self.live() if not run.held}
            if sum(taken.values()) > limit:
                self.overlaps.append(f"{now:g}s: {taken} is more than {limit} on device {device}")

    def crash(self, model: str, reason: Reason | None = None) -> None:
        """The model's live run dies by itself."""
        for run in self.live(model):
            run.end(reason or Reason(summary="killed by SIGKILL", signal=9))

    def stop_outside(self, model: str) -> None:
        """Somebody else stops the model's run, deliberately."""
        for run in self.live(model):
            run.end(_exited(0), outside=True)


class FakeRuntime:
    """The contract of ``runtimes.base`` over a ``World``."""

    name = "fake"

    def __init__(self, budget: Footprint | None = None, world: World | None = None) -> None:
        self.world = world or World(budget=budget or {})
        self.why: str | None = None
        """Set it to make the runtime unusable."""
        self._appeared: asyncio.Queue[FoundRun | None] = asyncio.Queue()

    async def open(self) -> None:
        """Nothing to get ready."""

    async def close(self) -> None:
        """The runs stay in the world."""
        self._appeared.put_nowait(None)

    def unusable(self) -> str | None:
        """What the test says."""
        return self.why

    async def recover(self, models: dict[str, ModelSpec]) -> list[FoundRun]:
        """What is left in the world, at most one for a model; the rest is killed."""
        found: dict[str, FoundRun] = {}
        for run in reversed(self.world.live()):
            if run.handle.model in models and run.handle.model not in found:
                found[run.handle.model] = FoundRun(run.handle, run.fingerprint, stands_by=run.held)
            else:
                run.end(_killed())
        return list(found.values())

    async def start(self, model: ModelSpec, run: int) -> Handle:
        """Launch it as its faults say."""
        return await self._launch(model, run)

    async def prepare(self, model: ModelSpec, run: int, *, low_priority: bool = False) -> Handle:
        """Launch it behind a closed gate."""
        return await self._launch(model, run, held=True)

    async def prepared(self, handle: Handle) -> int | None:
        """Its arrival at the gate."""
        run = self.run_of(handle)
        while not run.at_gate:
            await run.changed.wait()
        return None

    async def admit(self, handle: Handle) -> None:
        """Open its gate."""
        self.world.admit(self.run_of(handle))

    def gate_seen(self, handle: Handle) -> bool:
        """Unless its faults say otherwise."""
        run = self.run_of(handle)
        if not run.faults.no_gate:
            self.world.gates[handle.model] = run.fingerprint
        return not run.faults.no_gate

    def known_gates(self) -> Mapping[str, str]:
        """Those seen on this machine."""
        return self.world.gates

    async def _launch(self, model: ModelSpec, run: int, *, held: bool = False) -> Handle:
        if self.why is not None:
            raise LaunchError(Reason(summary=self.why))
        faults = self.world.faults.get(model.name, Faults())
        if faults.launch_s:
            await asyncio.sleep(faults.launch_s)
        if faults.cannot_launch is not None:
            raise LaunchError(faults.cannot_launch)
        return self.world.launch(model, run, held=held).handle

    async def wait(self, handle: Handle) -> RunExit:
        """Its end."""
        run = self.run_of(handle)
        while run.exit is None:
            await run.changed.wait()
        return run.exit

    async def stop(self, handle: Handle, grace_s: float) -> None:
        """Ask, wait, force."""
        run = self.run_of(handle)
        if grace_s > 0 and run.exit is None:
            if not run.asked and not run.faults.ignores_stop:
                run.later(run.faults.stop_s, lambda: run.end(_exited(0)))
            run.asked = True
            try:
                async with asyncio.timeout(grace_s):
                    await self.wait(handle)
            except TimeoutError:
                pass
        if run.exit is None:
            if run.faults.kill_s:
                run.later(run.faults.kill_s, lambda: run.end(_killed()))
                await self.wait(handle)
            run.end(_killed())

    async def lines(self, handle: Handle, last: int | None = None) -> AsyncIterator[str]:
        """What it says."""
        run = self.run_of(handle)
        seen = 0 if last is None else max(0, len(run.lines) - last)
        while True:
            while seen < len(run.lines):
                seen += 1
                yield run.lines[seen - 1]
            if run.exit is not None:
                return
            await run.changed.wait()

    async def tail(self, model: str, count: int) -> list[str]:
        """The end of what its latest run said."""
        runs = [run for run in self.world.runs if run.handle.model == model]
        return runs[-1].lines[-count:] if runs and count > 0 else []

    async def watch(self) -> AsyncIterator[FoundRun]:
        """What ``appear`` starts."""
        while (found := await self._appeared.get()) is not None:
            yield found

    def appear(self, model: ModelSpec, run: int = 0) -> Handle:
        """Somebody else starts the model."""
        handle = self.world.launch(model, run).handle
        self._appeared.put_nowait(FoundRun(handle, "", external=True))
        return handle

    async def until_ready(
        self, host: str, port: int, path: str = "/health", poke: asyncio.Event | None = None
    ) -> None:
        """``readiness.until_ready`` for these runs."""
        run = self.at_port(port)
        while not run.ready or run.faults.health_hangs:
            await run.changed.wait()

    async def healthy(self, host: str, port: int, path: str = "/health") -> bool:
        """Whether a probe of the run passes now; one that would hang is one that fails."""
        run = self.at_port(port)
        return run.ready and not run.faults.hangs and not run.faults.health_hangs

    def run_of(self, handle: Handle) -> FakeRun:
        """The run behind a handle."""
        return next(run for run in self.world.runs if run.handle.ident == handle.ident)

    def at_port(self, port: int) -> FakeRun:
        """The run that listens on a port."""
        return next(run for run in self.world.runs if run.handle.port == port)


def _exited(code: int) -> Reason:
    return Reason(summary=f"exited with code {code}", exit_code=code)


def _killed() -> Reason:
    return Reason(summary="killed by SIGKILL", signal=9)
