"""Orders of operators, schedules and the configuration, and changes of runtimes."""

from __future__ import annotations

from hotseat.core import events as ev
from hotseat.core import refusals
from hotseat.core.errors import Reason
from hotseat.core.model_state import ModelState
from hotseat.core.scheduler_state import SchedulerState, same_files
from hotseat.core.states import HOLDS_LEASES, LOADING, STANDS_BY, Cause, State


def start_requested(state: SchedulerState, event: ev.StartRequested, now: float) -> None:
    """Want the model ready, and end its back-off."""
    model = state.models.get(event.model)
    if model is None or state.shutdown or model.state is State.READY:
        return
    if model.state is State.BACKOFF:
        state.move(model, State.STOPPED, Cause.REQUESTED, now)
    model.requested, model.requested_at, model.dismissed = True, now, False
    state.update_wanted(model)


def stop_requested(state: SchedulerState, event: ev.StopRequested, now: float) -> None:
    """Refuse the queue and unload the model."""
    model = state.models.get(event.model)
    if model is None:
        return
    model.requested, model.dismissed = False, True
    state.refuse_queued(model, refusals.stopped(model))
    if event.to_sleep and model.state in (State.ASLEEP, State.SUSPENDING):
        return
    state.unload(model, Cause.REQUESTED, now, to_sleep=event.to_sleep and model.can_sleep)


def keep_warm_changed(state: SchedulerState, event: ev.KeepWarmChanged, now: float) -> None:
    """Keep the model warm from now on, or no longer."""
    model = state.models.get(event.model)
    if model is not None:
        model.warm_scheduled = event.warm
        state.update_warm(model)


def runtime_changed(state: SchedulerState, event: ev.RuntimeChanged, now: float) -> None:
    """Note whether the runtime of these models can work."""
    for model in [state.models[name] for name in event.models if name in state.models]:
        model.unusable = event.why
        state.update_wanted(model)


def scheduler_configured(state: SchedulerState, event: ev.SchedulerConfigured, now: float) -> None:
    """Take over another configuration and unload the models that it no longer holds."""
    configured = event.scheduler.models
    known = [model for model in state.models.values() if model.name in configured]
    other_files = [model for model in known if not same_files(model.spec, configured[model.name])]
    state.configure(event.scheduler)
    for model in other_files:
        if model.state is State.DOWNLOADING:
            state.unload(model, Cause.CONFIGURED, now)
    for model in state.models.values():
        if model.state is State.READY:  # more leases may be allowed now
            state.grant_queued(model, now)
    for model in [model for model in state.models.values() if model.name not in configured]:
        model.retired, model.requested, model.warm, model.warm_scheduled = True, False, False, False
        state.refuse_queued(model, refusals.unknown(model.name))
        state.unload(model, Cause.CONFIGURED, now)
        state.drop_if_retired(model)


def shutdown_requested(state: SchedulerState, event: ev.ShutdownRequested, now: float) -> None:
    """Refuse what waits, and unload all models or those that cannot be left running."""
    state.shutdown = event
    for model in state.models.values():
        model.requested = False
        state.refuse_queued(model, refusals.shutting_down(model))
        if event.at_once and model.state in HOLDS_LEASES:
            _cut_responses(state, model, now)
        if not event.leave_running or _cannot_be_left_running(model):
            state.unload(model, Cause.SHUTDOWN, now)


def _cut_responses(state: SchedulerState, model: ModelState, now: float) -> None:
    """Break all leases and end the drain that waited for them."""
    state.break_leases(model, Reason(summary="hotseat was told to stop at once", alive=True), now)
    if model.state is State.DRAINING:
        model.to_sleep = False
        state.drained(model, Cause.DRAIN_DEADLINE, now)


def _cannot_be_left_running(model: ModelState) -> bool:
    """Whether it must be unloaded all the same: responses pass through us, or a change is half done."""
    if model.state is State.DRAINING:
        return model.drain_cause is Cause.EVICTED
    unfinished = (*LOADING, *STANDS_BY, State.DOWNLOADING, State.ASLEEP, State.SUSPENDING)
    return bool(model.leases) or model.state in unfinished
