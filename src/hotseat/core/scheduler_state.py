"""The state of all models, and the primitive changes that the event handlers are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core import policy, refusals
from hotseat.core.deadlines import NEVER, Deadlines
from hotseat.core.errors import Reason, Refusal
from hotseat.core.model_state import PREPARE_AGAIN_S, ModelState
from hotseat.core.planner import free_host_memory
from hotseat.core.spec import SchedulerSpec, SchedulingSpec
from hotseat.core.states import LOADING, STANDS_BY, Cause, State


@dataclass(slots=True)
class SchedulerState:
    """All that the scheduler knows, owned by ``Scheduler`` and changed by its handlers alone.

    Each method is one primitive change. It appends the effects that carry it out and marks the plan as
    out of date where it may change the plan.
    """

    spec: SchedulerSpec
    jitter: Callable[[], float]
    """Asked for a number in 0…1 that spreads back-offs, so that the core itself holds no randomness."""
    recovered: bool
    """Whether all runs from before our time are known. Nothing is started or stopped before."""

    models: dict[str, ModelState] = field(default_factory=dict)
    requests: dict[int, ModelState] = field(default_factory=dict)
    """By request that waits or holds a lease: its model."""
    residents: dict[str, ModelState] = field(default_factory=dict)
    """The models that have a run."""
    wanted: dict[str, ModelState] = field(default_factory=dict)
    """The models that wait for memory, and perhaps some that no longer do: planning leaves those out."""
    run_numbers: dict[str, int] = field(default_factory=dict)
    """The latest run of each model ever known, so that no number is used twice."""
    download_number: int = 0
    """Number of the latest download."""

    deadlines: Deadlines = field(default_factory=Deadlines)
    last_time: float = -NEVER
    """The latest time that an event came with."""
    shutdown: ev.ShutdownRequested | None = None
    """Set once hotseat is to end."""

    plan_outdated: bool = True
    """Something has changed that may change the plan."""
    replan_at: float = NEVER
    contended: bool = False
    """Somebody waits for memory: a lease that comes back may change the plan."""
    max_wait_s: float = 0.0
    """What a request waits before it may cut a turn short, by the latest plan."""
    longest_drain_s: float = 0.0
    """The longest drain time-out of all configured models."""

    effects: list[do.Effect] = field(default_factory=list)
    """Effects of the event being handled, in order."""

    # requests and leases

    def grant(self, model: ModelState, request: int, key: str, now: float) -> None:
        """Give this request a lease."""
        assert model.run is not None
        model.grant(request, key, now)
        self.requests[request] = model
        self.effects.append(do.GrantLease(request, model.name, model.run))

    def grant_queued(self, model: ModelState, now: float) -> None:
        """Give leases to queued requests while there are free slots."""
        while model.queue and model.has_free_slot():
            queued = model.queue.pop(model.held_by, now)
            self.grant(model, queued.request, queued.key, now)

    def refuse(self, request: int, refusal: Refusal) -> None:
        """Refuse a request that is in no queue."""
        self.requests.pop(request, None)
        self.effects.append(do.RefuseRequest(request, refusal))

    def refuse_queued(self, model: ModelState, refusal: Refusal) -> None:
        """Refuse all queued requests of a model."""
        for queued in model.queue.clear():
            self.refuse(queued.request, refusal)
        self.set_deadline(model)

    def break_leases(self, model: ModelState, reason: Reason, now: float) -> None:
        """Break all leases on a model's run."""
        assert model.run is not None
        for request in list(model.leases):
            model.release(request, now)
            del self.requests[request]
            self.effects.append(do.BreakLease(request, model.name, model.run, reason))

    # lookups for reports

    def running(self, name: str, run: int) -> ModelState | None:
        """The model whose current run this is; ``None`` for an old run: late reports are not believed."""
        model = self.models.get(name)
        return model if model is not None and model.run == run else None

    def downloading(self, name: str, download: int) -> ModelState | None:
        """The model whose current download this is; ``None`` for an old download."""
        model = self.models.get(name)
        return model if model is not None and model.download == download else None

    # transitions

    def move(
        self, model: ModelState, new: State, cause: Cause, now: float, reason: Reason | None = None
    ) -> None:
        """Move a model through the table and report it. Raises ``IllegalTransition``."""
        old, run, took_s, needed_by = model.state, model.run, now - model.since, model.needed_by
        model.move(new, cause, now)
        if model.run is None:
            self.residents.pop(model.name, None)
        else:
            self.residents[model.name] = model
        self.effects.append(do.ReportMove(model.name, run, old, new, cause, reason, took_s, needed_by))
        self.update_wanted(model)
        self.drop_if_retired(model)
        self.set_deadline(model)
        self.plan_outdated = True

    def launch(self, model: ModelState, now: float) -> None:
        """Start a stopped model, wake a sleeping one, or let one that stands by use the GPU."""
        cause = model.start_cause
        model.ordered_at = now
        if model.state in STANDS_BY:
            assert model.run is not None
            model.held_back, model.stood_by = False, model.state is State.STANDBY
            model.adopted = model.unplanned = False
            model.run_footprint = model.spec.footprint
            model.starts += 1
            model.launched_at = now
            self.move(model, State.STARTING, cause, now)
            self.effects.append(do.AdmitRun(model.name, model.run))
            return
        if model.state is State.ASLEEP:
            assert model.run is not None
            self.move(model, State.WAKING, cause, now)
            model.reset_leftover()
            self.effects.append(do.WakeRun(model.name, model.run))
            return
        run = self._begin_run(model, now)
        model.starts += 1
        model.held_back = False
        self.move(model, State.STARTING, cause, now)
        self.effects.append(do.StartRun(model.name, run))

    def prepare(self, model: ModelState, now: float, *, kept: bool = False) -> None:
        """Start a stopped model as far as the GPU, where host memory allows it.

        ``kept``: nobody waits for it, and nobody else stops standing by for it.
        """
        need_mib, limit_mib = model.standby_need_mib, self.spec.host_sleep_mib
        if kept:
            taken_mib = sum(resident.host_mib for resident in self.residents.values())
            if limit_mib is not None and taken_mib + need_mib > limit_mib:
                return
        elif not self._free_host_memory(need_mib, now, sleepers=False):
            return
        run = self._begin_run(model, now)
        model.held_back, model.ordered_at = True, now
        self.move(model, State.PREPARING, Cause.KEPT if kept else model.start_cause, now)
        self.effects.append(do.PrepareRun(model.name, run, kept))

    def _begin_run(self, model: ModelState, now: float) -> int:
        """Give a stopped model a run with a new number."""
        run = self.run_numbers[model.name] = self.run_numbers.get(model.name, 0) + 1
        model.run = run
        model.launched_at = now
        model.served = model.adopted = model.unplanned = False
        model.stood_by = None
        model.run_footprint, model.run_fingerprint = model.spec.footprint, model.spec.fingerprint
        model.reset_leftover()
        return run

    def prepare_failed(self, model: ModelState, reason: Reason, now: float, *, ended: bool) -> None:
        """Give up preparing the model for a while; clients wait on, and it is started plainly in its turn.

        ``ended``: nothing of the run is left.
        """
        model.prepare_after, model.reason = now + PREPARE_AGAIN_S, reason
        if ended:
            self.move(model, State.STOPPED, Cause.PREPARE_FAILED, now, reason)
        else:
            self.stop(model, Cause.PREPARE_FAILED, now, reason)

    def become_ready(self, model: ModelState, cause: Cause, now: float) -> None:
        """Begin a turn: grant leases to the queue."""
        model.ready_since = model.idle_since = now
        model.served, model.requested, model.equal_failures = True, False, 0
        for queued in model.queue.waiting.values():
            model.learn_patience(queued, now, stayed=True)
        if not model.sleep_broken:  # the reason of an earlier end says nothing of this run
            model.reason = None
        self.move(model, State.READY, cause, now)
        self.grant_queued(model, now)
        model.peak_demand = model.demand

    def unload(self, model: ModelState, cause: Cause, now: float, to_sleep: bool = False) -> None:
        """Free the model's memory from whatever state: drain it, then stop it or put it to sleep."""
        if model.state is State.READY and model.leases:
            model.drain_cause, model.to_sleep = cause, to_sleep
            self.move(model, State.DRAINING, cause, now)
        elif model.state is State.READY:
            self.suspend_or_stop(model, cause, now, to_sleep=to_sleep)
        elif model.state is State.DRAINING:  # a further cause; no drain but an eviction may be called off
            model.drain_cause = model.drain_cause if cause is Cause.EVICTED else cause
            model.to_sleep = to_sleep and cause is Cause.EVICTED
        elif model.state in LOADING:
            self.stop(model, Cause.ABANDONED if cause is Cause.EVICTED else cause, now)
        elif model.state in (State.ASLEEP, State.SUSPENDING, *STANDS_BY):
            self.stop(model, cause, now)
        elif model.state is State.DOWNLOADING:
            self.stop_download(model)
            self.move(model, State.STOPPED, cause, now)

    def drained(self, model: ModelState, cause: Cause, now: float) -> None:
        """End a drain: nobody uses the run any more."""
        if model.drain_cause is Cause.SHUTDOWN and self.shutdown and self.shutdown.leave_running:
            self.move(model, State.READY, cause, now)
        else:
            self.suspend_or_stop(model, cause, now, to_sleep=model.to_sleep)

    def suspend_or_stop(self, model: ModelState, cause: Cause, now: float, *, to_sleep: bool) -> None:
        """Put a run without leases to sleep where that is wanted and host memory allows it; else stop it."""
        if to_sleep and self._reserve_host_memory(model, now):
            assert model.run is not None
            model.ordered_at = now
            self.move(model, State.SUSPENDING, cause, now)
            self.effects.append(do.SleepRun(model.name, model.run))
        else:
            self.stop(model, cause, now)

    def _reserve_host_memory(self, model: ModelState, now: float) -> bool:
        """Stop other sleepers until this one fits into host memory; false if it never will."""
        return self._free_host_memory(model.sleep_need_mib, now, sleepers=True)

    def _free_host_memory(self, need_mib: int, now: float, *, sleepers: bool) -> bool:
        """Stop those that stand by for nobody, and ``sleepers``, until so much fits; false: it never will."""
        limit_mib = self.spec.host_sleep_mib
        victims = free_host_memory(need_mib, self.residents.values(), limit_mib, sleepers=sleepers)
        for victim in victims or ():
            self.stop(victim, Cause.EVICTED, now)
        return victims is not None

    def stop(self, model: ModelState, cause: Cause, now: float, reason: Reason | None = None) -> None:
        """Tell a run to stop, at once."""
        assert model.run is not None
        model.ordered_at = now
        self.move(model, State.STOPPING, cause, now, reason)
        self.effects.append(do.StopRun(model.name, model.run))

    def stop_and_disable_sleep(self, model: ModelState, cause: Cause, reason: Reason, now: float) -> None:
        """Stop a run that failed to sleep or to wake; the model is not put to sleep again."""
        model.sleep_broken, model.reason = True, reason
        self.stop(model, cause, now, reason)

    def fail(self, model: ModelState, cause: Cause, reason: Reason, now: float) -> None:
        """Record that a run has failed. The first crash of a run that had served needs no back-off."""
        model.failures += 1
        if not model.served:
            model.count_failed_start(reason)
        model.reason = reason
        if model.served and model.failures == 1 and not reason.permanent:
            self.move(model, State.STOPPED, cause, now, reason)
            return
        self.back_off(model, cause, reason, now)

    def back_off(self, model: ModelState, cause: Cause, reason: Reason, now: float) -> None:
        """Refuse the queue and leave the model alone for a while."""
        model.backoff_until = now + policy.backoff_s(model.backoffs, self.jitter())
        model.backoffs += 1
        model.requested = False
        self.move(model, State.BACKOFF, cause, now, reason)
        self.refuse_queued(model, refusals.backing_off(model, now))

    # downloads

    def start_download(self, model: ModelState, now: float) -> None:
        """Download the model's files."""
        self.download_number += 1
        self.move(model, State.DOWNLOADING, model.start_cause, now)
        model.download = self.download_number
        self.effects.append(do.StartDownload(model.name, model.download))

    def stop_download(self, model: ModelState) -> None:
        """Stop the download; the caller moves the model."""
        assert model.download is not None
        self.effects.append(do.StopDownload(model.name, model.download))

    # bookkeeping

    def update_wanted(self, model: ModelState) -> None:
        """Have the next plan consider the model if it is wanted and has no run that could serve."""
        away = model.state in (State.STOPPED, State.ASLEEP, *STANDS_BY)
        if away and model.unusable is not None:
            self.refuse_queued(model, refusals.unusable(model.name, model.unusable))
            model.requested = False
        if away and model.wanted:
            self.wanted[model.name] = model
            self.plan_outdated = True

    def update_warm(self, model: ModelState) -> None:
        """Work out anew whether the configuration or a schedule wants the model ready."""
        model.warm = model.spec.warm or model.warm_scheduled or self.spec.return_to == model.name
        self.update_wanted(model)
        self.set_deadline(model)

    def set_deadline(self, model: ModelState) -> None:
        """Have the model looked at when its state or its oldest request is due."""
        self.deadlines.set(model.name, min(model.deadline(), self.queue_deadline(model)))

    def queue_deadline(self, model: ModelState) -> float:
        """Time at which the oldest queued request has waited as long as it may."""
        if not model.queue:
            return NEVER
        since = model.queue.oldest().since
        limit_s = model.spec.wait_limit_s
        if limit_s is None:
            if model.state in LOADING or model.state is State.DOWNLOADING:  # bounded by its own deadline
                return NEVER
            since = max(since, model.downloaded_at)
            wait_s = model.spec.max_wait_s
            if wait_s is None:
                wait_s = self.max_wait_s
            limit_s = wait_s + self.longest_drain_s + model.spec.start_timeout_s
        return since + limit_s

    def drop_if_retired(self, model: ModelState) -> None:
        """Remove a model that is no longer configured and has no run."""
        if model.retired and model.run is None:
            self.models.pop(model.name, None)
            self.wanted.pop(model.name, None)
            self.deadlines.forget(model.name)

    def configure(self, spec: SchedulerSpec) -> None:
        """Take over the configured models; those that are no longer configured are left as they are."""
        if spec.budget != self.spec.budget:
            for resident in self.residents.values():
                resident.unplanned = True
        self.spec = spec
        self.longest_drain_s = max((s.drain_timeout_s for s in spec.models.values()), default=0.0)
        self.plan_outdated = True
        for name, terms in spec.models.items():
            model = self.models.get(name)
            new = model is None
            if model is None:
                model = self.models[name] = ModelState(terms)
            if new or not same_files(model.spec, terms):
                model.files_missing = terms.download_timeout_s is not None  # until somebody has looked
            if model.spec.fingerprint != terms.fingerprint:
                model.prepare_after = 0.0
            model.spec, model.retired = terms, False
            if model.run is not None and not model.stale and model.run_footprint != terms.footprint:
                # Launched as it would be today: what is said of its memory now is said of this run.
                model.run_footprint, model.unplanned = terms.footprint, not model.held_back
            model.reset_leftover()
            self.update_warm(model)


def same_files(old: SchedulingSpec, new: SchedulingSpec) -> bool:
    """Whether two configurations of a model need the same files."""
    never = (old.download_timeout_s is None, new.download_timeout_s is None)
    return never[0] == never[1] and old.fingerprint == new.fingerprint
