"""The scheduler's only owner: carries out its effects in tasks, and reports their results as events."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import ClassVar

import structlog

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core import refusals
from hotseat.core.errors import Reason, Refusal
from hotseat.core.scheduler import Scheduler
from hotseat.core.spec import Settings, StandbyMode
from hotseat.core.states import HOLDS_LEASES, HOLDS_RUN, LOADING, STANDS_BY, Cause, State
from hotseat.core.views import Loading, ModelView, Upstream
from hotseat.logs import redact
from hotseat.runtimes.base import (
    FoundRun,
    HealthReport,
    PlacementReport,
    PreparesRuns,
    ReportsCommands,
    ReportsImages,
    Runtime,
)
from hotseat.supervisor.downloads import Downloads
from hotseat.supervisor.held_run import HeldRun
from hotseat.supervisor.keep_warm import KeepWarm
from hotseat.supervisor.ports import Drivers, Environment, Observers
from hotseat.supervisor.reports import kind_of_start, log_move, why_not_ready
from hotseat.supervisor.run import Run, renumbered
from hotseat.supervisor.runtime_monitor import RuntimeMonitor
from hotseat.supervisor.ticket import Lease, Ticket
from hotseat.tasks import Tasks
from hotseat.telemetry.history import RecordedStart, StartKind

log = structlog.get_logger("hotseat")

KEPT_SPIN_UPS = 20
"""Latest starts of each model whose durations are kept."""
_LOADED = (State.READY, State.DRAINING, State.WAKING, State.STARTING)
"""States in which a model is loaded, or is going to be; those that serve first."""
CLOSE_MARGIN_S = 60.0
"""Seconds that closing may take beyond drains and stops, for runtimes that cannot stop their runs at once."""


class Supervisor:
    """Owns the scheduler. Others ask for tickets, send orders and read snapshots."""

    refused: type[Exception]

    def __init__(
        self,
        settings: Settings,
        runtimes: Mapping[str, Runtime],
        drivers: Drivers,
        observers: Observers,
        environment: Environment,
        *,
        refused: type[Exception],
    ) -> None:
        """``refused(refusal)`` is raised to those who get no lease."""
        self.refused = refused
        self._models = dict(settings.models)
        self._core = Scheduler(settings.scheduler, environment.jitter, recovered=False)
        self._drivers, self._observers, self._environment = drivers, observers, environment
        self._tasks = Tasks(self._task_failed)
        self._downloads = Downloads(drivers.files, self._tasks, self._report)
        self._monitor = RuntimeMonitor(
            runtimes,
            self._tasks,
            on_found=self._found,
            on_health=self._health_reported,
            on_placement=self._placement_reported,
            on_usable=self._usable_changed,
        )
        self._runs: dict[str, Run] = {}
        self._numbers: dict[str, int] = {}
        self._tickets: dict[int, Ticket] = {}
        self._ids = itertools.count(1)
        self._granted: dict[str, int] = {}
        self._spin_ups: dict[str, deque[float]] = {}
        self._events: deque[ev.Event] = deque()
        self._handling = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._moved = asyncio.Event()
        self._closing = self._leave_running = self._at_once = False
        self._gateless: set[tuple[str, str]] = set()
        """Models, with the fingerprint, of which it was said that they cannot be prepared."""
        self._found_late: dict[str, FoundRun] = {}
        """Runs found while another run of their model was ending."""
        self._keep_warm = KeepWarm(
            environment.wall_clock, lambda model, warm: self._report(ev.KeepWarmChanged(model, warm))
        )

    # opening, reconfiguring and closing

    async def open(self, prepare: Callable[[], Awaitable[None]] | None = None) -> None:
        """Open the runtimes, adopt what was left running, and start what is to be kept warm.

        ``prepare`` is called when all runs are known, before any is started or stopped.
        """
        await self._monitor.open()
        await self._recover()
        if prepare is not None:
            await prepare()
        self._remember_starts()
        await self._downloads.check(self._models.values())
        self._keep_warm.configure(self._models)
        self._tasks.start("keep-warm schedules", self._keep_warm.run())
        self._report(ev.RunsRecovered())

    async def _recover(self) -> None:
        views = self._core.views()
        known = {n: run.model for n, run in self._runs.items() if n in views and views[n].run is not None}
        await self._monitor.recover({**known, **self._models})

    def _remember_starts(self) -> None:
        for model in self._models:
            seconds = self._observers.starts.eta_s(model, StartKind.COLD)
            if seconds is not None:
                self._report(ev.StartRemembered(model, seconds))
        for model, spec in self._models.items():
            runtime = self._monitor[spec.runtime]
            if isinstance(runtime, PreparesRuns) and (mark := runtime.known_gates().get(model)) is not None:
                self._report(ev.GateSeen(model, mark))

    async def configure(self, settings: Settings, more: Mapping[str, Runtime]) -> None:
        """Take over another configuration; ``more``: further runtimes that its models need.

        A model that is launched as before keeps its run. One that is launched differently now is restarted
        when it is idle, and one that is no longer configured is drained and stopped.
        """
        await self._monitor.add(more)
        self._models = dict(settings.models)
        for name, run in self._runs.items():
            spec = self._models.get(name)
            if spec is not None and spec.scheduling.fingerprint == run.model.scheduling.fingerprint:
                run.model = spec
        self._report(ev.SchedulerConfigured(settings.scheduler))
        self._notify_moved()
        await self._downloads.check(self._models.values())
        self._remember_starts()
        self._monitor.check_usable(report_all=True)
        self._keep_warm.configure(self._models)
        await self._recover()

    async def close(self, *, leave_running: bool = False) -> None:
        """Refuse queued requests, drain, stop all models (or leave them for adoption), and end all tasks."""
        self._closing, self._leave_running = True, leave_running
        self._report(ev.ShutdownRequested(leave_running))
        if self._at_once:
            self.stop_at_once()
        self._notify_moved()  # orders that wait are answered even if no model moves
        try:
            async with asyncio.timeout(self._close_timeout_s()):
                while not self._core.at_rest:
                    await self._next_move()
        except TimeoutError:
            left = [name for name, view in self._core.views().items() if view.run is not None]
            log.error("models could not be stopped: the next start finds them", models=left)
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.close()
        await self._monitor.close()

    def stop_at_once(self) -> None:
        """Have ``close`` wait no longer: cut all responses with an error, and kill what is to be stopped."""
        self._at_once = True
        if not self._closing:
            return  # ``close`` begins with it
        for run in self._runs.values():
            run.hurried = True
            if run.stopping and not run.over:
                self._tasks.start(f"kill {run.model.name}#{run.number}", run.kill())
        self._report(ev.ShutdownRequested(self._leave_running, at_once=True))
        self._notify_moved()

    def _close_timeout_s(self) -> float:
        """Seconds that closing may take: every drain and stop, and a margin for a runtime that is away."""
        limits_s = [model.scheduling.drain_timeout_s + model.stop_grace_s for model in self._models.values()]
        return max(limits_s, default=0.0) + CLOSE_MARGIN_S

    async def _next_move(self) -> None:
        await self._moved.wait()

    # the gateway's protocol (gateway.proxy.lease)

    def ask(
        self, model: str, *, priority: int = 0, key: str = "", endpoint: str = "", may_evict: bool = True
    ) -> Ticket:
        """Ask for a lease. Raises ``refused`` where it is refused at once."""
        now = self.now()
        request = next(self._ids)
        ticket = self._tickets[request] = Ticket(self, request, model, now)
        if not self._handling:
            run = self._core.admit(request, model, key, now)
            if run is not None:  # a ready model with a free slot: nothing to decide
                self._grant_ticket(ticket)
                return ticket
        self._report(ev.RequestArrived(ticket.request, model, priority, key, endpoint, may_evict))
        if ticket.refusal is not None:
            ticket.closed = True
            raise self.refused(ticket.refusal)
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        """Close a ticket: return its lease, or withdraw its request."""
        if self._tickets.pop(ticket.request, None) is None:
            return
        if not self._handling and self._core.take_back(ticket.request, self.now()):
            return
        if ticket.lease is None:
            self._report(ev.RequestWithdrawn(ticket.request))
        else:
            self._report(ev.LeaseReturned(ticket.request))

    def loading(self, ticket: Ticket) -> Loading:
        """Progress of a ticket's model; one that is no longer configured counts as stopped."""
        known = ticket.model in self._models
        return Loading(
            model=ticket.model,
            state=self._core.state_of(ticket.model) if known else State.STOPPED,
            phase=(known and self.phase(ticket.model)) or "queued",
            elapsed_s=self.now() - ticket.since,
            eta_s=self.eta_s(ticket.model) if known else None,
        )

    def loaded(self) -> Sequence[str]:
        """The models that are loaded, the one used last first; then those that load. Starts nothing."""
        views = [view for view in self._core.views().values() if view.state in _LOADED]
        views.sort(key=lambda view: (_LOADED.index(view.state), -(view.last_used or 0.0)))
        return [view.model for view in views]

    def state(self, model: str) -> str:
        """The model's state. Starts nothing. Raises ``KeyError``."""
        return self._core.state_of(model)

    @property
    def wake_at(self) -> float:
        """The next deadline of the core, on the event loop's clock; infinity for none."""
        return self._core.wake_at

    def contended(self) -> bool:
        """Whether a request waits for a lease, of whichever model."""
        return any(ticket.lease is None for ticket in self._tickets.values())

    @property
    def tickets(self) -> int:
        """Number of requests that wait or hold a lease."""
        return len(self._tickets)

    # the admin API's protocol (admin.control.Control)

    def now(self) -> float:
        """Now, on the clock of the snapshots: the event loop's, in seconds."""
        return asyncio.get_running_loop().time()

    def views(self) -> Mapping[str, ModelView]:
        """A snapshot of every model."""
        return self._core.views()

    def phase(self, model: str) -> str | None:
        """Phase of a model that loads or waits for memory; ``None`` where it does neither."""
        view = self._core.view(model)
        if view.state is State.DOWNLOADING:
            progress = self._downloads.progress(model)
            return "looking for its files" if progress is None else f"{progress.percent} %"
        if view.state in LOADING and (run := self._runs.get(model)) is not None:
            return run.phase
        if view.state in STANDS_BY and (run := self._runs.get(model)) is not None:
            return run.phase
        if view.waiting and view.state is State.STOPPED:
            return "making room"
        return None

    def eta_s(self, model: str) -> float | None:
        """Expected seconds until it is ready, from earlier starts; ``None`` where unknown or exceeded."""
        view = self._core.view(model)
        if view.state is State.DOWNLOADING:
            progress = self._downloads.progress(model)
            return progress.left_s if progress else None
        run = self._runs.get(model)
        stood_by = view.state is State.STARTING and run is not None and run.held and run.held.stood_by
        kind = StartKind.STANDBY if stood_by else kind_of_start(view.state)
        usual_s = self._observers.starts.eta_s(model, kind)
        if usual_s is None or view.state not in (*LOADING, *STANDS_BY, State.STOPPED, State.ASLEEP):
            return None
        if view.state not in (*LOADING, State.PREPARING):
            return usual_s
        left_s = usual_s - (self.now() - view.since)
        return left_s if left_s > 0 else None

    def next_turn_at(self) -> float | None:
        """The end of the turn that somebody waits for; ``None``: nobody waits for one."""
        at = self._core.plan_at
        return at if self.now() < at < float("inf") else None

    def hold(self, model: str, seconds: float) -> None:
        """Keep a model warm for so many seconds from now; 0 ends it."""
        self._keep_warm.hold(model, self._environment.wall_clock() + seconds)

    def held_until(self, model: str) -> float | None:
        """The end of an operator's hold on the model, in Unix seconds; ``None``: there is none."""
        return self._keep_warm.held_until(model)

    def spin_ups(self, model: str) -> list[float]:
        """Seconds that its latest starts took, oldest first."""
        return list(self._spin_ups.get(model, ()))

    def requests(self, model: str) -> int:
        """Number of leases granted since hotseat started."""
        return self._granted.get(model, 0)

    def unusable(self) -> Mapping[str, str]:
        """By runtime that cannot work now: why."""
        return dict(self._monitor.unusable)

    async def start(self, model: str, *, wait: bool) -> Refusal | None:
        """Start it, in back-off or not. With ``wait``: return when it is ready, or why it will not be."""
        self._report(ev.StartRequested(model))
        while True:
            view = self._core.views().get(model)
            if view is None:
                return refusals.unknown(model)  # no longer configured
            if view.state is State.READY:
                return None
            if not view.requested:
                return why_not_ready(
                    view, self._monitor.unusable.get(self._models[model].runtime), self.now()
                )
            if not wait:
                return None
            await self._next_move()

    async def stop(self, model: str, *, wait: bool, to_sleep: bool = False) -> None:
        """Drain and stop it, or put it to sleep. With ``wait``: return when it is stopped, or asleep."""
        before = self._core.views().get(model)  # ``None`` while another configuration is taken over
        run = before.run if before is not None else None
        self._report(ev.StopRequested(model, to_sleep))
        self._notify_moved()
        while wait and run is not None and (view := self._core.views().get(model)) and view.run == run:
            if to_sleep and view.state is State.ASLEEP:
                break
            await self._next_move()

    async def made_of(self, model: str) -> tuple[tuple[str, ...] | None, str | None]:
        """The command of its server and the image of its container, as far as known now."""
        spec = self._models[model]
        runtime = self._monitor[spec.runtime]
        if (program := spec.launch.program) is not None:
            return program.command, None
        command = await runtime.command_of(spec) if isinstance(runtime, ReportsCommands) else None
        image = await runtime.image_of(spec) if isinstance(runtime, ReportsImages) else None
        return command, image

    async def tail(self, model: str, count: int) -> list[str]:
        """The last log lines of its current or latest run."""
        lines = await self._monitor[self._models[model].runtime].tail(model, count)
        return [redact(line) for line in lines]

    async def follow(self, model: str, last: int) -> AsyncIterator[str]:
        """The last log lines of its current or latest run, then new ones, through all later runs."""
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
        """The address of its run while the run is ready."""
        run = self._runs.get(model)
        ready = run is not None and self._core.state_of(model) in HOLDS_LEASES
        return run.upstream if run is not None and ready else None

    # events in, effects out

    def _report(self, event: ev.Event) -> None:
        """Give the core an event and carry out its effects, one event at a time and in order."""
        self._events.append(event)
        if self._handling:
            return  # called by an effect of an earlier event: handled after that
        self._handling = True
        try:
            while self._events:
                queued = self._events.popleft()
                for effect in self._core.handle(queued, self.now()):
                    self._carry_out(effect)
        finally:
            self._handling = False
        wake_at = self._core.wake_at
        if wake_at < self._timer_at:
            self._set_timer(wake_at)

    def _carry_out(self, effect: do.Effect) -> None:
        """Carry out an effect. One that fails is a bug; the others are still carried out, or clients hang."""
        try:
            self._carriers[type(effect)](self, effect)
        except Exception as error:
            log.error("order failed", order=type(effect).__name__, exc_info=error)
            if isinstance(effect, do.StartRun | do.PrepareRun):
                reason = Reason(summary=f"hotseat failed to start it: {error!r}")
                self._events.append(ev.StartFailed(effect.model, effect.run, reason))

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_at(at, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        self._report(ev.TimePassed())

    def _grant(self, order: do.GrantLease) -> None:
        self._grant_ticket(self._tickets[order.request])

    def _grant_ticket(self, ticket: Ticket) -> None:
        run = self._runs[ticket.model]
        upstream = run.upstream
        assert upstream is not None
        self._granted[ticket.model] = self._granted.get(ticket.model, 0) + 1
        ticket.grant(Lease(upstream, run.suspect))

    def _refuse(self, order: do.RefuseRequest) -> None:
        self._tickets.pop(order.request).refuse(order.refusal)

    def _break(self, order: do.BreakLease) -> None:
        lease = self._tickets.pop(order.request).lease
        assert lease is not None
        lease.break_(order.reason)

    def _start(self, order: do.StartRun) -> None:
        self._numbers[order.model] = order.run
        self._begin_run(order.model, order.run, None)

    def _prepare(self, order: do.PrepareRun) -> None:
        self._numbers[order.model] = order.run
        self._begin_run(order.model, order.run, None, self._held(order.model, kept=order.kept))

    def _admit(self, order: do.AdmitRun) -> None:
        held = self._runs[order.model].held
        assert held is not None
        held.admit()

    def _held(self, model: str, *, kept: bool = False) -> HeldRun:
        runtime = self._monitor[self._models[model].runtime]
        assert isinstance(runtime, PreparesRuns)
        return HeldRun(runtime, kept=kept)

    def _begin_run(
        self, model: str, number: int, found: FoundRun | None, held: HeldRun | None = None
    ) -> None:
        spec = self._models[model]
        run = Run(
            spec,
            number,
            self._monitor[spec.runtime],
            self._drivers,
            self._report,
            self._observers.on_phase,
            renumbered(found.handle, number) if found else None,
            held,
        )
        self._runs[model] = run
        self._tasks.start(f"run {model}#{number}", run.run())

    def _stop(self, order: do.StopRun) -> None:
        run = self._runs[order.model]
        if not run.stopping:
            run.stopping = True
            self._tasks.start(f"stop {order.model}#{order.run}", run.stop())

    def _start_download(self, order: do.StartDownload) -> None:
        self._downloads.start(self._models[order.model], order.download)

    def _stop_download(self, order: do.StopDownload) -> None:
        self._downloads.stop(order.model, order.download)

    def _sleep(self, order: do.SleepRun) -> None:
        self._tasks.start(f"sleep {order.model}#{order.run}", self._runs[order.model].sleep())

    def _wake(self, order: do.WakeRun) -> None:
        self._tasks.start(f"wake {order.model}#{order.run}", self._runs[order.model].wake())

    def _report_move(self, move: do.ReportMove) -> None:
        run = self._runs.get(move.model)
        if move.cause is Cause.PROBE_PASSED and run is not None and not run.found:
            self._record_start(move, run)
            self._note_gate(run)
        log_move(move)
        self._observers.on_move(move)
        if move.cause in (Cause.START_FAILED, Cause.CRASHED) and (spec := self._models.get(move.model)):
            self._downloads.check_soon(spec)
        self._notify_moved()
        if move.new not in HOLDS_RUN and (late := self._found_late.pop(move.model, None)) is not None:
            ended = run.handle.ident if run is not None and run.handle is not None else None
            if late.handle.ident != ended:
                asyncio.get_running_loop().call_soon(self._found, late)

    def _note_gate(self, run: Run) -> None:
        """Report that the run's server knows its gate, so that the next run may be prepared."""
        spec, runtime = run.model, self._monitor[run.model.runtime]
        if spec.scheduling.standby is StandbyMode.OFF or not isinstance(runtime, PreparesRuns):
            return
        configured = (spec.name, spec.scheduling.fingerprint)
        assert run.handle is not None
        if runtime.gate_seen(run.handle):
            self._report(ev.GateSeen(*configured))
        elif configured not in self._gateless:
            self._gateless.add(configured)
            log.info("cannot be prepared: its server knows no gate", model=spec.name, run=run.number)

    def _notify_moved(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def _record_start(self, move: do.ReportMove, run: Run) -> None:
        assert move.took_s is not None
        stood_by = run.held.stood_by if run.held is not None else None
        if run.held is not None and not stood_by:
            return  # a part of its start came before its admission
        self._spin_ups.setdefault(move.model, deque(maxlen=KEPT_SPIN_UPS)).append(move.took_s)
        if run.downloaded:
            return  # says nothing about the next start
        self._observers.starts.record_start(
            RecordedStart(
                model=move.model,
                fingerprint=run.model.scheduling.fingerprint,
                kind=StartKind.STANDBY if stood_by else kind_of_start(move.old),
                seconds=move.took_s,
                at=self._environment.wall_clock(),
                phases=run.durations(self.now()),
            )
        )

    _carriers: ClassVar[dict[type, Callable[..., None]]] = {
        do.GrantLease: _grant,
        do.RefuseRequest: _refuse,
        do.BreakLease: _break,
        do.StartDownload: _start_download,
        do.StopDownload: _stop_download,
        do.StartRun: _start,
        do.PrepareRun: _prepare,
        do.AdmitRun: _admit,
        do.StopRun: _stop,
        do.SleepRun: _sleep,
        do.WakeRun: _wake,
        do.ReportMove: _report_move,
    }

    # reports of the runtimes

    def _found(self, found: FoundRun) -> None:
        model = found.handle.model
        if model not in self._models or self._closing:
            return
        if self._core.view(model).run is not None:
            self._found_late[model] = found  # taken up when the known run has ended
            return
        number = max(found.handle.run, self._numbers.get(model, 0) + 1)
        self._numbers[model] = number
        log.info("found running", model=model, run=number, external=found.external)
        held = self._held(model) if found.stands_by else None
        self._begin_run(model, number, found, held)
        self._report(
            ev.RunFound(model, number, ready=False, fingerprint=found.fingerprint, stands_by=found.stands_by)
        )

    def _health_reported(self, report: HealthReport) -> None:
        """A runtime may know of trouble before any probe: a paused run, a failed check of its own."""
        run = self._runs.get(report.handle.model)
        if run is None or run.handle is None or run.handle.ident != report.handle.ident:
            return
        if report.trouble is None:
            run.hint()
        else:
            run.suspect(report.trouble.for_clients(), certain=True)

    def _placement_reported(self, report: PlacementReport) -> None:
        """A runtime may have no room for a run, although the budget does."""
        run = self._runs.get(report.model)
        if run is not None and run.number == report.run:
            run.placement_changed(report.reason)
            self._report(ev.RunUnplaced(report.model, report.run, report.reason))

    def _usable_changed(self, runtime: str, why: str | None) -> None:
        models = tuple(name for name, model in self._models.items() if model.runtime == runtime)
        self._report(ev.RuntimeChanged(models, why))
        self._notify_moved()

    def _task_failed(self, name: str, error: BaseException) -> None:
        log.error("task failed", task=name, exc_info=error)
