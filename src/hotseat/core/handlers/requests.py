"""Requests that arrive, give up, and give their leases back."""

from __future__ import annotations

from hotseat.core import events as ev
from hotseat.core import refusals
from hotseat.core.errors import Refusal
from hotseat.core.model_state import ModelState
from hotseat.core.queue import QueuedRequest
from hotseat.core.scheduler_state import SchedulerState
from hotseat.core.states import HOLDS_LEASES, LOADING, STANDS_BY, Cause, State

_AWAY = (State.STOPPED, State.ASLEEP, State.STOPPING, State.SUSPENDING, *STANDS_BY)
"""States from which the model may have to evict others to come back."""
_SERVES_SOON = HOLDS_LEASES | LOADING


def request_arrived(state: SchedulerState, event: ev.RequestArrived, now: float) -> None:
    """Decide on admission. The first case that holds decides:

    1. The model is not configured, or no longer: refuse, ``model_not_found``.
    2. It is ready with a free slot, nothing is queued, and hotseat does not shut down: grant a lease.
    3. hotseat shuts down: refuse, ``shutting_down``.
    4. Its runtime cannot work now, and the model neither serves nor loads: refuse, ``runtime_unavailable``.
    5. It failed and is not tried again yet, or a start that failed is being stopped: refuse,
       ``model_backoff`` or ``model_failed``.
    6. Its queue is full: refuse, ``queue_full``.
    7. Otherwise queue the request; the next plan decides when the model gets its memory. It may evict others
       if its route allows that, in proportion to the odds that its client is still there then
       (``patience``). One that would have to evict and may not is refused by the plan, ``model_not_loaded``.
    """
    model = state.models.get(event.model)
    if model is None or model.retired:  # 1
        state.refuse(event.request, refusals.unknown(event.model))
        return
    free = model.state is State.READY and not model.queue and model.has_free_slot()
    if free and not state.shutdown:  # 2, and inlined in ``Scheduler.admit``
        if not model.leases:
            model.measure_pause(now)
        state.grant(model, event.request, event.key, now)
        return
    refusal = _refusal(state, model, now)  # 3 to 6
    if refusal is not None:
        state.refuse(event.request, refusal)
        return
    if model.quiet:  # 7
        model.measure_pause(now)
    model.dismissed = False
    group = f"{event.key} {event.endpoint}" if event.endpoint else None
    may_evict = event.may_evict
    if may_evict and group is not None and model.state in _AWAY:
        may_evict = model.patience.may_evict(group, model.return_cost_s, now)
    model.queue.push(
        QueuedRequest(
            event.request, event.key, event.priority, now, group, may_evict, forbidden=not event.may_evict
        )
    )
    model.peak_demand = max(model.peak_demand, model.demand)
    state.requests[event.request] = model
    state.update_wanted(model)
    state.set_deadline(model)


def _refusal(state: SchedulerState, model: ModelState, now: float) -> Refusal | None:
    """Cases 3 to 6 of ``request_arrived``."""
    if state.shutdown:  # 3
        return refusals.shutting_down(model)
    if model.unusable is not None and model.state not in _SERVES_SOON:  # 4
        return refusals.unusable(model.name, model.unusable)
    if model.state is State.BACKOFF:  # 5
        return refusals.backing_off(model, now)
    if model.state is State.STOPPING and model.failure is not None and not model.served:  # 5
        return refusals.backing_off(model, now)
    if model.spec.max_queue is not None and len(model.queue) >= model.spec.max_queue:  # 6
        return refusals.queue_full(model, now)
    return None


def request_withdrawn(state: SchedulerState, event: ev.RequestWithdrawn, now: float) -> None:
    """Take a request out of its queue. One that was granted meanwhile gives its lease back."""
    model = state.requests.get(event.request)
    if model is None:
        return
    if event.request not in model.queue:
        lease_returned(state, ev.LeaseReturned(event.request), now)
        return
    model.learn_patience(model.queue.remove(event.request), now, stayed=False)
    del state.requests[event.request]
    state.plan_outdated = True
    state.set_deadline(model)


def lease_returned(state: SchedulerState, event: ev.LeaseReturned, now: float) -> None:
    """Take a lease back: the next queued request gets it, or the model may have become quiet."""
    model = state.requests.get(event.request)
    if model is None or event.request not in model.leases:
        return
    del state.requests[event.request]
    model.release(event.request, now)
    if model.queue.waiting and model.state is State.READY:
        state.grant_queued(model, now)
    elif not model.leases:
        if model.state is State.DRAINING:
            state.drained(model, Cause.DRAINED, now)
            return
        if state.contended:
            state.plan_outdated = True
        if state.deadlines.at(model.name) > model.idle_deadline():
            state.set_deadline(model)
