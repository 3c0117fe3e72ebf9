"""A runtime that has no room for a run, although the budget does: the pool is fuller than we know."""

from __future__ import annotations

from core_story import Story, model

from hotseat.core import events as ev
from hotseat.core.errors import Code, Reason
from hotseat.core.states import State

FULL = Reason(summary="Unschedulable: 0/2 nodes are available: 2 Insufficient nvidia.com/gpu")


def small(name: str, **terms: float) -> object:
    """A model of which several fit."""
    return model(name, share=0.2, **terms)


def test_one_quiet_model_at_a_time_makes_room() -> None:
    s = Story(*(small(name) for name in ("chat", "coder", "late")))
    s.up("chat")
    s.up("coder")
    s.pass_time(1000)
    waiting = s.ask("late")
    s.since_last()
    s.tell(ev.RunUnplaced("late", s.run("late"), FULL))
    stops = [one for one in s.since_last() if one.startswith("stop")]
    assert len(stops) == 1
    # Reported again while that one leaves: nobody else has to.
    s.tell(ev.RunUnplaced("late", s.run("late"), FULL))
    assert not [one for one in s.since_last() if one.startswith("stop")]
    first = stops[0].split()[1].partition("#")[0]
    s.gone(first)
    s.tell(ev.RunUnplaced("late", s.run("late"), FULL))
    assert len([one for one in s.since_last() if one.startswith("stop")]) == 1
    s.ready("late")
    assert s.holds(waiting)


def test_a_model_in_use_is_not_evicted_for_it() -> None:
    s = Story(small("chat"), small("late"))
    s.up("chat")
    ana = s.ask("chat")
    s.ask("late")
    s.since_last()
    s.tell(ev.RunUnplaced("late", s.run("late"), FULL))
    assert s.since_last() == []
    assert s.holds(ana)


def test_a_run_that_finds_no_room_in_time_is_refused_with_the_reason() -> None:
    s = Story(small("late", start_timeout_s=60))
    waiting = s.ask("late")
    s.tell(ev.RunUnplaced("late", s.run("late"), FULL))
    s.pass_time(60)
    assert s.code(waiting) is Code.UNSCHEDULABLE
    assert "Insufficient nvidia.com/gpu" in s.refused[waiting].message
    assert s.state("late") is State.STOPPING


def test_an_autoscaler_has_the_whole_timeout_and_so_has_the_start() -> None:
    s = Story(small("late", start_timeout_s=60))
    waiting = s.ask("late")
    s.tell(ev.RunUnplaced("late", s.run("late"), FULL))
    s.pass_time(50)
    s.tell(ev.RunUnplaced("late", s.run("late"), None))
    s.pass_time(50)
    assert s.waits(waiting)
    s.ready("late", after=5)
    assert s.holds(waiting)
    assert s.core.view("late").last_start_s == 55  # the time without room is no part of the start


def test_room_that_was_found_is_no_reason_for_a_late_start() -> None:
    s = Story(small("late", start_timeout_s=60))
    waiting = s.ask("late")
    s.tell(ev.RunUnplaced("late", s.run("late"), FULL))
    s.tell(ev.RunUnplaced("late", s.run("late"), None))
    s.pass_time(61)
    assert s.code(waiting) is Code.START_TIMEOUT


def test_a_late_report_is_not_believed() -> None:
    s = Story(small("chat"), small("late"))
    s.up("chat")
    s.up("late")
    s.pass_time(1000)
    s.since_last()
    s.tell(ev.RunUnplaced("late", s.run("late"), FULL))
    s.tell(ev.RunUnplaced("late", 99, FULL))
    assert s.since_last() == []
