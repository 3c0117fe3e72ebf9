"""A supervisor over the fake runtime, for tests on virtual time (``fakes.clock``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fakes.runtime import FakeRuntime, Faults, World
from hotseat.core import effects as do
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec, SchedulerSpec, SchedulingSpec, ServeSpec, Settings
from hotseat.core.views import Progress
from hotseat.engines.base import Engine
from hotseat.engines.pick import engine_named
from hotseat.gateway.proxy.lease import LeaseRefused
from hotseat.probing.sleep_mode import SleepError
from hotseat.runtimes.base import Handle
from hotseat.runtimes.process.spec import ProcessSpec
from hotseat.supervisor.ports import Drivers, Environment, MemoryCheck, Observers
from hotseat.supervisor.supervisor import Supervisor
from hotseat.telemetry.history import RecordedStart, StartKind


def model(name: str, share: float = 0.6, **terms: Any) -> ModelSpec:
    """A model with this share of GPU 0; further terms are its scheduling."""
    scheduling = SchedulingSpec(
        name=name, footprint={"0": round(share * 1_000_000)}, fingerprint=name, **terms
    )
    return ModelSpec(name=name, scheduling=scheduling, launch=ProcessSpec(command=(name,)), runtime="fake")


def settings(*models: ModelSpec, budget: float = 0.9) -> Settings:
    """A machine with these models."""
    return Settings(
        serve=ServeSpec(state_dir="unused"),
        scheduler=SchedulerSpec(
            budget={"0": round(budget * 1_000_000)}, models={m.name: m.scheduling for m in models}
        ),
        models={m.name: m for m in models},
        routes=(),
    )


class Memory:
    """Earlier starts, in memory."""

    def __init__(self, **usual_s: float) -> None:
        self.usual_s = usual_s
        self.recorded: list[tuple[str, str, float]] = []

    def record_start(self, start: RecordedStart) -> None:
        self.recorded.append((start.model, start.kind, start.seconds))

    def eta_s(self, model: str, kind: StartKind = StartKind.COLD) -> float | None:
        return self.usual_s.get(model)


class FakeSleeper:
    """Sleeps and wakes in the given times, or fails."""

    async def asleep(self, handle: Handle) -> bool:
        """What is found is awake."""
        return False

    def __init__(self, wake_s: float = 0.2, *, wake_fails: bool = False, sleep_fails: bool = False) -> None:
        self.wake_s, self.wake_fails, self.sleep_fails = wake_s, wake_fails, sleep_fails

    async def sleep(self, model: ModelSpec, handle: Handle) -> Mapping[str, int] | None:
        await asyncio.sleep(0.1)
        if self.sleep_fails:
            raise SleepError(Reason(summary="it would not sleep"))
        return {"0": 20_000}

    async def wake(self, model: ModelSpec, handle: Handle) -> None:
        await asyncio.sleep(self.wake_s)
        if self.wake_fails:
            raise SleepError(Reason(summary="it would not wake"))


class FakeFiles:
    """Files of models that come in so many seconds, or do not come."""

    def __init__(
        self, *, missing: Collection[str] = (), take_s: float = 10.0, fails: Reason | None = None
    ) -> None:
        self.missing, self.take_s, self.fails = set(missing), take_s, fails
        self.begun: list[str] = []
        self.cancelled: list[str] = []

    async def are_here(self, model: ModelSpec) -> bool:
        return model.name not in self.missing

    async def download(self, model: ModelSpec, tell: Callable[[Progress], None]) -> Reason | None:
        self.begun.append(model.name)
        try:
            await asyncio.sleep(self.take_s / 2)
            tell(Progress(percent=50, left_s=self.take_s / 2))
            await asyncio.sleep(self.take_s / 2)
        except asyncio.CancelledError:
            self.cancelled.append(model.name)
            raise
        if self.fails is None:
            self.missing.discard(model.name)
        return self.fails


class House:
    """A supervisor over a fake runtime, and what a test may look at."""

    def __init__(
        self,
        settings: Settings,
        world: World,
        memory: Memory,
        sleeper: FakeSleeper,
        files: FakeFiles,
        began_at: float,
        memory_free: MemoryCheck,
    ) -> None:
        world.budget = settings.scheduler.budget
        self.runtime = FakeRuntime(world=world)
        self.world = self.runtime.world
        self.memory = memory
        self.moves: list[do.ReportMove] = []
        self.phases: list[tuple[str, int, str]] = []
        """Phases of starts: model, run and phase."""
        self.began_at = began_at
        self.host_memory_short: Reason | None = None
        """Set it to have no model prepared."""
        self.read_ahead: list[str] = []
        """Models whose weights were read ahead."""
        self.engine_of: Callable[[ModelSpec], Engine] = lambda model: engine_named("openai")
        """Replace it to have starts fail by a bug."""
        self.supervisor = Supervisor(
            settings,
            {"fake": self.runtime},
            Drivers(
                engine_of=lambda model: self.engine_of(model),
                probe=lambda model, handle, poke: self.runtime.until_ready(handle.host, handle.port),
                check=self._check,
                memory_free=memory_free,
                sleeper=sleeper,
                files=files,
                host_memory_free=lambda model: self.host_memory_short,
                read_ahead=self._read_ahead,
            ),
            Observers(starts=memory, on_move=self.moves.append, on_phase=self._entered_phase),
            Environment(jitter=lambda: 0.0, wall_clock=lambda: self.began_at + self.supervisor.now()),
            refused=LeaseRefused,
        )

    def _entered_phase(self, model: str, run: int, phase: str) -> None:
        self.phases.append((model, run, phase))

    async def _check(self, model: ModelSpec, handle: Handle) -> str | None:
        return None if await self.runtime.healthy(handle.host, handle.port) else "silent"

    async def _read_ahead(self, model: ModelSpec) -> None:
        self.read_ahead.append(model.name)

    def causes(self, model: str) -> list[str]:
        """The model's moves so far: ``"ready (probe_passed)"``, …"""
        return [f"{move.new} ({move.cause})" for move in self.moves if move.model == model]

    async def answer(self, model: str, service_s: float = 0.0, **ask: Any) -> float:
        """Ask, use the lease for so long, give it back; returns how long it waited."""
        since = self.supervisor.now()
        with self.supervisor.ask(model, **ask) as ticket:
            assert await ticket.wait()
            waited_s = self.supervisor.now() - since
            assert ticket.lease is not None
            await asyncio.sleep(service_s)
        return waited_s


async def _always_free(model: ModelSpec) -> None:
    return None


@asynccontextmanager
async def house(
    *models: ModelSpec,
    budget: float = 0.9,
    faults: Mapping[str, Faults] | None = None,
    world: World | None = None,
    memory: Memory | None = None,
    sleeper: FakeSleeper | None = None,
    files: FakeFiles | None = None,
    began_at: float = 0.0,
    memory_free: MemoryCheck = _always_free,
) -> AsyncIterator[House]:
    """A supervisor that is open; closed at the end, when nothing may be left of it.

    ``began_at``: the time of day at the clock's 0, in seconds since 1970.
    """
    made = House(
        settings(*models, budget=budget),
        world or World(),
        memory or Memory(),
        sleeper or FakeSleeper(),
        files or FakeFiles(),
        began_at,
        memory_free,
    )
    made.world.faults.update(faults or {})
    await made.supervisor.open()
    try:
        yield made
    finally:
        await made.supervisor.close()
    assert not made.world.live()
    assert not made.world.overlaps
    assert not made.world.doubles
