"""The scheduler's only owner: carries out its effects, each in its own task, and feeds it the results."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import ClassVar, Protocol

import structlog

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core import refusals
from hotseat.core.errors import Reason, Refusal
from hotseat.core.scheduler import Scheduler
from hotseat.core.spec import ModelSpec, Settings
from hotseat.core.states import HOLDS_LEASES, HOLDS_RUN, LOADING, Cause, State
from hotseat.core.views import Loading, ModelView, Upstream
from hotseat.engines.base import Engine
from hotseat.runtimes.base import FoundRun, HealthReport, ReportsCommands, ReportsImages, Runtime
from hotseat.supervisor.downloads import Downloads, WeightFiles
from hotseat.supervisor.keep_warm import KeepWarm
from hotseat.supervisor.reports import kind_of_start, log_move, why_not_ready
from hotseat.supervisor.run import Check, Prober, RoomCheck, Run, Sleeper, as_found
from hotseat.supervisor.runtime_monitor import RuntimeMonitor
from hotseat.supervisor.ticket import Lease, Ticket
from hotseat.tasks import Tasks
from hotseat.telemetry.history import RecordedStart, StartKind

log = structlog.get_logger("hotseat")

TOLD_SPIN_UPS = 20
CLOSE_WITHIN_S = 60.0
"""What the end may take beyond drains and stops, when a runtime cannot stop its runs."""


class StartHistory(Protocol):
    """What earlier starts taught (``history``)."""

    def record_start(self, start: RecordedStart) -> None:
        """Remember a start that ended well."""

    def eta_s(self, model: str, kind: StartKind = StartKind.COLD) -> float | None:
        """How long such a start takes; ``None`` until there is data."""


class Supervisor:
    """Owns the scheduler. Everybody else asks for tickets, sends orders, and reads snapshots."""

    refused: type[Exception]

    def __init__(
        self,
        settings: Settings,
        runtimes: Mapping[str, Runtime],
        *,
        refused: type[Exception],
        engine_of: Callable[[ModelSpec], Engine],
        probe: Prober,
        check: Check,
        room: RoomCheck,
        sleeper: Sleeper,
        starts: StartHistory,
        files: WeightFiles,
        jitter: Callable[[], float],
        wall_clock: Callable[[], float],
        on_move: Callable[[do.ReportMove], None] = lambda move: None,
        on_phase: Callable[[str, int, str], None] = lambda model, run, phase: None,
    ) -> None:
        """``refused(refusal)`` is raised to those who get no lease; ``jitter`` (0…1) spreads back-offs;
        ``wall_clock`` tells the time of day, for the history. ``on_phase(model, run, phase)`` is told of each
        phase of a start.
        """
        self.refused = refused
        self._models = dict(settings.models)
        self._core = Scheduler(settings.scheduler, jitter, settled=False)
        self._engine_of, self._probe, self._check = engine_of, probe, check
        self._room, self._sleeper = room, sleeper
        self._starts, self._wall_clock = starts, wall_clock
        self._on_move, self._on_phase = on_move, on_phase
        self._tasks = Tasks(self._task_failed)
        self._fetching = Downloads(files, self._tasks, self._feed)
        self._lookout = RuntimeMonitor(
            runtimes, self._tasks, found=self._found, sign=self._heed, changed=self._usable_changed
        )
        self._runs: dict[str, Run] = {}
        self._numbers: dict[str, int] = {}
        self._tickets: dict[int, Ticket] = {}
        self._ids = itertools.count(1)
        self._granted: dict[str, int] = {}
        self._spin_ups: dict[str, deque[float]] = {}
        self._events: deque[ev.Event] = deque()
        self._feeding = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")
        self._moved = asyncio.Event()
        self._closing = False
        self._late: dict[str, FoundRun] = {}
        """Found while another run of the model was on its way out."""
        self._warmth = KeepWarm(wall_clock, lambda model, warm: self._feed(ev.KeepWarmChanged(model, warm)))

    # life

    async def open(self, prepare: Callable[[], Awaitable[None]] | None = None) -> None:
        """Open the runtimes, take back what was left running, and start what is to be warm.

        ``prepare`` is called when all that runs is known, before anything is started or sent away.
        """
        await self._lookout.open()
        await self._recover()
        if prepare is not None:
            await prepare()
        self._remember_starts()
        await self._fetching.look(self._models.values())
        self._warmth.configure(self._models)
        self._tasks.start("keep-warm schedules", self._warmth.keep())
        self._feed(ev.RunsRecovered())

    async def _recover(self) -> None:
        views = self._core.views()
        known = {n: run.model for n, run in self._runs.items() if n in views and views[n].run is not None}
        await self._lookout.recover({**known, **self._models})

    def _remember_starts(self) -> None:
        for model in self._models:
            seconds = self._starts.eta_s(model, StartKind.COLD)
            if seconds is not None:
                self._feed(ev.StartRemembered(model, seconds))

    async def configure(self, settings: Settings, more: Mapping[str, Runtime]) -> None:
        """Take over another configuration; ``more`` are runtimes that its models need and we lack.

        A model that is as it was keeps its run. One that is launched differently now is restarted when
        it is idle, one that is gone is drained and stopped.
        """
        await self._lookout.add(more)
        self._models = dict(settings.models)
        for name, run in self._runs.items():
            spec = self._models.get(name)
            if spec is not None and spec.scheduling.fingerprint == run.model.scheduling.fingerprint:
                run.model = spec
        self._feed(ev.SchedulerConfigured(settings.scheduler))
        self._tell_moved()
        await self._fetching.look(self._models.values())
        self._remember_starts()
        self._lookout.look(anew=True)
        self._warmth.configure(self._models)
        await self._recover()

    async def close(self, *, leave_running: bool = False) -> None:
        """Refuse what waits, drain, stop every model (or leave them for adoption), and end all tasks."""
        self._closing = True
        self._feed(ev.ShutdownRequested(leave_running))
        self._tell_moved()  # orders that wait are answered, also where nothing moves
        try:
            async with asyncio.timeout(self._patience_s()):
                while not self._core.at_rest:
                    await self._next_move()
        except TimeoutError:
            left = [name for name, view in self._core.views().items() if view.run is not None]
            log.error("models could not be stopped: the next start finds them", models=left)
        if self._alarm is not None:
            self._alarm.cancel()
        await self._tasks.close()
        await self._lookout.close()

    def _patience_s(self) -> float:
        """How long the end may take: every drain and stop, and some time for a runtime that is away."""
        terms = [model.scheduling.drain_timeout_s + model.stop_grace_s for model in self._models.values()]
        return max(terms, default=0.0) + CLOSE_WITHIN_S

    async def _next_move(self) -> None:
        await self._moved.wait()

    # what the gateway asks (gateway.seats.Seats)

    def ask(self, model: str, *, priority: int = 0, key: str = "") -> Ticket:
        """Ask for a lease. Raises ``refused`` when the answer is no at once."""
        now = self.now()
        request = next(self._ids)
        ticket = self._tickets[request] = Ticket(self, request, model, now)
        if not self._feeding:
            run = self._core.admit(request, model, key, now)
            if run is not None:  # a ready model with room: nothing is to be decided
                self._lend(ticket)
                return ticket
        self._feed(ev.RequestArrived(ticket.request, model, priority, key))
        if ticket.refusal is not None:
            ticket.closed = True
            raise self.refused(ticket.refusal)
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        """The ticket is done with."""
        if self._tickets.pop(ticket.request, None) is None:
            return
        if not self._feeding and self._core.take_back(ticket.request, self.now()):
            return
        if ticket.lease is None:
            self._feed(ev.RequestWithdrawn(ticket.request))
        else:
            self._feed(ev.LeaseReturned(ticket.request))

    def loading(self, ticket: Ticket) -> Loading:
        """How far a ticket's model is; one that was configured away meanwhile is stopped."""
        known = ticket.model in self._models
        return Loading(
            model=ticket.model,
            state=self._core.state(ticket.model) if known else State.STOPPED,
            phase=(known and self.phase(ticket.model)) or "queued",
            elapsed_s=self.now() - ticket.since,
            eta_s=self.eta_s(ticket.model) if known else None,
        )

    def state(self, model: str) -> str:
        """The model's state; starts nothing. Raises ``KeyError``."""
        return self._core.state(model)

    @property
    def tickets(self) -> int:
        """Requests that wait or hold a lease."""
        return len(self._tickets)

    # what the admin API asks (admin.control.Control)

    def now(self) -> float:
        """The time in which snapshots speak."""
        return asyncio.get_running_loop().time()

    def views(self) -> Mapping[str, ModelView]:
        """A snapshot of every model."""
        return self._core.views()

    def phase(self, model: str) -> str | None:
        """How far a loading model is; ``None`` when it does not load and nobody waits for it."""
        view = self._core.view(model)
        if view.state is State.DOWNLOADING:
            progress = self._fetching.progress(model)
            return "looking for its files" if progress is None else f"{progress.percent} %"
        if view.state in LOADING and (run := self._runs.get(model)) is not None:
            return run.phase
        if view.waiting and view.state is State.STOPPED:
            return "making room"
        return None

    def eta_s(self, model: str) -> float | None:
        """How long until it is ready, learned from earlier starts; ``None`` too once it takes longer."""
        view = self._core.view(model)
        if view.state is State.DOWNLOADING:
            progress = self._fetching.progress(model)
            return progress.left_s if progress else None
        usual_s = self._starts.eta_s(model, kind_of_start(view.state))
        if usual_s is None or view.state not in (*LOADING, State.STOPPED, State.ASLEEP):
            return None
        if view.state not in LOADING:
            return usual_s
        left_s = usual_s - (self.now() - view.since)
        return left_s if left_s > 0 else None

    def next_turn_at(self) -> float | None:
        """When a turn ends that somebody waits for; ``None``: nobody waits for that."""
        at = self._core.plan_at
        return at if self.now() < at < float("inf") else None

    def hold(self, model: str, seconds: float) -> None:
        """Keep a model warm for so many seconds from now; 0 ends it."""
        self._warmth.hold(model, self._wall_clock() + seconds)

    def held_until(self, model: str) -> float | None:
        """Until when an operator keeps it warm, in Unix seconds; ``None``: not at all."""
        return self._warmth.held_until(model)

    def spin_ups(self, model: str) -> list[float]:
        """How long its latest starts took, in seconds."""
        return list(self._spin_ups.get(model, ()))

    def requests(self, model: str) -> int:
        """Leases granted since we run."""
        return self._granted.get(model, 0)

    def unusable(self) -> Mapping[str, str]:
        """Runtimes that cannot work now, and why."""
        return dict(self._lookout.unusable)

    async def start(self, model: str, *, wait: bool) -> Refusal | None:
        """Start it, backoff or not. With ``wait``: return when it is ready. Or why it is not going to be."""
        self._feed(ev.StartRequested(model))
        while True:
            view = self._core.views().get(model)
            if view is None:
                return refusals.unknown(model)  # configured away meanwhile
            if view.state is State.READY:
                return None
            if not view.requested:
                return why_not_ready(view, self._lookout.unusable.get(self._models[model].runtime))
            if not wait:
                return None
            await self._next_move()

    async def stop(self, model: str, *, wait: bool, to_sleep: bool = False) -> Reason | None:
        """Drain and stop it, or put it to sleep. With ``wait``: return when it is gone, or asleep."""
        before = self._core.views().get(model)  # none yet, while another configuration is taken over
        run = before.run if before is not None else None
        self._feed(ev.StopRequested(model, to_sleep))
        self._tell_moved()
        while wait and run is not None and (view := self._core.views().get(model)) and view.run == run:
            if to_sleep and view.state is State.ASLEEP:
                break
            await self._next_move()
        return None

    async def made_of(self, model: str) -> tuple[tuple[str, ...] | None, str | None]:
        """The command of its server, and the image of its container, as far as they are known now."""
        spec = self._models[model]
        runtime = self._lookout[spec.runtime]
        if (program := spec.launch.program) is not None:
            return program.command, None
        command = await runtime.command_of(spec) if isinstance(runtime, ReportsCommands) else None
        image = await runtime.image_of(spec) if isinstance(runtime, ReportsImages) else None
        return command, image

    async def tail(self, model: str, count: int) -> list[str]:
        """The last lines that its current or latest run wrote."""
        return await self._lookout[self._models[model].runtime].tail(model, count)

    async def follow(self, model: str, last: int) -> AsyncIterator[str]:
        """The last lines of its current or latest run, then each as it comes, through all runs to come."""
        run = self._runs.get(model)
        if run is None or run.over:
            for line in await self.tail(model, last):
                yield line
        first: int | None = last
        while True:
            if run is not None and not run.over:
                async for line in run.lines(first):
                    yield line
            first = None
            while (latest := self._runs.get(model)) is run:
                await self._next_move()
            run = latest

    def upstream(self, model: str) -> Upstream | None:
        """The address of its run while that is ready."""
        run = self._runs.get(model)
        ready = run is not None and self._core.state(model) in HOLDS_LEASES
        return run.upstream if run is not None and ready else None

    # events in, effects out

    def _feed(self, event: ev.Event) -> None:
        """Tell the core a fact and carry out what it orders, one fact at a time and in order."""
        self._events.append(event)
        if self._feeding:
            return  # called from an effect of the fact before: its turn comes when that is carried out
        self._feeding = True
        try:
            while self._events:
                fact = self._events.popleft()
                for effect in self._core.handle(fact, self.now()):
                    self._carry_out(effect)
        finally:
            self._feeding = False
        wake_at = self._core.wake_at
        if wake_at < self._alarm_at:
            self._set_alarm(wake_at)

    def _carry_out(self, effect: do.Effect) -> None:
        """An order that fails is a bug; the rest must be carried out all the same, or clients would hang."""
        try:
            self._carry[type(effect)](self, effect)
        except Exception as error:
            log.error("order failed", order=type(effect).__name__, exc_info=error)
            if isinstance(effect, do.StartRun):
                reason = Reason(summary=f"hotseat failed to start it: {error!r}")
                self._events.append(ev.StartFailed(effect.model, effect.run, reason))

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = asyncio.get_running_loop().call_at(at, self._alarm_rang)

    def _alarm_rang(self) -> None:
        self._alarm, self._alarm_at = None, float("inf")
        self._feed(ev.TimePassed())

    def _grant(self, order: do.GrantLease) -> None:
        self._lend(self._tickets[order.request])

    def _lend(self, ticket: Ticket) -> None:
        run = self._runs[ticket.model]
        upstream = run.upstream
        assert upstream is not None
        self._granted[ticket.model] = self._granted.get(ticket.model, 0) + 1
        ticket.granted(Lease(upstream, run.suspect))

    def _refuse(self, order: do.RefuseRequest) -> None:
        self._tickets.pop(order.request).refuse(order.refusal)

    def _break(self, order: do.BreakLease) -> None:
        lease = self._tickets.pop(order.request).lease
        assert lease is not None
        lease.break_(order.reason)

    def _start(self, order: do.StartRun) -> None:
        self._numbers[order.model] = order.run
        self._begin(order.model, order.run, None)

    def _begin(self, model: str, number: int, found: FoundRun | None) -> None:
        spec = self._models[model]
        run = Run(
            spec,
            number,
            self._lookout[spec.runtime],
            self._engine_of(spec),
            self._probe,
            self._check,
            self._room,
            self._sleeper,
            self._feed,
            self._on_phase,
            as_found(found.handle, number) if found else None,
        )
        self._runs[model] = run
        self._tasks.start(f"run {model}#{number}", run.live())

    def _stop(self, order: do.StopRun) -> None:
        run = self._runs[order.model]
        if not run.stopping:
            run.stopping = True
            self._tasks.start(f"stop {order.model}#{order.run}", run.stop())

    def _start_download(self, order: do.StartDownload) -> None:
        self._fetching.start(self._models[order.model], order.download)

    def _stop_download(self, order: do.StopDownload) -> None:
        self._fetching.stop(order.model, order.download)

    def _sleep(self, order: do.SleepRun) -> None:
        self._tasks.start(f"sleep {order.model}#{order.run}", self._runs[order.model].sleep())

    def _wake(self, order: do.WakeRun) -> None:
        self._tasks.start(f"wake {order.model}#{order.run}", self._runs[order.model].wake())

    def _report(self, move: do.ReportMove) -> None:
        run = self._runs.get(move.model)
        if move.cause is Cause.PROBE_PASSED and run is not None and not run.found:
            self._learn(move, run)
        log_move(move)
        self._on_move(move)
        if move.cause in (Cause.START_FAILED, Cause.CRASHED) and (spec := self._models.get(move.model)):
            self._fetching.look_soon(spec)
        self._tell_moved()
        if move.new not in HOLDS_RUN and (late := self._late.pop(move.model, None)) is not None:
            ended = run.handle.ident if run is not None and run.handle is not None else None
            if late.handle.ident != ended:
                asyncio.get_running_loop().call_soon(self._found, late)

    def _tell_moved(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _learn(self, move: do.ReportMove, run: Run) -> None:
        assert move.took_s is not None
        self._spin_ups.setdefault(move.model, deque(maxlen=TOLD_SPIN_UPS)).append(move.took_s)
        self._starts.record_start(
            RecordedStart(
                model=move.model,
                fingerprint=run.model.scheduling.fingerprint,
                kind=kind_of_start(move.old),
                seconds=move.took_s,
                at=self._wall_clock(),
                phases=run.durations(self.now()),
            )
        )

    _carry: ClassVar[dict[type, Callable[..., None]]] = {
        do.GrantLease: _grant,
        do.RefuseRequest: _refuse,
        do.BreakLease: _break,
        do.StartDownload: _start_download,
        do.StopDownload: _stop_download,
        do.StartRun: _start,
        do.StopRun: _stop,
        do.SleepRun: _sleep,
        do.WakeRun: _wake,
        do.ReportMove: _report,
    }

    # what runs without our order, and runtimes that come and go

    def _found(self, found: FoundRun) -> None:
        model = found.handle.model
        if model not in self._models or self._closing:
            return
        if self._core.view(model).run is not None:
            self._late[model] = found  # its turn comes when the run that we know has ended
            return
        number = max(found.handle.run, self._numbers.get(model, 0) + 1)
        self._numbers[model] = number
        log.info("found running", model=model, run=number, external=found.external)
        self._begin(model, number, found)
        self._feed(ev.RunFound(model, number, ready=False, fingerprint=found.fingerprint))

    def _heed(self, sign: HealthReport) -> None:
        """A runtime hears of a run's troubles (paused, its own health check failed) before any probe."""
        run = self._runs.get(sign.handle.model)
        if run is None or run.handle is None or run.handle.ident != sign.handle.ident:
            return
        if sign.trouble is None:
            run.hint()
        else:
            run.suspect(sign.trouble.for_clients(), certain=True)

    def _usable_changed(self, runtime: str, why: str | None) -> None:
        models = tuple(name for name, model in self._models.items() if model.runtime == runtime)
        self._feed(ev.RuntimeChanged(models, why))
        self._tell_moved()

    def _task_failed(self, name: str, error: BaseException) -> None:
        log.error("task failed", task=name, exc_info=error)
