"""The invariants: each is broken by hand, and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from core_story import Story, model, shares

from hotseat.core import events as ev
from hotseat.core.deadlines import NEVER
from hotseat.core.queue import Waiting
from hotseat.core.scheduler import Scheduler
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


def _drained(core: Scheduler) -> None:
    seat = core._seats["chat"]
    core._requests.clear()
    seat.leases.clear()
    seat.held_by.clear()


def _waits(core: Scheduler, name: str, request: int) -> None:
    seat = core._seats[name]
    seat.queue.push(Waiting(request, "", 0, 0.0))
    core._requests[request] = seat


def _pinned(core: Scheduler) -> None:
    seat = core._seats["chat"]
    seat.spec, seat.leaving = replace(seat.spec, pinned=True), Cause.EVICTED


def _rings_late(core: Scheduler) -> None:
    core._alarms._at["chat"] = 1e12


def _never_rings(core: Scheduler) -> None:
    core._alarms._heap.clear()


def _waits_without_end(core: Scheduler) -> None:
    _waits(core, "coder", 9)
    core._alarms._at["coder"] = NEVER


def _in_two_places(core: Scheduler) -> None:
    _waits(core, "coder", 2)
    core._alarms.set("coder", 1000.0)


def _over(core: Scheduler) -> None:
    core._box = SchedulerSpec(budget=shares(0.5), models=core._box.models)


def _over_on_a_device_that_is_not_there(core: Scheduler) -> None:
    core._box = SchedulerSpec(budget={}, models=core._box.models)
    core._seats["chat"].run_footprint = {"0": 1}


BREAKS: dict[str, tuple[Story, Callable[[Scheduler], object]]] = {
    "a run without its state": (serving(), lambda core: setattr(core._seats["chat"], "run", None)),
    "not among the residents": (serving(), lambda core: core._residents.clear()),
    "leases outside of READY": (
        serving(),
        lambda core: setattr(core._seats["chat"], "state", State.STARTING),
    ),
    "leases by key do not add up": (serving(), lambda core: core._seats["chat"].held_by.clear()),
    "a ready model lets somebody wait": (serving(), lambda core: _waits(core, "chat", 9)),
    "nothing to drain": (draining(), _drained),
    "a pinned model is evicted": (draining(), _pinned),
    "a deadline that nobody looks at": (draining(), _rings_late),
    "an alarm that does not ring": (draining(), _never_rings),
    "somebody waits without end": (serving(), _waits_without_end),
    "a request in two places": (serving(), _in_two_places),
    "over the budget": (serving(), _over),
}


@pytest.mark.parametrize("what", list(BREAKS))
def test_what_is_broken_is_named(what: str) -> None:
    story, break_ = BREAKS[what]
    story.core.check()
    break_(story.core)
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
    s.core._requests.clear()
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
    _over_on_a_device_that_is_not_there(s.core)
    with pytest.raises(AssertionError) as caught:
        s.core.check()
    assert caught.value.args[0] == ("over the budget", {"0": 1})
