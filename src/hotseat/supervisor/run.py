"""The life of one run: launched, followed while it loads, probed, watched to its end, stopped."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable

import structlog

from hotseat.core import events as ev
from hotseat.core.errors import Reason
from hotseat.core.spec import ModelSpec
from hotseat.core.views import Upstream
from hotseat.engines.base import DOWNLOADING, download_progress, explained
from hotseat.logs import redact
from hotseat.probing.sleep_mode import SleepError
from hotseat.runtimes.base import Handle, LaunchError, ReportsAddresses, RunExit, Runtime
from hotseat.supervisor.health import HealthChecks
from hotseat.supervisor.held_run import HeldRun
from hotseat.supervisor.ports import Drivers, MeasuresFiles

log = structlog.get_logger("hotseat")

WAITING_FOR_ROOM = "waiting for room"
"""The phase of a run that its runtime has no room for."""
LOADING_GRACE_S = 3.0
"""Longest grace period of a server that is still loading, in seconds: vLLM swallows SIGTERM then."""
STOP_RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses between attempts while the runtime cannot stop a run (its engine is down, say)."""
EXIT_REPORT_S = 5.0
"""Seconds after which a run that was stopped counts as ended, though the runtime does not report its end."""
WATCH_START_S = 1.0
"""Pause between two looks at what a start does, in seconds."""
LISTENS_EVERY = 5
"""One of so many looks is for where the server listens."""
DOWNLOAD_BARS = 64
HUNG_GRACE_S = 3.0
"""Longest grace period of a run that no longer answers, in seconds."""


