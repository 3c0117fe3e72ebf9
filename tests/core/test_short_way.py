"""The short way of a request for a ready model: the same as the event where nothing else follows from it."""

from __future__ import annotations

import pytest
from core_story import Story, model, shares

from hotseat.core import events as ev
from hotseat.core.spec import SchedulerSpec
from hotseat.core.states import State


def ready(**terms: object) -> Story:
    s = Story(model("chat", 0.5, **terms), model("coder", 1.0))
    s.up("chat")
    return s


def in_flight(s: Story) -> int:
    return s.core.view("chat").in_flight


def test_a_ready_model_is_granted_and_taken_back_without_an_event() -> None:
    s = ready()
    s.pass_time(5)
    assert s.core.admit(50, "chat", "ana", s.now) == s.run("chat")
    assert in_flight(s) == 1
    assert s.record("chat").held_by == {"ana": 1}
    assert s.record("chat").pause_s == 2.0  # a pause of 5 s, and a swap of 2 s
    assert s.core.admit(51, "chat", "ana", s.now) == s.run("chat")
    s.pass_time(3)
    assert s.core.take_back(50, s.now)
    assert (in_flight(s), s.core.view("chat").last_used) == (1, s.now)
    assert not s.core.take_back(50, s.now)  # it is back already
    s.core.check()


def test_the_last_lease_goes_the_short_way_where_the_alarm_is_early_enough() -> None:
    s = ready(idle_s=30)
    s.core.admit(50, "chat", "", s.now)
    s.pass_time(1)
    assert s.core.take_back(50, s.now)
    s.pass_time(30)
    assert s.state("chat") is State.STOPPING  # idle from the last byte on, and not before
    s = ready(idle_s=30)
    ana = s.ask("chat")
    s.pass_time(40)  # the alarm has rung, and there is none for a model in use
    assert not s.core.take_back(ana, s.now)
    s.give_back(ana)
    s.pass_time(30)
    assert s.state("chat") is State.STOPPING


def test_no_short_way_for_what_is_not_ready_not_known_or_not_held() -> None:
    s = ready()
    assert s.core.admit(50, "coder", "", s.now) is None
    assert s.core.admit(50, "nobody", "", s.now) is None
    assert not s.core.take_back(50, s.now)
    assert s.waits(s.ask("coder")) or s.state("coder") is State.STARTING
    assert in_flight(s) == 0


def test_no_short_way_past_those_who_wait_nor_beyond_the_places() -> None:
    s = ready(max_in_flight=1)
    ana = s.ask("chat")
    assert s.core.admit(50, "chat", "", s.now) is None
    ben = s.ask("chat")
    assert s.waits(ben)
    assert not s.core.take_back(ana, s.now)
    s.give_back(ana)
    assert s.holds(ben)
    assert s.core.take_back(ben, s.now)
    assert s.core.admit(50, "chat", "", s.now) is not None


def test_no_short_way_out_of_a_queue() -> None:
    s = ready(max_in_flight=1)
    s.ask("chat")
    ben = s.ask("chat")
    assert not s.core.take_back(ben, s.now)
    s.withdraw(ben)


def test_no_short_way_while_it_drains_or_we_close_or_it_is_configured_no_more() -> None:
    s = ready()
    ana, ben = s.ask("chat"), s.ask("chat")
    s.tell(ev.StopRequested("chat"))
    assert s.state("chat") is State.DRAINING
    assert s.core.admit(50, "chat", "", s.now) is None
    assert not s.core.take_back(ana, s.now)
    s.give_back(ana, ben)
    assert s.state("chat") is State.STOPPING

    s = ready()
    s.tell(ev.ShutdownRequested(leave_running=True))
    assert s.state("chat") is State.READY
    assert s.core.admit(50, "chat", "", s.now) is None

    s = ready()
    s.record("chat").retired = True
    assert s.core.admit(50, "chat", "", s.now) is None
    s.record("chat").retired = False
    assert s.core.admit(50, "chat", "", s.now) is not None


def test_no_short_way_for_the_last_lease_while_somebody_waits_for_the_room() -> None:
    s = ready(residency_s=1000)
    ana, ben = s.ask("chat"), s.ask("chat")
    cyd = s.ask("coder")
    assert s.core.take_back(ana, s.now)  # not the last one
    assert not s.core.take_back(ben, s.now)
    s.give_back(ben)
    assert s.waits(cyd)


def test_time_does_not_go_back_on_the_short_way_either() -> None:
    s = ready()
    s.pass_time(10)
    s.tell(ev.TimePassed())
    s.core.admit(50, "chat", "", s.now - 5)
    assert s.core.view("chat").last_used == s.now
    s.core.admit(51, "chat", "", s.now + 7)
    assert s.core.take_back(50, s.now)
    assert s.core.view("chat").last_used == s.now + 7
    s.tell(ev.TimePassed())
    s.core.admit(52, "chat", "", s.now)
    assert s.core.view("chat").last_used == s.now + 7


def test_a_request_that_came_the_short_way_is_broken_and_withdrawn_like_any_other() -> None:
    s = ready()
    s.core.admit(50, "chat", "", s.now)
    s.core.admit(51, "chat", "", s.now)
    s.tell(ev.RequestWithdrawn(50))
    assert in_flight(s) == 1
    s.dies("chat")
    assert list(s.broken) == [51]
    assert not s.core.take_back(51, s.now)
    s.tell(ev.SchedulerConfigured(SchedulerSpec(budget=shares(1.0), models={"coder": model("coder")})))
    s.core.check()


@pytest.mark.parametrize("idle_s", [None, 5.0])
def test_when_it_idles_if_it_is_quiet_from_then_on(idle_s: float | None) -> None:
    s = ready(idle_s=idle_s)
    record = s.record("chat")
    assert record.idle_stop_at(100.0) == (float("inf") if idle_s is None else 105.0)
    record.warm = True
    assert record.idle_stop_at(100.0) == float("inf")
