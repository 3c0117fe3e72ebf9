"""Planning anew after an event, and carrying the plan out."""

from __future__ import annotations

from hotseat.core import planner, refusals
from hotseat.core.errors import Reason
from hotseat.core.model_state import ModelState
from hotseat.core.scheduler_state import SchedulerState
from hotseat.core.states import STANDS_BY, Cause, State


def replan(state: SchedulerState, now: float) -> None:
    """Make a plan from the present state and carry it out; nothing before all runs are recovered."""
    if not state.recovered:
        state.plan_outdated = False
        return
    stale_in_use = _unload_stale(state, now)
    if state.shutdown:
        state.wanted.clear()
    for model in [model for model in state.wanted.values() if lacks_files(model) and is_to_come(model)]:
        state.start_download(model, now)
    state.wanted = {n: m for n, m in state.wanted.items() if is_to_come(m) and not lacks_files(m)}
    plan = planner.make_plan(state.wanted.values(), state.residents.values(), state.spec.budget, now)
    _carry_out(state, plan, now)
    state.replan_at, state.max_wait_s = plan.again_at, plan.max_wait_s
    state.contended = stale_in_use or plan.contended
    state.plan_outdated = False


def _unload_stale(state: SchedulerState, now: float) -> bool:
    """Unload runs of another configuration that nobody uses; whether some are in use still."""
    in_use = False
    for model in [model for model in state.residents.values() if model.stale]:
        if model.state in (State.ASLEEP, *STANDS_BY) or (model.state is State.READY and model.quiet):
            state.unload(model, Cause.CONFIGURED, now)
        else:
            in_use = True
    return in_use


def is_to_come(model: ModelState) -> bool:
    """Whether the model is wanted, has no run that could serve, and could be started."""
    away = (State.STOPPED, State.ASLEEP, *STANDS_BY)
    return model.wanted and model.state in away and model.unusable is None


def lacks_files(model: ModelState) -> bool:
    """Whether files must be downloaded first. A sleeper has them in memory."""
    return model.files_missing and model.state is State.STOPPED


def _carry_out(state: SchedulerState, plan: planner.Plan, now: float) -> None:
    for model in plan.infeasible:
        refusal = refusals.no_room(model, state.spec.budget)
        model.requested, model.reason = False, Reason(summary=refusal.message, permanent=True)
        state.refuse_queued(model, refusal)
    for model in plan.declined:
        for queued in model.queue.clear():
            state.refuse(queued.request, refusals.not_loaded(model, forbidden=queued.forbidden))
        state.set_deadline(model)
    for model in plan.call_off:
        model.requested = False
        model.needed_by = None
        state.move(model, State.READY, Cause.CALLED_OFF, now)
        state.grant_queued(model, now)
    for model in plan.launch:  # before evictions: suspending a victim may stop a sleeper for host memory
        del state.wanted[model.name]
        state.launch(model, now)
    for eviction in plan.evict:
        victim = eviction.victim
        if victim.state is not State.DRAINING:
            victim.evictions += 1
        victim.needed_by = eviction.needed_by.name
        state.unload(victim, Cause.EVICTED, now, eviction.to_sleep)
    _prepare(state, plan, now)


def _prepare(state: SchedulerState, plan: planner.Plan, now: float) -> None:
    """Prepare those that must wait for memory, and then one that is to be kept prepared."""
    for model in plan.waiting:
        if model.state is State.STOPPED and model.can_prepare(now):
            state.prepare(model, now)
    if state.shutdown is None:
        kept = planner.to_keep_prepared(state.models.values(), state.residents.values(), now)
        if kept is not None:
            state.prepare(kept, now, kept=True)
