"""The life of one run: launched, followed while it loads, probed, watched to its end, stopped."""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from hotseat.core import events as ev
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec
from hotseat.core.views import Upstream
from hotseat.engines.base import Engine, explained
from hotseat.probing.sleep_mode import SleepError
from hotseat.runtimes.base import Handle, LaunchError, RunExit, Runtime
from hotseat.supervisor.health import HealthChecks

log = structlog.get_logger("hotseat")

LOADING_GRACE_S = 3.0
"""A server that is still loading gets no longer to end by itself: vLLM swallows SIGTERM then."""
STOP_RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses between tries when the runtime cannot stop a run (the engine is down, say)."""
LIFE_ENDS_S = 5.0
"""A run that the runtime has ended, but whose end it does not report, is taken for ended after so long."""
HUNG_GRACE_S = 3.0
"""A run that does not answer any more gets no longer to end by itself."""


class Sleeper(Protocol):
    """How a kind of server is put to sleep and woken."""

    async def sleep(self, model: ModelSpec, handle: Handle) -> Mapping[str, int] | None:
        """Put it to sleep; returns the GPU memory it still takes (ppm by device) where that is measured.

        Raises ``SleepError``.
        """

    async def wake(self, model: ModelSpec, handle: Handle) -> None:
        """Wake it and warm it up; returns when it answers. Raises ``SleepError``."""

    async def asleep(self, handle: Handle) -> bool:
        """Whether it says that it sleeps; one that cannot be asked does not."""


Prober = Callable[[ModelSpec, Handle, asyncio.Event], Awaitable[None]]
"""Returns when the server answers for this run; the event asks it to look at once."""
Check = Callable[[ModelSpec, Handle], Awaitable[str | None]]
"""Asks a ready run once, within a time of its own; what is wrong with it, ``None`` when it answers."""
RoomCheck = Callable[[ModelSpec], Awaitable[Reason | None]]
"""Waits until the GPU memory that the model needs is really free; a reason when it does not come."""


class Run:
    """One start of a model, from its launch (or its being found) to its end."""

    def __init__(
        self,
        model: ModelSpec,
        number: int,
        runtime: Runtime,
        engine: Engine,
        probe: Prober,
        check: Check,
        room: RoomCheck,
        sleeper: Sleeper,
        feed: Callable[[ev.Event], None],
        entered: Callable[[str, int, str], None],
        handle: Handle | None = None,
    ) -> None:
        self.model, self.number = model, number
        self.handle = handle
        self.found = handle is not None
        """It ran already when we came across it."""
        self.phase = "starting"
        self.phases: list[tuple[str, float]] = []
        """The phases of its latest start or waking, each with the loop's time at which it began."""
        self.upstream: Upstream | None = _upstream(handle) if handle else None
        self.ready = False
        self.stopping = False
        self._runtime, self._engine, self._probe, self._room = runtime, engine, probe, room
        self._sleeper, self._feed, self._entered = sleeper, feed, entered
        self._check = check
        self._health = HealthChecks(self._look, model.health_every_s)
        self._awake = True
        self._hung = False
        self._poke = asyncio.Event()
        self._over = asyncio.Event()
        self._launched = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    async def live(self) -> None:
        """Launch it if it was not found running, and see it to its end."""
        self._life = asyncio.current_task()
        self._enter("starting")
        try:
            if self.handle is None and not await self._launch():
                return
            assert self.handle is not None
            self._launched.set()
            async with asyncio.TaskGroup() as group:
                watching = [group.create_task(self._answering()), group.create_task(self._follow())]
                end = await self._runtime.wait(self.handle)
                for task in watching:
                    task.cancel()
            self._ended(end)
        except Exception as error:  # a bug, or a runtime that broke its contract: end the run, say so
            log.error("run failed", model=self.model.name, run=self.number, exc_info=error)
            await self._end_it(0)
            self._feed(
                ev.RunExited(self.model.name, self.number, Reason(summary=f"hotseat failed: {error!r}"))
            )
        finally:
            self._over.set()
            self._launched.set()

    async def _launch(self) -> bool:
        name, number = self.model.name, self.number
        missing = await self._room(self.model)
        if missing is None:
            try:
                self.handle = await self._runtime.start(self.model, number)
            except LaunchError as error:
                missing = error.reason
        if missing is not None:
            self._feed(ev.StartFailed(name, number, explained(missing, self._engine)))
            return False
        assert self.handle is not None
        self.upstream = _upstream(self.handle)
        return True

    async def _answering(self) -> None:
        """From the first probe that passes, see to it that it goes on answering."""
        assert self.handle is not None
        await self._probe(self.model, self.handle, self._poke)
        self._awake = not await self._found_asleep()
        self.ready = True
        name, number = self.model.name, self.number
        self._feed(ev.ProbePassed(name, number) if self._awake else ev.RunSlept(name, number))
        while True:
            self._unhealthy(f"does not answer its health check any more ({await self._health.failing()})")

    async def _found_asleep(self) -> bool:
        """Whether an earlier hotseat left it asleep: it would pass its health check and park requests."""
        if not self.found or self.model.scheduling.sleep is None:
            return False
        assert self.handle is not None
        return await self._sleeper.asleep(self.handle)

    async def _look(self) -> str | None:
        """One health check; of a run that sleeps nothing is asked."""
        if not self._awake or self.stopping:
            return None
        assert self.handle is not None
        trouble = await self._check(self.model, self.handle)
        if trouble is None and self.found and await self._found_asleep():
            # It fell asleep after all: hotseat was killed while it was about to.
            trouble = "it sleeps, and requests are parked"
        return trouble if self._awake and not self.stopping else None

    def _unhealthy(self, why: str) -> None:
        self._hung = True
        self._feed(ev.RunUnhealthy(self.model.name, self.number, Reason(summary=why, alive=True)))

    def suspect(self, why: str, *, certain: bool = False) -> None:
        """Somebody who uses the run doubts that it works: look at once, or believe it if it is certain."""
        if not self.ready or self.stopping or not self._awake:
            return
        if certain:
            self._unhealthy(why)
        elif self._health.doubt():
            log.info("doubted", model=self.model.name, run=self.number, why=why)

    def hint(self) -> None:
        """Something has changed about it (its runtime says): probe at once."""
        self._poke.set()
        self._health.doubt()

    async def _follow(self) -> None:
        """Read what it writes while it loads: phases for people, and a reason to probe at once."""
        assert self.handle is not None
        async for line in self._runtime.lines(self.handle):
            if self.ready:
                return
            phase = self._engine.phase(line)
            if phase is not None and phase != self.phase:
                self._enter(phase)
                log.info("loading", model=self.model.name, run=self.number, phase=phase)
            self._poke.set()

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    async def lines(self, last: int | None) -> AsyncIterator[str]:
        """What it writes (of what it has written by now, the ``last`` lines), as it comes, to its end."""
        await self._launched.wait()
        if self.handle is not None:
            async for line in self._runtime.lines(self.handle, last):
                yield line

    async def sleep(self) -> None:
        """Put it to sleep and report what it still takes."""
        assert self.handle is not None
        try:
            self._awake = False
            leftover = await self._sleeper.sleep(self.model, self.handle)
        except SleepError as error:
            self._feed(ev.SleepFailed(self.model.name, self.number, error.reason))
        else:
            self._feed(ev.RunSlept(self.model.name, self.number, leftover))

    async def wake(self) -> None:
        """Wake it; it is ready when it answers."""
        assert self.handle is not None
        self.phases.clear()
        self._enter("waking")
        try:
            await self._sleeper.wake(self.model, self.handle)
        except SleepError as error:
            self._feed(ev.WakeFailed(self.model.name, self.number, error.reason))
        else:
            self._awake = True
            self._feed(ev.ProbePassed(self.model.name, self.number))

    def durations(self, now: float) -> dict[str, float]:
        """How long each phase took, in seconds, the last one until ``now``."""
        ends = [at for _, at in self.phases[1:]] + [now]
        return {phase: end - at for (phase, at), end in zip(self.phases, ends, strict=True)}

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self.phases.append((phase, asyncio.get_running_loop().time()))
        self._entered(self.model.name, self.number, phase)

    def _ended(self, end: RunExit) -> None:
        if self.stopping and end.reason.signal == signal.SIGKILL and (grace_s := self._grace_s()) > 0:
            log.warning(
                "killed: did not end within its grace",
                model=self.model.name,
                run=self.number,
                grace_s=grace_s,
            )
        reason = explained(end.reason, self._engine)
        self._feed(ev.RunExited(self.model.name, self.number, reason, outside=end.outside))

    async def stop(self) -> None:
        """End it, trying again while the runtime cannot; report that it is gone."""
        self.stopping = True
        if self.handle is None and self._life is not None:
            # Still being launched: cancelled once, the runtime takes its time to leave nothing behind.
            self._life.cancel()
            await self._over.wait()
        await self._end_it(self._grace_s())
        try:
            async with asyncio.timeout(LIFE_ENDS_S):
                await self._over.wait()
        except TimeoutError:
            if self._life is not None:
                self._life.cancel()
        self._feed(ev.RunExited(self.model.name, self.number, Reason(summary="stopped")))

    async def _end_it(self, grace_s: float) -> None:
        """Have the runtime end it, again and again while it cannot."""
        tries = 0
        while self.handle is not None:
            try:
                await self._runtime.stop(self.handle, grace_s)
                return
            except Exception as error:
                pause_s = STOP_RETRY_S[min(tries, len(STOP_RETRY_S) - 1)]
                log.warning(
                    "stop failed", model=self.model.name, run=self.number, error=str(error), retry_s=pause_s
                )
                await asyncio.sleep(pause_s)
                tries += 1

    def _grace_s(self) -> float:
        most_s = self.model.stop_grace_s
        if not self.ready:
            return min(LOADING_GRACE_S, most_s)
        return min(HUNG_GRACE_S, most_s) if self._hung else most_s


def as_found(handle: Handle, number: int) -> Handle:
    """The handle of a run that we did not start, under the number that it has with us."""
    return dataclasses.replace(handle, run=number)


def _upstream(handle: Handle) -> Upstream:
    return Upstream(
        model=handle.model, run=handle.run, host=handle.host, port=handle.port, base_path=handle.base_path
    )
