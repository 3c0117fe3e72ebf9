"""Configurations read again, and the end of it all."""

from __future__ import annotations

from core_story import Story, machine, model, sleeper

from hotseat.core import events as ev
from hotseat.core.errors import Code
from hotseat.core.states import Cause, State

# reload


def test_an_unchanged_model_keeps_its_run_and_its_streams() -> None:
    s = Story(model("chat", fingerprint="1"), model("coder"))
    s.up("chat")
    ana = s.ask("chat")
    s.tell(ev.SchedulerConfigured(machine(model("chat", fingerprint="1"), model("other"))))
    assert s.holds(ana)
    assert s.since_last() == ["start chat#1"]
    assert s.waits(s.ask("other"))
    assert s.code(s.ask("coder")) is Code.MODEL_NOT_FOUND


def test_a_changed_model_restarts_when_idle_and_not_before() -> None:
    s = Story(model("chat", fingerprint="1"))
    s.up("chat")
    ana = s.ask("chat")
    s.tell(ev.SchedulerConfigured(machine(model("chat", fingerprint="2"))))
    ben = s.ask("chat")
    assert s.granted[ben] == ("chat", 1)
    s.give_back(ana)
    assert s.since_last() == ["start chat#1"]
    s.give_back(ben)
    assert s.since_last() == ["stop chat#1"]
    cleo = s.ask("chat")
    s.gone("chat")
    s.ready("chat", after=2)
    assert s.granted[cleo] == ("chat", 2)


def test_a_changed_sleeper_is_stopped() -> None:
    s = Story(model("chat", idle_s=10, sleep=sleeper(), fingerprint="1"))
    s.up("chat")
    s.pass_time(10)
    s.slept("chat")
    s.tell(ev.SchedulerConfigured(machine(model("chat", idle_s=10, sleep=sleeper(), fingerprint="2"))))
    assert s.since_last()[-1] == "stop chat#1"


def test_a_model_that_is_no_longer_configured_drains_and_goes() -> None:
    s = Story(model("chat", max_in_flight=1), model("coder"))
    s.up("chat")
    ana, ben = s.ask("chat"), s.ask("chat")
    s.tell(ev.SchedulerConfigured(machine(model("coder"))))
    assert s.code(ben) is Code.MODEL_NOT_FOUND
    assert s.holds(ana)
    assert s.state("chat") is State.DRAINING
    s.give_back(ana)
    s.gone("chat")
    assert "chat" not in s.core.views()
    s.pass_time(1000)  # its alarms ring for nobody


def test_a_model_that_comes_back_before_it_has_gone() -> None:
    s = Story(model("chat"), model("coder"))
    s.up("chat")
    s.tell(ev.SchedulerConfigured(machine(model("coder"))))
    s.tell(ev.SchedulerConfigured(machine(model("chat"), model("coder"))))
    ana = s.ask("chat")
    s.gone("chat")
    s.ready("chat", after=2)
    assert s.granted[ana] == ("chat", 2)


def test_new_terms_count_at_once() -> None:
    s = Story(model("chat", idle_s=None))
    s.up("chat")
    s.pass_time(500)
    s.tell(ev.SchedulerConfigured(machine(model("chat", idle_s=600))))
    s.pass_time(99)
    assert s.state("chat") is State.READY
    s.pass_time(1)
    assert s.state("chat") is State.STOPPING


def test_more_slots_serve_those_who_wait() -> None:
    s = Story(model("chat", max_in_flight=1))
    s.up("chat")
    s.ask("chat")
    ben = s.ask("chat")
    s.tell(ev.SchedulerConfigured(machine(model("chat", max_in_flight=2))))
    assert s.holds(ben)


def test_pinning_one_that_falls_asleep_lets_it() -> None:
    s = Story(model("chat", 0.9, residency_s=0, sleep=sleeper()), model("coder", 0.9))
    s.up("chat")
    s.ask("coder")
    s.tell(
        ev.SchedulerConfigured(machine(model("chat", 0.9, pinned=True, sleep=sleeper()), model("coder", 0.9)))
    )
    s.slept("chat")
    assert s.state("chat") is State.ASLEEP


# shutdown


