"""A machine whose models and runtime do all that can go wrong, and which keeps book of broken promises.

``Machine`` outlives hotseat; a ``Shaky`` runtime (and its ``Naps``) belongs to one process of it, and does
nothing any more once that process was killed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field

from fakes.models import FakeFiles
from fakes.runtime import FakeRun, FakeRuntime, Faults, World
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec
from hotseat.probing.sleep_mode import SleepError
from hotseat.runtimes.base import FoundRun, Handle, HealthReport, LaunchError, RunExit

LEFTOVER = 0.05
"""What a sleeper still takes of its footprint."""


@dataclass(kw_only=True)
class Moods(Faults):
    """How a model's runs behave, and how the runtime behaves with them."""

    returns_after_s: float = 0.0
    """From the launch to the moment when the runtime hands the run over."""
    launch_breaks: bool = False
    """The runtime raises what its contract does not know."""
    stops_fail: int = 0
    """So many stops raise, as while the engine is away."""
    end_untold: bool = False
    """``wait`` does not return, although the run is gone."""
    no_room_s: float = 0.0
    """The GPU memory comes back only after so long; beyond 30 s not at all."""
    cannot_admit: bool = False
    """Its gate cannot be opened."""
    sleep: str = "well"
    """``well``, ``refuses``, ``hangs``, ``breaks``."""
    wake: str = "well"


@dataclass
class Machine(World):
    """What runs, who holds a lease on it, and every promise that was broken."""

    asleep: set[str] = field(default_factory=set)
    """Runs that sleep, by ident."""
    strangers: set[str] = field(default_factory=set)
    """Runs that somebody else started."""
    holders: Counter[str] = field(default_factory=Counter)
    """Leases that are held on a run and were not broken, by its address."""
    files: FakeFiles = field(default_factory=lambda: FakeFiles(missing=("ada", "bob"), take_s=4.0))
    """What is on the disk, for models whose files are downloaded."""
    broken: list[str] = field(default_factory=list)

    def moods(self, model: str) -> Moods:
        """How a model behaves now."""
        found = self.faults.get(model)
        return found if isinstance(found, Moods) else Moods()

    def takes(self, run: FakeRun) -> dict[str, int]:
        """GPU memory that a run holds now."""
        if run.held:
            return {}
        if run.handle.ident not in self.asleep:
            return dict(run.footprint)
        return {device: round(ppm * LEFTOVER) for device, ppm in run.footprint.items()}

    def launch(self, model: ModelSpec, run: int, *, held: bool = False) -> FakeRun:
        """One that its gate does not hold counts as a stranger: nobody has let it in."""
        if held and self.moods(model.name).no_gate:
            self.strangers.add(f"fake-{self.next_port + 1}")
        return super().launch(model, run, held=held)

    def _note_overlap(self, now: float) -> None:
        if self.strangers & {run.handle.ident for run in self.live()}:
            return
        for device, limit in self.budget.items():
            taken = {run.handle.ident: self.takes(run).get(device, 0) for run in self.live()}
            if sum(taken.values()) > limit:
                self.broken.append(f"promise 1: {now:g} s: {taken} is more than {limit} on device {device}")

    def ends(self, run: FakeRun, how: str) -> None:
        """Nothing may end a run that serves somebody."""
        if held := self.holders[run.handle.ident]:
            self.broken.append(f"promise 4: {run.handle.ident} is to {how} and {held} leases are held")

    def wakes(self, run: FakeRun) -> None:
        """It takes its memory again."""
        self.asleep.discard(run.handle.ident)
        self._note_overlap(asyncio.get_running_loop().time())


