"""The invariants that hold after every event; checked by tests and by the simulator."""

from __future__ import annotations

from hotseat.core import policy
from hotseat.core.deadlines import NEVER
from hotseat.core.model_state import ModelState
from hotseat.core.scheduler_state import SchedulerState
from hotseat.core.states import HOLDS_LEASES, HOLDS_RUN, STANDS_BY, Cause, State


def check(state: SchedulerState) -> None:
    """Raise ``AssertionError`` that names the broken invariant and the model's latest transitions."""
    held: policy.Free = {}
    known: dict[int, ModelState] = {}
    for model in state.models.values():
        _check_model(state, model)
        policy.add(held, model.memory_held())
        for request in [*model.leases, *model.queue.requests()]:
            assert request not in known, ("a request in two places", request, _story(model))
            known[request] = model
    models = {request: model.name for request, model in state.requests.items()}
    assert {request: model.name for request, model in known.items()} == models, "requests lost"
    over = {d: ppm for d, ppm in held.items() if ppm > state.spec.budget.get(d, 0)}
    assert not over or any(m.unplanned for m in state.residents.values()), ("over the budget", over)


def _check_model(state: SchedulerState, model: ModelState) -> None:
    story, deadlines = _story(model), state.deadlines
    running, draining = model.state in HOLDS_RUN, model.state is State.DRAINING
    assert (model.run is not None) == running, ("a run outside of its states", story)
    assert (model.name in state.residents) == (model.run is not None), ("not among the residents", story)
    stands_by = model.state in STANDS_BY
    assert model.held_back or not stands_by, ("stands by, and is not held back", story)
    may_be_held = stands_by or model.state is State.STOPPING or not running
    assert may_be_held or not model.held_back, ("held back outside of its states", story)
    downloads = model.download is not None
    assert downloads == (model.state is State.DOWNLOADING), ("a download outside of its state", story)
    assert (model.drain_cause is not None) == draining, ("a drain cause outside of its state", story)
    assert draining or not model.to_sleep, ("to sleep, and not draining", story)
    stopping = model.state is State.STOPPING
    assert stopping or model.failure is None, ("a failure outside of STOPPING", story)
    assert stopping or model.asleep == (model.state is State.ASLEEP), ("asleep outside of its state", story)
    assert not model.leases or model.state in HOLDS_LEASES, ("leases outside of their states", story)
    assert sum(model.held_by.values()) == len(model.leases), ("leases by key do not add up", story)
    if model.state is State.READY:
        assert not (model.queue and model.has_free_slot()), ("queued at a ready model", story)
    if draining:
        assert model.leases, ("nothing to drain", story)
        if model.spec.pinned:
            assert model.drain_cause is not Cause.EVICTED, ("a pinned model is evicted", story)
    assert deadlines.at(model.name) <= model.deadline(), ("a deadline that is not set", story)
    assert deadlines.next_at <= deadlines.at(model.name), ("a deadline that never comes", story)
    assert not model.queue or deadlines.at(model.name) < NEVER, ("queued without end", story)


def _story(model: ModelState) -> tuple[str, State, list[str]]:
    return model.name, model.state, list(model.history)
