"""Reports about runs. A report about a run that is not the model's current one is ignored."""

from __future__ import annotations

from hotseat.core import events as ev
from hotseat.core import eviction, policy, refusals
from hotseat.core.errors import Reason
from hotseat.core.model_state import ModelState, moving_average
from hotseat.core.scheduler_state import SchedulerState
from hotseat.core.states import HOLDS_LEASES, LEAVING, LOADING, STANDS_BY, Cause, State


def probe_passed(state: SchedulerState, event: ev.ProbePassed, now: float) -> None:
    """Measure how long the start or the wake took, and begin the turn."""
    model = state.running(event.model, event.run)
    if model is not None and model.state in STANDS_BY:
        _did_not_wait(state, model, now)
        return
    if model is None or model.state not in LOADING:
        return
    took_s = now - model.loading_since
    if model.state is State.STARTING and model.downloaded_in_start:
        model.last_start_s = took_s  # says nothing about the next start
    elif model.state is State.STARTING and not model.adopted:
        model.last_start_s = took_s
        if model.stood_by is None:
            model.start_cost_s = moving_average(model.start_cost_s, took_s)
        elif model.stood_by:
            model.standby_cost_s = moving_average(model.standby_cost_s, took_s)
    elif model.state is State.WAKING:
        model.wake_cost_s = moving_average(model.wake_cost_s, took_s)
    state.become_ready(model, Cause.PROBE_PASSED, now)


def start_observed(state: SchedulerState, event: ev.StartObserved, now: float) -> None:
    """Give a start that downloads its time anew, and keep what may explain a failure."""
    model = state.running(event.model, event.run)
    if model is None or model.state is not State.STARTING:
        return
    if event.note is not None:
        model.start_note = event.note
    if event.downloading:
        model.progressed_at, model.downloaded_in_start = now, True
        state.set_deadline(model)


def _did_not_wait(state: SchedulerState, model: ModelState, now: float) -> None:
    """Count a run that serves without having been admitted: its gate did not hold it."""
    model.gate_seen = None
    model.held_back, model.unplanned = False, True
    state.become_ready(model, Cause.PROBE_PASSED, now)


def gate_seen(state: SchedulerState, event: ev.GateSeen, now: float) -> None:
    """Prepare the model from now on, where it is configured as it was then."""
    model = state.models.get(event.model)
    if model is not None and model.gate_seen != event.fingerprint:
        model.gate_seen = event.fingerprint
        state.plan_outdated = True


def run_prepared(state: SchedulerState, event: ev.RunPrepared, now: float) -> None:
    """Note that the run stands by, and what it takes meanwhile."""
    model = state.running(event.model, event.run)
    if model is None or model.state is not State.PREPARING:
        return
    if event.host_mib is not None:
        model.standby_mib = event.host_mib
    state.move(model, State.STANDBY, Cause.PREPARED, now)


def start_failed(state: SchedulerState, event: ev.StartFailed, now: float) -> None:
    """Back off after a launch that failed."""
    model = state.running(event.model, event.run)
    if model is None:
        return
    if model.state is State.STARTING:
        state.fail(model, Cause.START_FAILED, event.reason, now)
    elif model.state in STANDS_BY:
        state.prepare_failed(model, event.reason, now, ended=True)
    elif model.state is State.STOPPING:
        _stop_confirmed(state, model, now)


def run_exited(state: SchedulerState, event: ev.RunExited, now: float) -> None:
    """Confirm an ordered stop, or react to an end that nobody ordered."""
    model = state.running(event.model, event.run)
    if model is None:
        return
    model.reset_failures(now)
    if model.state is State.STOPPING:
        _stop_confirmed(state, model, now)
        return
    state.break_leases(model, event.reason, now)
    if model.state in (State.SUSPENDING, State.WAKING):
        model.sleep_broken = True
    if event.outside:
        model.reason = event.reason
        state.refuse_queued(model, refusals.stopped(model))
        state.move(model, State.STOPPED, Cause.STOPPED_OUTSIDE, now, event.reason)
    elif model.state in STANDS_BY:
        state.prepare_failed(model, event.reason, now, ended=True)
    elif model.state is State.WAKING:
        model.reason = event.reason
        state.move(model, State.STOPPED, Cause.WAKE_FAILED, now, event.reason)
    elif model.state is State.STARTING:
        state.fail(model, Cause.START_FAILED, event.reason, now)
    else:
        state.fail(model, Cause.CRASHED, event.reason, now)


def _stop_confirmed(state: SchedulerState, model: ModelState, now: float) -> None:
    if model.failure is not None:
        state.fail(model, Cause.EXITED, model.failure, now)
    else:
        state.move(model, State.STOPPED, Cause.EXITED, now)