class Shaky(FakeRuntime):
    """One process's view of the machine."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(world=machine)
        self.machine = machine
        self.dead = False
        """The process that it belongs to was killed."""
        self.failed: list[tuple[str, int]] = []
        """Runs that it could not launch, by model and number."""
        self._reports: asyncio.Queue[HealthReport] = asyncio.Queue()

    async def alive(self) -> None:
        """Never return once the process that it belongs to was killed."""
        if self.dead:
            await asyncio.Event().wait()

    async def recover(self, models: dict[str, ModelSpec]) -> list[FoundRun]:
        await self.alive()
        return await super().recover(models)

    async def start(self, model: ModelSpec, run: int) -> Handle:
        try:
            return await self._launch(model, run)
        except (LaunchError, RuntimeError):
            self.failed.append((model.name, run))
            raise

    async def prepare(self, model: ModelSpec, run: int, *, low_priority: bool = False) -> Handle:
        try:
            return await self._launch(model, run, held=True)
        except (LaunchError, RuntimeError):
            self.failed.append((model.name, run))
            raise

    async def prepared(self, handle: Handle) -> int | None:
        await self.alive()
        await super().prepared(handle)
        await self.alive()
        return None

    async def admit(self, handle: Handle) -> None:
        await self.alive()
        if self.moods_of(handle).cannot_admit:
            raise LaunchError(Reason(summary="its gate could not be opened"))
        await super().admit(handle)

    async def _launch(self, model: ModelSpec, run: int, *, held: bool = False) -> Handle:
        await self.alive()
        moods = self.machine.moods(model.name)
        if moods.launch_breaks:
            raise RuntimeError("the runtime broke its contract")
        if self.why is not None:
            raise LaunchError(Reason(summary=self.why))
        if moods.launch_s:
            await asyncio.sleep(moods.launch_s)
            await self.alive()
        if moods.cannot_launch is not None:
            raise LaunchError(moods.cannot_launch)
        if others := {one.handle.ident for one in self.machine.live(model.name)} - self.machine.strangers:
            self.machine.broken.append(f"promise 2: {model.name} runs already, as {others}")
        new = self.machine.launch(model, run, held=held)
        try:
            await asyncio.sleep(moods.returns_after_s)
        except asyncio.CancelledError:
            if not self.dead:
                new.end(Reason(summary="its launch was called off"))
            raise
        return new.handle

    async def wait(self, handle: Handle) -> RunExit:
        await self.alive()
        end = await super().wait(handle)
        if self.moods_of(handle).end_untold:
            await asyncio.Event().wait()
        await self.alive()
        return end

    async def stop(self, handle: Handle, grace_s: float) -> None:
        await self.alive()
        run = self.run_of(handle)
        if run.exit is None:
            self.machine.ends(run, "stop")
        moods = self.moods_of(handle)
        if moods.stops_fail > 0:
            moods.stops_fail -= 1
            raise OSError("the engine is away")
        await super().stop(handle, grace_s)

    def moods_of(self, handle: Handle) -> Moods:
        """The faults of a run."""
        faults = self.run_of(handle).faults
        return faults if isinstance(faults, Moods) else Moods()

    def seems_ill(self, run: FakeRun) -> None:
        """The runtime hears that a run cannot answer."""
        self._reports.put_nowait(HealthReport(run.handle, Reason(summary="paused")))

    async def health_reports(self) -> AsyncIterator[HealthReport]:
        """What ``seems_ill`` says."""
        while not self.dead:
            yield await self._reports.get()


class Naps:
    """vLLM's sleep mode on such a machine."""

    def __init__(self, runtime: Shaky) -> None:
        self._runtime, self._machine = runtime, runtime.machine

    async def sleep(self, model: ModelSpec, handle: Handle) -> Mapping[str, int] | None:
        """As the model's mood is."""
        run = await self._asked(handle, "sleep", lambda moods: moods.sleep)
        self._machine.asleep.add(run.handle.ident)
        return self._machine.takes(run)

    async def wake(self, model: ModelSpec, handle: Handle) -> None:
        """It takes its memory at once, and answers a little later."""
        run = self._runtime.run_of(handle)
        if not self._runtime.dead and run.exit is None:
            self._machine.wakes(run)
        await self._asked(handle, "wake", lambda moods: moods.wake)

    async def asleep(self, handle: Handle) -> bool:
        """Whether it sleeps."""
        await self._runtime.alive()
        return handle.ident in self._machine.asleep

    async def _asked(self, handle: Handle, what: str, mood_of: Callable[[Moods], str]) -> FakeRun:
        await self._runtime.alive()
        run, mood = self._runtime.run_of(handle), mood_of(self._runtime.moods_of(handle))
        if what == "sleep" and run.exit is None:
            self._machine.ends(run, "sleep")
        if mood == "hangs":
            await asyncio.Event().wait()
        await asyncio.sleep(0.2)
        await self._runtime.alive()
        if mood == "breaks":
            raise RuntimeError("the sleeper broke its contract")
        if mood == "refuses" or run.exit is not None:
            raise SleepError(Reason(summary=f"it would not {what}"))
        return run
