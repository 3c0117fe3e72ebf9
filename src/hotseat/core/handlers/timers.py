"""Deadlines that have come."""

from __future__ import annotations

from hotseat.core import effects as do
from hotseat.core import events as ev
from hotseat.core import refusals
from hotseat.core.errors import Reason
from hotseat.core.model_state import PREPARE_TIMEOUT, ModelState
from hotseat.core.scheduler_state import SchedulerState
from hotseat.core.states import Cause, State


def time_passed(state: SchedulerState, event: ev.TimePassed, now: float) -> None:
    """Look at every model whose deadline may have come, and at the plan when it is due."""
    for name in state.deadlines.due(now):
        if (model := state.models.get(name)) is not None:
            _refuse_overdue_requests(state, model, now)
            if now >= model.deadline():
                _state_overdue(state, model, now)
            state.set_deadline(model)
    if state.replan_at <= now:
        state.plan_outdated = True


def _refuse_overdue_requests(state: SchedulerState, model: ModelState, now: float) -> None:
    while now >= state.queue_deadline(model):
        queued = model.queue.oldest()
        model.queue.remove(queued.request)
        state.refuse(queued.request, refusals.waited_too_long(model, now - queued.since))
        state.plan_outdated = True


def _state_overdue(state: SchedulerState, model: ModelState, now: float) -> None:
    """Do what a model's state demands at its deadline."""
    spec = model.spec
    match model.state:
        case State.STARTING:
            if (unplaced := model.unplaced) is not None:
                model.failure = Reason(summary=f"no room: {unplaced.summary}", hint=unplaced.hint)
                state.refuse_queued(model, refusals.unplaced(model, unplaced))
            else:
                summary = f"not ready within {spec.start_timeout_s:g} s"
                model.failure = Reason(summary=summary, hint=model.start_note)
                state.refuse_queued(model, refusals.start_timeout(model, model.failure))
            state.stop(model, Cause.START_TIMEOUT, now, model.failure)
        case State.PREPARING:
            limit_s = PREPARE_TIMEOUT * spec.start_timeout_s
            reason = Reason(summary=f"not prepared within {limit_s:g} s")
            state.prepare_failed(model, reason, now, ended=False)
        case State.STANDBY:
            state.stop(model, Cause.IDLE, now)
        case State.DOWNLOADING:
            state.stop_download(model)
            reason = Reason(summary=f"not downloaded within {spec.download_timeout_s:g} s")
            model.count_failed_start(reason)
            model.failures, model.reason = model.failures + 1, reason
            state.back_off(model, Cause.DOWNLOAD_FAILED, model.reason, now)
        case State.WAKING:
            reason = Reason(summary=f"not awake within {spec.start_timeout_s:g} s")
            state.stop_and_disable_sleep(model, Cause.WAKE_FAILED, reason, now)
        case State.SUSPENDING:
            reason = Reason(summary=f"not asleep within {spec.drain_timeout_s:g} s")
            state.stop_and_disable_sleep(model, Cause.SLEEP_FAILED, reason, now)
        case State.READY:
            model.idle_stops += 1
            state.unload(model, Cause.IDLE, now, to_sleep=model.can_sleep)
        case State.DRAINING:
            words = f"cut off after {spec.drain_timeout_s:g} s of draining"
            state.break_leases(model, Reason(summary=words, alive=True), now)
            state.drained(model, Cause.DRAIN_DEADLINE, now)
        case State.STOPPING:
            assert model.run is not None
            model.ordered_at = now
            state.effects.append(do.StopRun(model.name, model.run))
        case State.ASLEEP:
            state.stop(model, Cause.IDLE, now)
        case State.BACKOFF:
            state.move(model, State.STOPPED, Cause.COOLED_DOWN, now)
        case State.STOPPED:
            pass