def run_unplaced(state: SchedulerState, event: ev.RunUnplaced, now: float) -> None:
    """Evict one more quiet model for a run that the runtime has no room for, whatever the budget says.

    The runtime reports again while that is not enough. A start that never finds room ends at its timeout,
    which gives an autoscaler time to add some; once there is room, the time counts anew.
    """
    model = state.running(event.model, event.run)
    if model is None or model.state is not State.STARTING:
        return
    if event.reason is None:
        if model.unplaced is not None:
            model.unplaced, model.placed_at = None, now
            state.set_deadline(model)
        return
    model.unplaced = event.reason
    sharing = [
        other for other in state.residents.values() if other is not model and _shares_device(other, model)
    ]
    if any(other.state in LEAVING for other in sharing):
        return  # somebody makes room already
    contender = eviction.Contender(model, eviction.wanted_since(model), state.max_wait_s)
    evictable = [
        other
        for other in sharing
        if other.quiet
        and other.state in (State.READY, State.ASLEEP)
        and eviction.may_be_evicted(other)
        and eviction.evictable_at(other, contender, len(model.queue), now) <= now
    ]
    if evictable:
        victim = min(evictable, key=lambda other: (eviction.eviction_cost(other, now), other.name))
        victim.evictions += 1
        victim.needed_by = model.name
        state.unload(victim, Cause.EVICTED, now)


def _shares_device(one: ModelState, other: ModelState) -> bool:
    return any(other.run_footprint.get(device) for device, ppm in one.memory_held().items() if ppm)


def run_unhealthy(state: SchedulerState, event: ev.RunUnhealthy, now: float) -> None:
    """Break the leases of a run that does not answer, and stop it."""
    model = state.running(event.model, event.run)
    if model is None or model.state not in HOLDS_LEASES:
        return
    state.break_leases(model, event.reason, now)
    model.failure = event.reason
    state.stop(model, Cause.UNHEALTHY, now, event.reason)


def run_slept(state: SchedulerState, event: ev.RunSlept, now: float) -> None:
    """Count a sleeping run for what it still takes; stop one that takes more than awake."""
    model = state.running(event.model, event.run)
    found = model is not None and model.state is State.STARTING and model.adopted
    if model is None or not (model.state is State.SUSPENDING or found):
        return
    if event.leftover is not None:
        model.leftover = dict(event.leftover)
    if not policy.fits(model.leftover, model.run_footprint):
        reason = Reason(summary="takes more GPU memory asleep than awake")
        state.stop_and_disable_sleep(model, Cause.SLEEP_FAILED, reason, now)
        return
    model.served = True
    state.move(model, State.ASLEEP, Cause.ADOPTED if found else Cause.SLEPT, now)


def sleep_failed(state: SchedulerState, event: ev.SleepFailed, now: float) -> None:
    """Stop a run that would not sleep."""
    model = state.running(event.model, event.run)
    if model is not None and model.state is State.SUSPENDING:
        state.stop_and_disable_sleep(model, Cause.SLEEP_FAILED, event.reason, now)


def wake_failed(state: SchedulerState, event: ev.WakeFailed, now: float) -> None:
    """Stop a run that would not wake."""
    model = state.running(event.model, event.run)
    if model is not None and model.state is State.WAKING:
        state.stop_and_disable_sleep(model, Cause.WAKE_FAILED, event.reason, now)


def run_found(state: SchedulerState, event: ev.RunFound, now: float) -> None:
    """Adopt a run that we did not start, where the model has none and its number is new."""
    model = state.models.get(event.model)
    known = state.run_numbers.get(event.model, 0)
    if model is None or model.run is not None or event.run <= known or state.shutdown:
        return
    if model.state is State.DOWNLOADING:
        state.stop_download(model)
    model.run = state.run_numbers[event.model] = event.run
    model.launched_at = now
    model.run_footprint = model.spec.footprint
    model.run_fingerprint = event.fingerprint or model.spec.fingerprint
    model.served, model.adopted, model.unplanned = event.ready, True, True
    model.held_back, model.stood_by = event.stands_by, None
    if event.stands_by:
        model.adopted = model.unplanned = False
        state.move(model, State.PREPARING, Cause.ADOPTED, now)
    elif event.ready:
        state.become_ready(model, Cause.ADOPTED, now)
    else:
        state.move(model, State.STARTING, Cause.ADOPTED, now)


def runs_recovered(state: SchedulerState, event: ev.RunsRecovered, now: float) -> None:
    """Begin to start and stop models."""
    state.recovered = state.plan_outdated = True


def start_remembered(state: SchedulerState, event: ev.StartRemembered, now: float) -> None:
    """Expect a start to take as long as an earlier hotseat measured, until one is measured."""
    model = state.models.get(event.model)
    if model is not None and model.start_cost_s is None:
        model.start_cost_s = event.seconds