class Run:
    """One run of a model, from its launch (or its discovery) to its end."""

    def __init__(
        self,
        model: ModelSpec,
        number: int,
        runtime: Runtime,
        drivers: Drivers,
        report: Callable[[ev.Event], None],
        on_phase: Callable[[str, int, str], None],
        handle: Handle | None = None,
        held: HeldRun | None = None,
    ) -> None:
        """``handle``: of a run that was found; ``None``: to be launched.

        ``held``: the gate behind which it is launched, or was found.
        """
        self.model, self.number = model, number
        self.handle = handle
        self.found = handle is not None
        """Whether it was found running, not launched by us."""
        self.phase = "starting"
        self.phases: list[tuple[str, float]] = []
        """The phases of its latest start or wake, each with its start on the event loop's clock."""
        self.upstream: Upstream | None = _upstream(handle) if handle else None
        self.ready = False
        self.stopping = False
        self.hurried = False
        """Whether it gets no grace period any more: it is killed when it is stopped."""
        self._runtime, self._drivers, self._engine = runtime, drivers, drivers.engine_of(model)
        self._report, self._on_phase = report, on_phase
        self._health = HealthChecks(self._check_once, model.health_every_s)
        self._download_bars: deque[str | None] = deque(maxlen=DOWNLOAD_BARS)
        """The latest states of progress bars, which servers repeat when nothing has arrived."""
        self.held = held
        """Its gate; ``None`` where it was started plainly."""
        self._not_let_in: Reason | None = None
        """Why it was stopped at its gate although it had been admitted."""
        self._awake = True
        self._hung = False
        self._probe_now = asyncio.Event()
        self._ended = asyncio.Event()
        self._launched = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Launch it unless it was found, and follow it to its end."""
        self._task = asyncio.current_task()
        self._enter_phase("starting")
        try:
            if self.handle is None and not await self._launch():
                return
            assert self.handle is not None
            self._launched.set()
            async with asyncio.TaskGroup() as group:
                watching = [
                    group.create_task(self._probe_and_watch()),
                    group.create_task(self._follow_log()),
                    group.create_task(self._watch_start()),
                ]
                if self.held is not None and not self.held.kept:
                    watching.append(group.create_task(self._read_ahead(self.held)))
                if isinstance(self._runtime, ReportsAddresses):
                    watching.append(group.create_task(self._follow_addresses(self._runtime)))
                end = await self._runtime.wait(self.handle)
                for task in watching:
                    task.cancel()
            self._report_exit(end)
        except Exception as error:  # a bug, or a runtime that broke its contract
            log.error("run failed", model=self.model.name, run=self.number, exc_info=error)
            await self._stop_until_gone(0)
            self._report(
                ev.RunExited(self.model.name, self.number, Reason(summary=f"hotseat failed: {error!r}"))
            )
        finally:
            self._ended.set()
            self._launched.set()

    async def _launch(self) -> bool:
        name, number = self.model.name, self.number
        held = self.held
        failure = await self._memory_for_launch()
        if failure is None:
            try:
                self.handle = await (held.launch if held else self._runtime.start)(self.model, number)
            except LaunchError as error:
                failure = error.reason
        if failure is not None:
            self._report(ev.StartFailed(name, number, self._explained(failure)))
            return False
        assert self.handle is not None
        self.upstream = _upstream(self.handle)
        return True

    async def _memory_for_launch(self) -> Reason | None:
        if self.held is None:
            return await self._drivers.memory_free(self.model)
        return self._drivers.host_memory_free(self.model)

    async def _pass_gate(self, held: HeldRun) -> None:
        """Wait until the run is admitted, and open its gate; returns early where it answers already."""
        assert self.handle is not None
        self._enter_phase("preparing")
        if not await held.wait(self.handle, self._stands_by, self._answers):
            log.warning("its gate did not hold it", model=self.model.name, run=self.number)
            return
        self.phases.clear()
        self._enter_phase("starting")
        failure = await self._drivers.memory_free(self.model)
        if failure is None:
            try:
                await held.open(self.handle)
                return
            except LaunchError as error:
                failure = error.reason
        self._not_let_in = failure
        await self._stop_until_gone(0)
        await asyncio.Event().wait()  # until its end has been reported

    async def _read_ahead(self, held: HeldRun) -> None:
        """Read its weights once it stands by: before, it needs the disk itself."""
        await held.standing.wait()
        if held.closed:
            await self._drivers.read_ahead(self.model)

    def _stands_by(self, host_mib: int | None) -> None:
        self._enter_phase("standing by")
        self._report(ev.RunPrepared(self.model.name, self.number, host_mib))

    async def _answers(self) -> bool:
        assert self.handle is not None
        return await self._drivers.check(self.model, self.handle) is None

    async def _probe_and_watch(self) -> None:
        """Wait until the run is ready, then report whenever it becomes unhealthy; never returns."""
        assert self.handle is not None
        if self.held is not None:
            await self._pass_gate(self.held)
        host = await self._drivers.probe(self.model, self.handle, self._probe_now)
        if host is not None and host != self.handle.host:
            self.handle = dataclasses.replace(self.handle, host=host)
            self.upstream = _upstream(self.handle)
        self._awake = not await self._found_asleep()
        self.ready = True
        name, number = self.model.name, self.number
        self._report(ev.ProbePassed(name, number) if self._awake else ev.RunSlept(name, number))
        while True:
            self._unhealthy(f"no longer answers its health check ({await self._health.until_unhealthy()})")

    async def _found_asleep(self) -> bool:
        """Whether it was left asleep: it would pass its health check and never answer requests."""
        if not self.found or self.model.scheduling.sleep is None:
            return False
        assert self.handle is not None
        return await self._drivers.sleeper.asleep(self.handle)

    async def _check_once(self) -> str | None:
        """Check its health once; a run that sleeps or stops is not checked."""
        if not self._awake or self.stopping:
            return None
        assert self.handle is not None
        trouble = await self._drivers.check(self.model, self.handle)
        if trouble is None and self.found and await self._found_asleep():
            # It fell asleep after it was found: hotseat was killed while it was suspending.
            trouble = "it sleeps and does not answer requests"
        return trouble if self._awake and not self.stopping else None

    def _unhealthy(self, why: str) -> None:
        self._hung = True
        self._report(ev.RunUnhealthy(self.model.name, self.number, Reason(summary=why, alive=True)))

    def suspect(self, why: str, *, certain: bool = False) -> None:
        """Take a report of a client that it does not work: check at once, or believe it if it is certain."""
        if not self.ready or self.stopping or not self._awake:
            return
        if certain:
            self._unhealthy(why)
        elif self._health.check_now():
            log.info("suspected", model=self.model.name, run=self.number, why=why)

    def hint(self) -> None:
        """Probe at once: its runtime says that something has changed."""
        self._probe_now.set()
        self._health.check_now()

    async def _follow_addresses(self, runtime: ReportsAddresses) -> None:
        """Send requests and probes to where the run is now."""
        assert self.handle is not None
        async for addresses in runtime.addresses(self.handle):
            first = addresses[0]
            self.handle = dataclasses.replace(self.handle, host=first.host, port=first.port)
            replicas = tuple((one.host, one.port) for one in addresses) if len(addresses) > 1 else ()
            self.upstream = dataclasses.replace(_upstream(self.handle), replicas=replicas)
            log.info("addresses changed", model=self.model.name, run=self.number, replicas=len(addresses))

    async def _follow_log(self) -> None:
        """Read its log while it loads: phases for people, and a reason to probe at once."""
        assert self.handle is not None
        async for line in self._runtime.lines(self.handle):
            if self.ready:
                return
            phase = self._engine.phase(line)
            if phase == DOWNLOADING and (progress := download_progress(line)) not in self._download_bars:
                self._download_bars.append(progress)
                self._report(ev.StartObserved(self.model.name, self.number, downloading=True))
            if phase is not None and phase != self.phase:
                self._enter_phase(phase)
                log.info("loading", model=self.model.name, run=self.number, phase=phase)
            self._probe_now.set()

    async def _watch_start(self) -> None:
        """Look at what a start that takes long does: whether files arrive, and where it listens."""
        arrived = await self._arrived_bytes()
        for look in itertools.count(1):
            await asyncio.sleep(WATCH_START_S)
            if self.ready or self.stopping:
                return
            before, arrived = arrived, await self._arrived_bytes()
            if before is not None and arrived is not None and arrived > before:
                if self.phase in ("starting", "starting engine"):
                    self._enter_phase(DOWNLOADING)
                    log.info("loading", model=self.model.name, run=self.number, phase=DOWNLOADING)
                self._report(ev.StartObserved(self.model.name, self.number, downloading=True))
            seldom = look % LISTENS_EVERY == 2  # it takes a look at every process of the machine
            if seldom and (note := await self._where_it_listens()) is not None:
                self._report(ev.StartObserved(self.model.name, self.number, note=note))

    async def _arrived_bytes(self) -> int | None:
        files = self._drivers.files
        return await files.arrived_bytes(self.model) if isinstance(files, MeasuresFiles) else None

    async def _where_it_listens(self) -> str | None:
        """Say where hotseat looks for the server, and where that listens instead."""
        handle = self.handle
        if handle is None or handle.listener is None:
            return None
        listener = handle.listener
        at = await asyncio.to_thread(listener.addresses)
        where = f"{handle.host}:{handle.port}"
        if (who := await asyncio.to_thread(listener.impostor)) is not None:
            return who
        if not at:
            return f"nothing listens at {where}"
        if any(one.endswith(f":{handle.port}") for one in at):
            return None
        return f"it listens at {', '.join(sorted(at))}, and was looked for at {where}"

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._ended.is_set()

    async def lines(self, last: int | None) -> AsyncIterator[str]:
        """Yield log lines until the run ends: the ``last`` ones so far (``None``: all), then new ones."""
        await self._launched.wait()
        if self.handle is not None:
            async for line in self._runtime.lines(self.handle, last):
                yield redact(line)

    async def sleep(self) -> None:
        """Put it to sleep; report the GPU memory that it still takes."""
        assert self.handle is not None
        try:
            self._awake = False
            leftover = await self._drivers.sleeper.sleep(self.model, self.handle)
        except SleepError as error:
            self._report(ev.SleepFailed(self.model.name, self.number, error.reason))
        else:
            self._report(ev.RunSlept(self.model.name, self.number, leftover))

    async def wake(self) -> None:
        """Wake it; report when it answers."""
        assert self.handle is not None
        self.phases.clear()
        self._enter_phase("waking")
        try:
            await self._drivers.sleeper.wake(self.model, self.handle)
        except SleepError as error:
            self._report(ev.WakeFailed(self.model.name, self.number, error.reason))
        else:
            self._awake = True
            self._report(ev.ProbePassed(self.model.name, self.number))

    @property
    def downloaded(self) -> bool:
        """Whether its start was seen to download, so that its duration says nothing about others."""
        return any(phase == DOWNLOADING for phase, _ in self.phases)

    def durations(self, now: float) -> dict[str, float]:
        """Seconds that each phase took, the last one until ``now``."""
        ends = [at for _, at in self.phases[1:]] + [now]
        return {phase: end - at for (phase, at), end in zip(self.phases, ends, strict=True)}

    def placement_changed(self, reason: Reason | None) -> None:
        """Show whether it waits for room."""
        phase = "starting" if reason is None else WAITING_FOR_ROOM
        if not self.ready and phase != self.phase:
            self._enter_phase(phase)
            if reason is not None:
                log.info("no room", model=self.model.name, run=self.number, why=reason.summary)

    def _enter_phase(self, phase: str) -> None:
        self.phase = phase
        self.phases.append((phase, asyncio.get_running_loop().time()))
        self._on_phase(self.model.name, self.number, phase)

    def _report_exit(self, end: RunExit) -> None:
        if self.stopping and end.reason.signal == signal.SIGKILL and (grace_s := self._grace_s()) > 0:
            log.warning(
                "killed: did not end within its grace",
                model=self.model.name,
                run=self.number,
                grace_s=grace_s,
            )
        reason = self._explained(self._not_let_in or end.reason)
        self._report(ev.RunExited(self.model.name, self.number, reason, outside=end.outside))

    def _explained(self, reason: Reason) -> Reason:
        """The reason with its cause; a server may have written its keys into the lines."""
        reason = explained(reason, self._engine)
        return dataclasses.replace(reason, lines=tuple(map(redact, reason.lines)))

    async def stop(self) -> None:
        """Stop it, trying again while the runtime cannot; report that it is gone."""
        self.stopping = True
        if self.handle is None and self._task is not None:
            # Still being launched: once cancelled, the runtime needs some time to leave nothing behind.
            self._task.cancel()
            await self._ended.wait()
        await self._stop_until_gone(self._grace_s())
        try:
            async with asyncio.timeout(EXIT_REPORT_S):
                await self._ended.wait()
        except TimeoutError:
            if self._task is not None:
                self._task.cancel()
        self._report(ev.RunExited(self.model.name, self.number, Reason(summary="stopped")))

    async def kill(self) -> None:
        """Cut the grace period of a stop that is under way short. Where that fails, the stop goes on."""
        if self.handle is not None:
            try:
                await self._runtime.stop(self.handle, 0)
            except Exception as error:
                log.warning("kill failed", model=self.model.name, run=self.number, error=str(error))

    async def _stop_until_gone(self, grace_s: float) -> None:
        """Have the runtime stop it, again and again while that fails."""
        attempts = 0
        while self.handle is not None:
            try:
                await self._runtime.stop(self.handle, grace_s)
                return
            except Exception as error:
                pause_s = STOP_RETRY_S[min(attempts, len(STOP_RETRY_S) - 1)]
                log.warning(
                    "stop failed", model=self.model.name, run=self.number, error=str(error), retry_s=pause_s
                )
                await asyncio.sleep(pause_s)
                attempts += 1

    def _grace_s(self) -> float:
        if self.held is not None and self.held.closed and not self.ready:
            return 0.0  # nothing of it is worth an orderly end, and vLLM's server takes 40 s for one
        if self.hurried:
            return 0.0
        configured_s = self.model.stop_grace_s
        if not self.ready:
            return min(LOADING_GRACE_S, configured_s)
        return min(HUNG_GRACE_S, configured_s) if self._hung else configured_s


def renumbered(handle: Handle, number: int) -> Handle:
    """The handle of a run that was found, under the number that it has in the core."""
    return dataclasses.replace(handle, run=number)


def _upstream(handle: Handle) -> Upstream:
    listener, host = handle.listener, handle.host
    return Upstream(
        model=handle.model,
        run=handle.run,
        host=host,
        port=handle.port,
        base_path=handle.base_path,
        impostor=(lambda: listener.impostor(host)) if listener is not None else None,
    )