def test_shutdown_refuses_who_waits_drains_and_stops_everything() -> None:
    s = Story(model("a", 0.3, max_in_flight=1), model("b", 0.3), model("c", 0.3, idle_s=5, sleep=sleeper()))
    s.up("c")
    s.pass_time(5)
    s.slept("c")
    s.up("a")
    held, waits = s.ask("a"), s.ask("a")
    loading = s.ask("b")
    s.since_last()
    s.tell(ev.ShutdownRequested())
    assert s.code(waits) is Code.SHUTTING_DOWN
    assert s.code(loading) is Code.SHUTTING_DOWN
    assert s.code(s.ask("a")) is Code.SHUTTING_DOWN
    assert sorted(s.since_last()) == ["stop b#1", "stop c#1"]
    s.gone("b")
    s.gone("c")
    assert not s.core.at_rest
    s.give_back(held)
    s.gone("a")
    assert s.core.at_rest
    assert held not in s.broken


def test_shutdown_cuts_streams_at_the_drain_deadline() -> None:
    s = Story(model("chat", drain_timeout_s=30))
    s.up("chat")
    ana = s.ask("chat")
    s.tell(ev.ShutdownRequested())
    s.pass_time(30)
    assert ana in s.broken
    assert s.since_last()[-1] == "stop chat#1"


def test_shutdown_warms_and_returns_nothing() -> None:
    s = Story(model("chat", warm=True), model("coder"), return_to="coder")
    s.ready("chat", after=2)
    s.tell(ev.ShutdownRequested())
    s.gone("chat")
    s.pass_time(1000)
    assert s.since_last() == ["start chat#1", "stop chat#1"]
    assert s.core.at_rest


def test_leaving_lets_ready_models_run_and_stops_the_half_done() -> None:
    s = Story(model("a", 0.3), model("b", 0.3), model("c", 0.3, idle_s=5, sleep=sleeper()))
    s.up("c")
    s.pass_time(5)
    s.slept("c")
    s.up("a")
    s.ask("b")
    s.since_last()
    s.tell(ev.ShutdownRequested(leave_running=True))
    assert sorted(s.since_last()) == ["stop b#1", "stop c#1"]  # the next configuration may have no sleep
    s.gone("b")
    s.gone("c")
    assert s.core.at_rest
    assert s.state("a") is State.READY


def test_leaving_waits_for_the_streams_but_not_without_end() -> None:
    s = Story(model("chat", drain_timeout_s=30), model("coder"))
    s.up("chat")
    ana, ben = s.ask("chat"), s.ask("chat")
    s.tell(ev.ShutdownRequested(leave_running=True))
    assert not s.core.at_rest
    s.pass_time(10)
    s.give_back(ana)
    s.pass_time(20)
    assert ben in s.broken
    assert ana not in s.broken
    assert s.core.at_rest
    assert s.state("chat") is State.READY
    assert s.since_last() == ["start chat#1"]


def test_leaving_calls_evictions_off_but_keeps_the_operators_stop() -> None:
    s = Story(model("a", 0.5, residency_s=0), model("b", 0.5), model("c", 0.5))
    s.up("a")
    held_a = s.ask("a")
    s.up("b")
    held_b = s.ask("b")
    s.tell(ev.StopRequested("b"))
    s.ask("c")
    s.tell(ev.ShutdownRequested(leave_running=True))
    s.give_back(held_a, held_b)
    assert s.state("a") is State.READY
    assert s.state("b") is State.STOPPING
    s.gone("b")
    assert s.core.at_rest


def test_a_second_order_may_stop_what_was_to_be_left() -> None:
    s = Story(model("chat"))
    s.up("chat")
    s.tell(ev.ShutdownRequested(leave_running=True))
    s.tell(ev.ShutdownRequested())
    s.gone("chat")
    assert s.core.at_rest


def test_what_is_started_by_others_while_we_close_is_not_ours() -> None:
    s = Story(model("chat"))
    s.tell(ev.ShutdownRequested())
    assert s.tell(ev.RunFound("chat", 5, ready=True)) == []
    assert s.core.at_rest


def test_the_operator_starts_nothing_while_we_close() -> None:
    s = Story(model("chat"))
    s.tell(ev.ShutdownRequested())
    assert s.tell(ev.StartRequested("chat")) == []


def test_a_wake_is_given_up_at_the_shutdown() -> None:
    s = Story(model("chat", idle_s=10, sleep=sleeper()))
    s.up("chat")
    s.pass_time(10)
    s.slept("chat")
    ana = s.ask("chat")
    assert s.state("chat") is State.WAKING
    s.tell(ev.ShutdownRequested())
    assert s.code(ana) is Code.SHUTTING_DOWN
    assert s.state("chat") is State.STOPPING
    assert s.causes("chat")[-1] is Cause.SHUTDOWN
