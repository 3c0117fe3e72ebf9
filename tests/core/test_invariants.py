"""The invariants: each is broken by hand, and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from core_story import Story, model, shares

from hotseat.core import events as ev
from hotseat.core.deadlines import NEVER, Deadlines
from hotseat.core.errors import Reason
from hotseat.core.queue import QueuedRequest
from hotseat.core.scheduler_state import SchedulerState
from hotseat.core.spec import SchedulerSpec
from hotseat.core.states import Cause, State


def serving(**terms: object) -> Story:
    """chat serves request 2, and coder has never run."""
    s = Story(model("chat", 0.6, **terms), model("coder", 0.6))
    s.up("chat")
    s.ask("chat")
    return s


def draining() -> Story:
    s = serving()
    s.tell(ev.StopRequested("chat"))
    return s


class _Silent(Deadlines):
    """Deadlines that are set and never come."""

    @property
    def next_at(self) -> float:
        return NEVER


def _drained(state: SchedulerState) -> None:
    chat = state.models["chat"]
    state.requests.clear()
    chat.leases.clear()
    chat.held_by.clear()


def _queued(state: SchedulerState, name: str, request: int) -> None:
    model = state.models[name]
    model.queue.push(QueuedRequest(request, "", 0, 0.0))
    state.requests[request] = model


def _pinned(state: SchedulerState) -> None:
    chat = state.models["chat"]
    chat.spec, chat.drain_cause = replace(chat.spec, pinned=True), Cause.EVICTED


def _due_late(state: SchedulerState) -> None:
    state.deadlines = Deadlines()
    state.deadlines.set("chat", 1e12)


def _never_due(state: SchedulerState) -> None:
    at = state.deadlines.at("chat")
    state.deadlines = _Silent()
    state.deadlines.set("chat", at)


def _queued_without_end(state: SchedulerState) -> None:
    _queued(state, "coder", 9)
    state.deadlines.forget("coder")


def _in_two_places(state: SchedulerState) -> None:
    _queued(state, "coder", 2)
    state.deadlines.set("coder", 1000.0)


def _over(state: SchedulerState) -> None:
    state.spec = SchedulerSpec(budget=shares(0.5), models=state.spec.models)


def _over_on_a_device_that_is_not_there(state: SchedulerState) -> None:
    state.spec = SchedulerSpec(budget={}, models=state.spec.models)
    state.models["chat"].run_footprint = {"0": 1}


def _set(**fields: object) -> Callable[[SchedulerState], None]:
    """Set fields of chat."""

    def break_(state: SchedulerState) -> None:
        for name, value in fields.items():
            setattr(state.models["chat"], name, value)

    return break_


BREAKS: dict[str, tuple[Story, Callable[[SchedulerState], object]]] = {
    "a run outside of its states": (serving(), _set(run=None)),
    "a download outside of its state": (serving(), _set(download=1)),
    "a drain cause outside of its state": (serving(), _set(drain_cause=Cause.EVICTED)),
    "to sleep, and not draining": (serving(), _set(to_sleep=True)),
    "a failure outside of STOPPING": (serving(), _set(failure=Reason(summary="crashed"))),
    "asleep outside of its state": (serving(), _set(asleep=True)),
    "not among the residents": (serving(), lambda state: state.residents.clear()),
    "leases outside of their states": (serving(), _set(state=State.STARTING)),
    "leases by key do not add up": (serving(), lambda state: state.models["chat"].held_by.clear()),
    "queued at a ready model": (serving(), lambda state: _queued(state, "chat", 9)),
    "nothing to drain": (draining(), _drained),
    "a pinned model is evicted": (draining(), _pinned),
    "a deadline that is not set": (draining(), _due_late),
    "a deadline that never comes": (draining(), _never_due),
    "queued without end": (serving(), _queued_without_end),
    "a request in two places": (serving(), _in_two_places),
    "over the budget": (serving(), _over),
}


@pytest.mark.parametrize("what", list(BREAKS))
def test_what_is_broken_is_named(what: str) -> None:
    story, break_ = BREAKS[what]
    story.core.check()
    break_(story.core.state)
    with pytest.raises(AssertionError) as caught:
        story.core.check()
    told = caught.value.args[0]
    assert told[0] == what
    if what != "over the budget":
        name, state, moves = told[-1]
        assert name in ("chat", "coder")
        assert state in State
        assert name == "coder" or "stopped → starting" in moves[0]
    else:
        assert told[1] == shares(0.6)


def test_lost_requests_are_named() -> None:
    s = serving()
    s.core.state.requests.clear()
    with pytest.raises(AssertionError, match=r"^requests lost"):
        s.core.check()


def test_a_pinned_model_may_drain_for_another_reason() -> None:
    s = serving(pinned=True)
    s.core.check()
    s.tell(ev.StopRequested("chat"))
    assert s.state("chat") is State.DRAINING
    s.core.check()


def test_the_smallest_part_on_a_device_that_is_not_there_is_too_much() -> None:
    s = serving()
    _over_on_a_device_that_is_not_there(s.core.state)
    with pytest.raises(AssertionError) as caught:
        s.core.check()
    assert caught.value.args[0] == ("over the budget", {"0": 1})
