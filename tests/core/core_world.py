"""A world around the scheduler that keeps its own records and checks the scheduler against its promises.

Nothing of the scheduler's inside is read: only what it was told, what it ordered, and its public views
(for learned costs). Each promise that is broken fails with its number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core import policy
from hotseat.core.errors import Code, Reason
from hotseat.core.eviction import HEAD_START
from hotseat.core.model_state import STABLE_S
from hotseat.core.policy import BACKOFF_FIRST_S, BACKOFF_MAX_S, JITTER
from hotseat.core.queue import AGEING_S
from hotseat.core.scheduler import Scheduler
from hotseat.core.spec import SchedulerSpec, SchedulingSpec, SleepSpec, StandbyMode
from hotseat.core.states import LOADING, STANDS_BY, Cause, State

ENDED = Reason(summary="stopped")
SLACK_S = 1e-6
"""Times are floats."""


class Broken(AssertionError):
    """A promise is broken."""

    def __init__(self, promise: int, what: str) -> None:
        super().__init__(f"promise {promise}: {what}")
        self.promise = promise


@dataclass
class Asked:
    """A request, as its client sees it."""

    request: int
    model: str
    since: float
    priority: int
    answer: str = ""
    """Empty while it waits, then ``lease``, ``refused`` or ``gone``."""
    run: int | None = None
    held_since: float = 0.0


@dataclass
class Process:
    """A run, as the world sees it: there until its end was reported."""

    model: str
    run: int
    footprint: dict[str, int]
    fingerprint: str
    doing: str = "starting"
    """``preparing``, ``standing by``, ``starting``, ``serving``, ``draining``, ``stopping``,
    ``falling asleep``, ``asleep``, ``waking``."""
    held_back: bool = False
    """It may not use the GPU: it prepares, stands by, or was stopped meanwhile."""
    stood_by: bool = False
    leftover: dict[str, int] = field(default_factory=dict)
    lies_low: bool = False
    """It takes only its leftover: it sleeps, or was stopped in its sleep."""
    since: float = 0.0
    ready_since: float = 0.0
    served: bool = False
    found: bool = False
    """It was not started by us."""

    @property
    def takes(self) -> dict[str, int]:
        """GPU memory that it holds."""
        if self.held_back:
            return {}
        return self.leftover if self.lies_low else self.footprint

    @property
    def prepares(self) -> bool:
        """It is on its way to the gate, or stands there."""
        return self.doing in ("preparing", "standing by")


class World:
    """Tells the scheduler what happens, and judges every answer."""

    def __init__(self, config: SchedulerSpec, jitter: float = 0.0) -> None:
        self.scheduler = config
        self.core = Scheduler(config, lambda: jitter)
        self.now = 0.0
        self.asked: dict[int, Asked] = {}
        self.processes: dict[str, Process] = {}
        self.numbers: dict[str, int] = {}
        self.gates: dict[str, str] = {}
        """By model: the fingerprint under which its gate was seen last."""
        self.past: list[tuple[str, int]] = []
        """Runs that have ended."""
        self.requested: dict[str, float] = {}
        """Models that an operator wants, and since when."""
        self.backoffs: dict[str, int] = {}
        self.leftovers: dict[str, tuple[SleepSpec | None, dict[str, int]]] = {}
        """What each model is expected to take asleep, and the terms under which that was learned."""
        self.shortest_wake_s: dict[str, float] = {}
        self.downloads: dict[str, tuple[int, float]] = {}
        """Those that go on: by model, the number and since when."""
        self.past_downloads: list[tuple[str, int]] = []
        self.files_here = {name for name, spec in config.models.items() if spec.download_timeout_s is None}
        """Models that the scheduler was told have all their files, since they last changed."""
        self.specs = dict(config.models)
        """The latest terms of each model that is configured, or whose run has not ended yet."""
        self.closing: ev.ShutdownRequested | None = None
        self.unusable: set[str] = set()
        self.log: list[str] = []
        self.sound = True
        """No promise was broken so far."""
        self.tell(ev.TimePassed())

    # what others do

    def ask(self, model: str, key: str = "", priority: int = 0) -> Asked:
        """A client asks."""
        asked = Asked(len(self.asked) + 1, model, self.now, priority)
        self.asked[asked.request] = asked
        self.tell(ev.RequestArrived(asked.request, model, priority, key))
        return asked

    def waiting(self, model: str | None = None) -> list[Asked]:
        """Requests without an answer, oldest first."""
        return [a for a in self.asked.values() if not a.answer and model in (None, a.model)]

    def holding(self, model: str | None = None) -> list[Asked]:
        """Requests that hold a lease, oldest first."""
        return [a for a in self.asked.values() if a.run is not None and model in (None, a.model)]

    def give_back(self, asked: Asked, report: ev.Event | None = None) -> None:
        """A response has ended."""
        asked.run = None
        self.tell(report or ev.LeaseReturned(asked.request))

    def withdraw(self, asked: Asked) -> None:
        """A client goes."""
        asked.answer = "gone"
        self.tell(ev.RequestWithdrawn(asked.request))

    def order(self, event: ev.StartRequested | ev.StopRequested) -> None:
        """An operator wants something."""
        if isinstance(event, ev.StopRequested):
            self.requested.pop(event.model, None)
        elif not self.closing and self.core.state_of(event.model) is not State.READY:
            self.requested[event.model] = self.now
        self.tell(event)

    def configure(self, config: SchedulerSpec) -> None:
        """The configuration was read again."""
        self.scheduler = config
        self.requested = {m: since for m, since in self.requested.items() if m in config.models}
        for name, spec in config.models.items():
            never = spec.download_timeout_s is None
            old = self.specs.get(name)
            if old is None or (old.download_timeout_s is None, old.fingerprint) != (never, spec.fingerprint):
                self.files_here = self.files_here | {name} if never else self.files_here - {name}
        self.specs |= config.models
        self._forget_those_gone()
        for model, spec in config.models.items():
            self._expect_leftover(model)
            process = self.processes.get(model)
            if process is not None and process.fingerprint == spec.fingerprint:
                process.footprint = dict(spec.footprint)  # said of this run, too
        self.tell(ev.SchedulerConfigured(config))

    def shut_down(self, leave_running: bool) -> None:
        """hotseat is to end."""
        self.closing = ev.ShutdownRequested(leave_running)
        self.requested.clear()
        self.tell(self.closing)

    def change_runtime(self, models: tuple[str, ...], why: str | None) -> None:
        """A runtime goes or comes."""
        if why is None:
            self.unusable -= set(models)
        else:
            self.unusable |= set(models)
        self.tell(ev.RuntimeChanged(models, why))

    # what runs do

    def passes_probe(self, process: Process) -> None:
        """It answers."""
        process.doing, process.since = "serving", self.now
        process.ready_since = self.now
        if process.prepares:  # its gate did not hold it
            self.gates.pop(process.model, None)
        process.served, process.lies_low, process.held_back = True, False, False
        self.requested.pop(process.model, None)
        self.tell(ev.ProbePassed(process.model, process.run))

    def prepared(self, process: Process, host_mib: int | None = None) -> None:
        """It stands by."""
        process.doing, process.since = "standing by", self.now
        self.tell(ev.RunPrepared(process.model, process.run, host_mib))

    def gate_is_seen(self, model: str, fingerprint: str) -> None:
        """A run stopped at its gate."""
        self.gates[model] = fingerprint
        self.tell(ev.GateSeen(model, fingerprint))

    def ends(self, process: Process, reason: Reason, *, launched: bool = True, outside: bool = False) -> None:
        """It is gone, and the scheduler is told."""
        model, run = process.model, process.run
        del self.processes[model]
        self.past.append((model, run))
        if process.served and self.now - process.ready_since >= STABLE_S:
            self.backoffs[model] = 0
        self._forget_those_gone()
        self.tell(
            ev.RunExited(model, run, reason, outside) if launched else ev.StartFailed(model, run, reason)
        )

    def _forget_those_gone(self) -> None:
        known: tuple[dict[str, Any], ...] = (self.backoffs, self.leftovers, self.specs)
        for by_model in known:
            for model in [m for m in by_model if m not in self.scheduler.models and m not in self.processes]:
                del by_model[model]

    def _expect_leftover(self, model: str) -> None:
        process, sleep = self.processes.get(model), self.scheduler.models[model].sleep
        if process is not None and (process.lies_low or process.doing == "falling asleep"):
            return
        if model not in self.leftovers or self.leftovers[model][0] != sleep:
            self.leftovers[model] = (sleep, dict(sleep.leftover) if sleep else {})

    def files_are_seen(self, model: str, here: bool) -> None:
        """Somebody looked at the disk."""
        if self.scheduler.models[model].download_timeout_s is not None and model not in self.downloads:
            self.files_here = self.files_here | {model} if here else self.files_here - {model}
        self.tell(ev.FilesSeen(model, here))

    def download_ends(self, model: str, reason: Reason | None = None) -> None:
        """It is whole, or has failed."""
        number, _ = self.downloads.pop(model)
        self.past_downloads.append((model, number))
        if reason is not None:
            self.tell(ev.DownloadFailed(model, number, reason))
            return
        self.files_here = self.files_here | {model}
        self.tell(ev.Downloaded(model, number))

    def sleeps(self, process: Process, leftover: dict[str, int] | None) -> None:
        """It sleeps; with ``leftover``, that was measured."""
        if leftover is not None:
            self.leftovers[process.model] = (self.leftovers[process.model][0], leftover)
        process.leftover = self.leftovers[process.model][1]
        process.doing, process.since = "asleep", self.now
        process.lies_low = policy.fits(process.leftover, process.footprint)
        self.tell(ev.RunSlept(process.model, process.run, leftover))

    def is_found(self, model: str, ready: bool, fingerprint: str, *, stands_by: bool = False) -> None:
        """Somebody else started it."""
        run = self.numbers[model] = self.numbers.get(model, 0) + 1
        spec = self.scheduler.models[model]
        process = Process(model, run, dict(spec.footprint), fingerprint or spec.fingerprint, since=self.now)
        process.found = True
        if stands_by:
            process.doing, process.held_back, process.found = "preparing", True, False
        if ready:
            process.doing, process.served = "serving", True
            process.ready_since = self.now
        self._expect_leftover(model)
        self.processes[model] = process
        if ready:
            self.requested.pop(model, None)
        self.tell(ev.RunFound(model, run, ready, fingerprint, stands_by))

    def noise(self, event: ev.Event) -> None:
        """A report that must change nothing: late, or repeated."""
        self.sound = False
        before = self.core.views()
        effects = self.core.handle(event, self.now)
        if effects or before != self.core.views():
            raise Broken(9, f"{event} was believed: {effects}")
        self.sound = True

    # time

    def pass_time(self, seconds: float) -> None:
        """Let time pass, ringing when asked."""
        until, rung = self.now + seconds, 0
        while self.core.wake_at <= until:
            rung = rung + 1 if self.core.wake_at <= self.now else 0
            if rung > 20:
                raise Broken(5, "it wants to be woken again and again")
            self.now = max(self.now, self.core.wake_at)
            self.tell(ev.TimePassed())
        self.now = until

    # judging

    def tell(self, event: ev.Event) -> None:
        """Tell the scheduler, judge what it orders, and do it."""
        self.sound = False
        self.log.append(f"{self.now:.3f} {event}")
        costs = {name: view.start_cost_s for name, view in self.core.views().items()}
        over = self._over()
        effects = self._handle(event)
        self.log.extend(f"    {effect}" for effect in effects)
        launched: list[str] = []
        dead: set[str] = set()
        if isinstance(event, ev.RunExited | ev.StartFailed | ev.RunUnhealthy):
            dead.add(event.model)
        for model in self.unusable & set(self.requested):
            if self.core.state_of(model) in (
                State.STOPPED,
                State.ASLEEP,
                *STANDS_BY,
            ):  # who ordered it is told no
                del self.requested[model]
        for effect in effects:
            match effect:
                case do.GrantLease():
                    self._granted(effect)
                case do.RefuseRequest():
                    self._refused(effect)
                case do.BreakLease():
                    self._broken(effect, dead)
                case do.StartDownload():
                    self._download_begins(effect)
                case do.StopDownload():
                    if self.downloads.pop(effect.model, (0, 0.0))[0] != effect.download:
                        raise Broken(9, f"{effect} speaks of a download that has ended")
                    self.past_downloads.append((effect.model, effect.download))
                case do.StartRun():
                    self._started(effect)
                    launched.append(effect.model)
                case do.PrepareRun():
                    self._prepares(effect)
                case do.AdmitRun():
                    self._admitted(self._process(effect))
                    launched.append(effect.model)
                case do.WakeRun():
                    self._wakes(self._process(effect))
                    launched.append(effect.model)
                case do.StopRun():
                    self._stopped(effect, "stopping")
                case do.SleepRun():
                    self._stopped(effect, "falling asleep")
                case do.ReportMove():
                    self._moved(effect, costs, over)
        self._drop_hopeless_wishes()
        for move in effects:
            if isinstance(move, do.ReportMove) and move.new is State.BACKOFF and self.waiting(move.model):
                raise Broken(8, f"{move.model} failed and its clients still wait")
        for model in launched:
            taken = {device: -ppm for device, ppm in self._over().items()}
            for device in self.scheduler.models[model].footprint:
                if taken.get(device, 0) < 0:
                    raise Broken(1, f"{model} was launched beyond the budget of {device}")
        self.core.check()
        if self.waiting() and not math.isfinite(self.core.wake_at):
            raise Broken(5, "somebody waits and nothing will ring")
        self.sound = True

    def _handle(self, event: ev.Event) -> list[do.Effect]:
        """Every other request goes the short way, as far as that goes."""
        match event:
            case ev.RequestArrived(request, model, _, key) if request % 2:
                run = self.core.admit(request, model, key, self.now)
                if run is not None:
                    return [do.GrantLease(request, model, run)]
            case ev.LeaseReturned(request) if request % 2 and self.core.take_back(request, self.now):
                return []
        return self.core.handle(event, self.now)

    def _drop_hopeless_wishes(self) -> None:
        """What an operator wants and cannot fit is given up, and the view says why."""
        for model in list(self.requested):
            reason = self.core.view(model).reason
            if reason is not None and reason.permanent and "the budget" in reason.summary:
                del self.requested[model]

    def _over(self) -> dict[str, int]:
        """By how much the budget is exceeded, by device."""
        taken: dict[str, int] = {}
        for process in self.processes.values():
            for device, ppm in process.takes.items():
                taken[device] = taken.get(device, 0) + ppm
        over = {device: ppm - self.scheduler.budget.get(device, 0) for device, ppm in taken.items()}
        return {device: ppm for device, ppm in over.items() if ppm > 0}

    def _process(
        self, effect: do.AdmitRun | do.WakeRun | do.StopRun | do.SleepRun | do.GrantLease
    ) -> Process:
        process = self.processes.get(effect.model)
        if process is None or process.run != effect.run:
            raise Broken(9, f"{effect} speaks of a run that has ended")
        return process

    def _granted(self, grant: do.GrantLease) -> None:
        asked = self.asked[grant.request]
        if asked.answer:
            raise Broken(3, f"request {asked.request} had its answer ({asked.answer})")
        process = self._process(grant)
        if process.doing != "serving" or asked.model != grant.model:
            raise Broken(3, f"request {asked.request} got a lease on a run that is {process.doing}")
        asked.answer, asked.run, asked.held_since = "lease", grant.run, self.now
        limit = self.scheduler.models[asked.model].max_in_flight
        if limit is not None and self._newly_over(asked.model, limit):
            raise Broken(3, f"{asked.model} holds more leases than it may")

    def _newly_over(self, model: str, limit: int) -> bool:
        return len(self.holding(model)) > limit

    def _refused(self, effect: do.RefuseRequest) -> None:
        asked = self.asked[effect.request]
        if asked.answer:
            raise Broken(3, f"request {asked.request} had its answer ({asked.answer})")
        asked.answer = "refused"
        if effect.refusal.code is Code.NO_ROOM:
            self.requested.pop(asked.model, None)

    def _broken(self, effect: do.BreakLease, dead: set[str]) -> None:
        asked = self.asked[effect.request]
        if asked.run != effect.run:
            raise Broken(3, f"lease {asked.request} was broken, and is not held")
        asked.run = None
        if effect.model in dead:
            return
        process = self.processes[effect.model]
        drain_s = (
            self.scheduler.models[effect.model].drain_timeout_s
            if effect.model in self.scheduler.models
            else 0.0
        )
        if process.doing != "draining" or self.now < process.since + drain_s - SLACK_S:
            raise Broken(4, f"lease {asked.request} was cut off before the drain deadline")

    def _download_begins(self, order: do.StartDownload) -> None:
        model = order.model
        if model in self.downloads or model in self.processes:
            raise Broken(10, f"{model} is downloaded while it runs, or twice")
        if model in self.files_here:
            raise Broken(10, f"{model} is downloaded and all its files are there")
        self.downloads[model] = (order.download, self.now)

    def _prepares(self, order: do.PrepareRun) -> None:
        spec = self.scheduler.models[order.model]
        if spec.standby is StandbyMode.OFF or self.gates.get(order.model) != spec.fingerprint:
            raise Broken(1, f"{order.model} was prepared, and nothing is known to hold it")
        self._started(order)
        process = self.processes[order.model]
        process.doing, process.held_back = "preparing", True
        if self.closing:
            raise Broken(7, f"{order.model} was prepared at the end")
        limit_mib = self.scheduler.host_sleep_mib
        stand_by = [p.model for p in self.processes.values() if p.prepares]
        sleepers = [p.model for p in self.processes.values() if p.doing in ("asleep", "falling asleep")]
        specs, views = self.specs, self.core.views()
        taken_mib = sum(specs[m].standby_mib for m in stand_by if m in views)
        sleeps = [specs[m].sleep for m in sleepers]
        taken_mib += sum(sleep.host_mib for sleep in sleeps if sleep is not None and sleep.level == 1)
        if limit_mib is not None and taken_mib > limit_mib:
            raise Broken(1, f"{taken_mib} MiB of host memory are taken, and {limit_mib} may be")

    def _admitted(self, process: Process) -> None:
        if not process.prepares:
            raise Broken(9, f"{process.model} was admitted while it is {process.doing}")
        process.stood_by = process.doing == "standing by"
        process.doing, process.since, process.held_back = "starting", self.now, False
        process.footprint = dict(self.scheduler.models[process.model].footprint)

    def _started(self, order: do.StartRun | do.PrepareRun) -> None:
        if order.model not in self.files_here or order.model in self.downloads:
            raise Broken(10, f"{order.model} was started without its files")
        if order.model in self.processes:
            raise Broken(2, f"{order.model} runs already, as {self.processes[order.model].run}")
        if order.run <= self.numbers.get(order.model, 0):
            raise Broken(9, f"run {order.run} of {order.model} has been before")
        self.numbers[order.model] = order.run
        spec = self.scheduler.models[order.model]
        self._expect_leftover(order.model)
        self.processes[order.model] = Process(
            order.model, order.run, dict(spec.footprint), spec.fingerprint, since=self.now
        )

    def _wakes(self, process: Process) -> None:
        process.doing, process.since, process.lies_low = "waking", self.now, False
        self._expect_leftover(process.model)

    def _stopped(self, order: do.StopRun | do.SleepRun, doing: str) -> None:
        process = self._process(order)
        if self.holding(order.model):
            raise Broken(4, f"{order} while it holds {len(self.holding(order.model))} leases")
        process.doing, process.since = doing, self.now

    def _moved(self, move: do.ReportMove, costs: dict[str, float | None], over: dict[str, int]) -> None:
        process = self.processes.get(move.model)
        if move.new is State.DRAINING and process:
            process.doing, process.since = "draining", self.now
        if move.new is State.READY and process and process.doing == "draining":
            process.doing, process.since = "serving", self.now
        if move.old is State.WAKING and move.new is State.READY and move.took_s is not None:
            shortest_s = self.shortest_wake_s.get(move.model, move.took_s)
            self.shortest_wake_s[move.model] = max(0.01, min(shortest_s, move.took_s))
        if move.old is State.STARTING and move.new is State.READY and process and process.stood_by:
            shortest_s = self.shortest_wake_s.get(move.model, move.took_s or 0.0)
            self.shortest_wake_s[move.model] = max(0.01, min(shortest_s, move.took_s or 0.0))
        if move.new is State.BACKOFF:
            self._backs_off(move)
        if move.old is State.BACKOFF and move.cause is Cause.COOLED_DOWN:
            self._cooled_down(move)
        if move.old in LOADING and move.new is State.STOPPING:
            self._start_was_given_up(move)
        if move.cause is Cause.EVICTED and move.old is State.READY and process and not over:
            self._evicted(move, process, costs)

    def _backs_off(self, move: do.ReportMove) -> None:
        if move.model not in self.core.views():  # no longer configured: gone with its end
            return
        earlier = self.backoffs.get(move.model, 0)
        base_s = min(BACKOFF_FIRST_S * 2**earlier, BACKOFF_MAX_S)
        until = self.core.view(move.model).backoff_until
        pause_s = -1.0 if until is None else until - self.now
        if not base_s - SLACK_S <= pause_s <= base_s * (1 + JITTER) + SLACK_S:
            raise Broken(8, f"back-off {earlier + 1} in a row of {move.model} is {pause_s} s")
        self.backoffs[move.model] = earlier + 1
        self.requested.pop(move.model, None)

    def _cooled_down(self, move: do.ReportMove) -> None:
        base_s = min(BACKOFF_FIRST_S * 2 ** (self.backoffs[move.model] - 1), BACKOFF_MAX_S)
        if move.took_s is None or move.took_s < base_s - SLACK_S:
            raise Broken(8, f"{move.model} cooled down after {move.took_s} s")

    def _start_was_given_up(self, move: do.ReportMove) -> None:
        ordered = {Cause.REQUESTED, Cause.START_TIMEOUT, Cause.SHUTDOWN, Cause.CONFIGURED, Cause.WAKE_FAILED}
        ordered.add(Cause.SLEEP_FAILED)  # found asleep, and it takes more than awake
        if move.cause in ordered:
            return
        needed = move.needed_by is not None and (
            self.waiting(move.needed_by) or move.needed_by in self.requested or self._over()
        )
        if self.waiting(move.model) or move.model in self.requested or not needed:
            raise Broken(7, f"the start of {move.model} was thrown away for nothing ({move.cause})")

    def _evicted(self, move: do.ReportMove, process: Process, costs: dict[str, float | None]) -> None:
        assert move.needed_by is not None
        victim, newcomer = self.scheduler.models[move.model], self.scheduler.models[move.needed_by]
        learned = {name: view.start_cost_s for name, view in self.core.views().items()}
        pair = (victim.name, newcomer.name)
        wakes = [self.shortest_wake_s[name] for name in pair if name in self.shortest_wake_s]
        swap_s = min(policy.swap_cost_s(*(known.get(name) for name in pair)) for known in (costs, learned))
        swap_s = min([swap_s, *wakes])
        if victim.pinned:
            raise Broken(6, f"{victim.name} is pinned and was evicted")
        waiting = self.waiting(newcomer.name)
        if self._out_of_patience(victim, newcomer, waiting, swap_s):
            return
        held_s = self.now - process.ready_since
        quiet = not self.holding(victim.name)
        if victim.residency_s is not None:
            if held_s < victim.residency_s - SLACK_S:
                raise Broken(6, f"{victim.name} kept its memory for {held_s} s of {victim.residency_s}")
            return
        favour = newcomer.priority + max((a.priority for a in waiting), default=0) - victim.priority
        turn_s = policy.TURN_MIN * swap_s - HEAD_START * swap_s * favour
        if held_s < turn_s - SLACK_S and not quiet:
            raise Broken(6, f"{victim.name} kept its memory for {held_s} s (swap {swap_s} s)")

    def _out_of_patience(
        self, victim: SchedulingSpec, newcomer: SchedulingSpec, waiting: list[Asked], swap_s: float
    ) -> bool:
        if waiting:
            since = min(asked.since for asked in waiting)
        elif newcomer.name in self.requested:
            since = self.requested[newcomer.name]
        else:
            return False
        patience_s = newcomer.max_wait_s
        if patience_s is None:  # of an average swap: not shorter than six of the cheapest
            starts = [view.start_cost_s for view in self.core.views().values()]
            known = [cost for cost in (*starts, *self.shortest_wake_s.values()) if cost is not None]
            cheapest_s = max(0.01, min([*known, swap_s]))
            patience_s = max(policy.MAX_WAIT * cheapest_s, 1.5 * (victim.residency_s or 0.0))
        return self.now >= since + patience_s - SLACK_S

    # coming to rest

    def come_to_rest(self, start_s: float, stop_s: float, service_s: float) -> None:
        """From now on everything works, and clients that got an answer ask again at once.

        All who wait now must be answered in time all the same; a closing house must close.
        """
        if self.unusable:
            self.change_runtime(tuple(sorted(self.unusable)), None)
        for process in self.processes.values():
            process.since = self.now
        self.downloads = {model: (number, self.now) for model, (number, _) in self.downloads.items()}
        early = self.waiting()
        bound_s = self._bound_s(start_s, stop_s, service_s)
        until, rung = self.now + bound_s, 0
        while any(not asked.answer for asked in early) or (self.closing and not self.core.at_rest):
            due = self._next_deed(start_s, stop_s, service_s)
            at = min(due[0], self.core.wake_at)
            if at > until:
                left = [asked for asked in early if not asked.answer]
                raise Broken(5, f"not answered within {bound_s} s: {left}; {self.core.views()}")
            began, self.now = self.now, max(self.now, at)
            rung = rung + 1 if at <= began and due[0] > self.core.wake_at else 0
            if rung > 20:
                raise Broken(5, "it wants to be woken again and again")
            if due[0] <= self.core.wake_at:
                self._do(due[1], due[2])
            else:
                self.tell(ev.TimePassed())

    def _bound_s(self, start_s: float, stop_s: float, service_s: float) -> float:
        """The honest bound: the longest patience, and then for every model its drain, stop, sleep and start
        (twice: one that is in the way of its sleep, or wanted warm, may come in between), its answers, and
        behind full slots the time in which age makes up for priority and for what the key holds."""
        specs = self.scheduler.models.values()
        costs = [policy.swap_cost_s(view.start_cost_s) for view in self.core.views().values()]
        swap_s = max([*costs, start_s, policy.DEFAULT_SWAP_S])
        patience_s = max(
            [s.max_wait_s or 0.0 for s in specs]
            + [
                policy.max_wait_s(swap_s, len(self.scheduler.models)),
                1.5 * max((s.residency_s or 0.0) for s in specs),
            ]
        )
        answers_s = service_s * (len(self.waiting()) + len(self.holding()))
        if any(spec.max_in_flight for spec in specs):
            answers_s += 8 * AGEING_S
        drain_s = max([service_s, *(s.drain_timeout_s for s in specs if self.closing)])
        downloads_s = start_s * len(self.core.views())
        each_s = drain_s + 2 * stop_s + 2 * start_s
        return patience_s + 2 * len(self.core.views()) * each_s + answers_s + downloads_s

    def _next_deed(
        self, start_s: float, stop_s: float, service_s: float
    ) -> tuple[float, str, Process | Asked | str | None]:
        takes = {
            "preparing": start_s,
            "starting": start_s,
            "waking": start_s,
            "stopping": stop_s,
            "falling asleep": stop_s,
        }
        deeds: list[tuple[float, str, Process | Asked | str | None]] = [(math.inf, "nothing", None)]
        deeds += [(p.since + takes[p.doing], p.doing, p) for p in self.processes.values() if p.doing in takes]
        deeds += [(since + start_s, "downloading", model) for model, (_, since) in self.downloads.items()]
        deeds += [(max(a.held_since, 0.0) + service_s, "answer", a) for a in self.holding()]
        return min(deeds, key=lambda deed: deed[0])

    def _do(self, deed: str, who: Process | Asked | str | None) -> None:
        match who:
            case str():
                self.download_ends(who)
            case Asked():
                self.give_back(who)
                if not self.closing and who.model in self.scheduler.models:
                    self.ask(who.model, key="again")
            case Process() if deed in ("starting", "waking"):
                self.passes_probe(who)
            case Process() if deed == "preparing":
                self.prepared(who)
            case Process() if deed == "stopping":
                self.ends(who, ENDED)
            case Process():
                self.sleeps(who, None)
