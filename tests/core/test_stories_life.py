"""The life of one model: first request, idle, crashes, back-off, drain, reports that come late or never."""

from __future__ import annotations

import pytest
from core_story import CRASH, Story, machine, model, sleeper

from hotseat.core import events as ev
from hotseat.core.errors import Code, Reason
from hotseat.core.model_state import STOP_AGAIN_S
from hotseat.core.states import Cause, IllegalTransition, State


def test_first_request_starts_the_model_and_is_granted_when_it_is_ready() -> None:
    s = Story(model("chat"))
    ana = s.ask("chat")
    assert s.since_last() == ["start chat#1"]
    assert s.waits(ana)
    s.ready("chat", after=2)
    assert s.granted[ana] == ("chat", 1)
    assert s.causes("chat") == [Cause.DEMAND, Cause.PROBE_PASSED]
    assert s.moves[-1].took_s == 2


def test_many_first_requests_are_one_start_and_many_answers() -> None:
    s = Story(model("chat"))
    crowd = [s.ask("chat") for _ in range(20)]
    s.ready("chat", after=2)
    assert s.since_last() == ["start chat#1"]
    assert all(s.holds(request) for request in crowd)


def test_a_ready_model_grants_at_once() -> None:
    s = Story(model("chat"))
    s.up("chat")
    assert s.holds(s.ask("chat"))
    assert s.since_last() == ["start chat#1"]


def test_unknown_model_is_refused_for_good() -> None:
    s = Story(model("chat"))
    ana = s.ask("claude")
    assert s.code(ana) is Code.MODEL_NOT_FOUND
    assert s.refused[ana].status == 404
    assert not s.refused[ana].should_retry


# idle


def test_idle_counts_from_the_last_byte_of_the_last_response() -> None:
    s = Story(model("chat", idle_s=60))
    s.up("chat")
    first, second = s.ask("chat"), s.ask("chat")
    s.pass_time(100)  # streams keep the model
    s.give_back(first)
    s.pass_time(100)
    assert s.state("chat") is State.READY
    s.give_back(second)
    s.pass_time(59.9)
    assert s.state("chat") is State.READY
    s.pass_time(0.2)
    assert s.since_last() == ["start chat#1", "stop chat#1"]
    assert s.causes("chat")[-1] is Cause.IDLE
    assert s.core.view("chat").idle_stops == 1


def test_each_request_puts_the_idle_stop_off() -> None:
    s = Story(model("chat", idle_s=60))
    s.up("chat")
    for _ in range(5):
        s.pass_time(50)
        s.serve("chat")
    assert s.state("chat") is State.READY


def test_a_model_with_no_idle_timeout_is_never_stopped() -> None:
    s = Story(model("chat", idle_s=None))
    s.up("chat")
    s.pass_time(10 * 24 * 3600)
    assert s.state("chat") is State.READY


def test_a_request_at_the_moment_of_the_idle_stop_gets_a_fresh_start() -> None:
    s = Story(model("chat", idle_s=60))
    s.up("chat")
    s.pass_time(60)
    ana = s.ask("chat")
    assert s.state("chat") is State.STOPPING
    s.gone("chat", after=1)
    assert s.since_last() == ["start chat#1", "stop chat#1", "start chat#2"]
    s.ready("chat", after=2)
    assert s.granted[ana] == ("chat", 2)


# abandoned starts


def test_a_start_that_nobody_waits_for_any_more_finishes() -> None:
    s = Story(model("chat", idle_s=60))
    s.withdraw(s.ask("chat"))
    s.ready("chat", after=5)
    assert s.state("chat") is State.READY
    assert s.holds(s.ask("chat"))


def test_an_abandoned_start_gives_way_to_whoever_needs_the_room() -> None:
    s = Story(model("chat"), model("coder"))
    s.withdraw(s.ask("chat"))
    ben = s.ask("coder")
    assert s.since_last() == ["start chat#1", "stop chat#1"]
    assert s.causes("chat")[-1] is Cause.ABANDONED
    s.gone("chat", after=1)
    s.ready("coder", after=2)
    assert s.holds(ben)


def test_a_start_that_somebody_waits_for_is_not_given_up() -> None:
    s = Story(model("chat"), model("coder"))
    ana = s.ask("chat")
    s.ask("coder")
    s.pass_time(100)
    assert s.since_last() == ["start chat#1"]
    s.ready("chat")
    assert s.holds(ana)


def test_the_abandoned_start_is_what_the_next_try_uses() -> None:
    s = Story(model("chat"))
    s.withdraw(s.ask("chat"))
    s.pass_time(1)
    ana = s.ask("chat")
    s.ready("chat", after=1)
    assert s.granted[ana] == ("chat", 1)


# crashes


def test_the_first_death_of_a_run_that_served_is_mended_by_the_next_request_at_once() -> None:
    s = Story(model("chat"))
    s.up("chat")
    ana = s.ask("chat")
    s.dies("chat")
    assert s.broken[ana] == CRASH
    assert s.state("chat") is State.STOPPED
    ben = s.ask("chat")
    s.ready("chat", after=2)
    assert s.granted[ben] == ("chat", 2)


def test_clients_in_line_at_the_first_death_get_the_next_run() -> None:
    s = Story(model("chat", max_in_flight=1))
    s.up("chat")
    ana, ben = s.ask("chat"), s.ask("chat")
    s.dies("chat")
    assert ana in s.broken
    assert s.waits(ben)
    s.ready("chat", after=2)
    assert s.granted[ben] == ("chat", 2)


def test_a_second_death_in_a_row_backs_off() -> None:
    s = Story(model("chat"))
    s.up("chat")
    s.dies("chat")
    s.up("chat")
    s.dies("chat")
    assert s.state("chat") is State.BACKOFF
    ana = s.ask("chat")
    assert s.code(ana) is Code.MODEL_BACKOFF
    assert s.refused[ana].retry_after_s == 1
    assert "exited with code 3" in s.refused[ana].message
    s.pass_time(1)
    assert s.state("chat") is State.STOPPED


def test_a_run_that_served_long_enough_wipes_out_earlier_failures() -> None:
    s = Story(model("chat", idle_s=None))
    s.up("chat")
    s.dies("chat")
    s.up("chat")
    s.pass_time(61)
    s.dies("chat")
    assert s.state("chat") is State.STOPPED
    assert s.core.view("chat").failures == 1


def test_long_service_counts_even_when_it_ended_by_our_order() -> None:
    s = Story(model("chat", idle_s=100))
    s.up("chat")
    s.dies("chat")
    s.up("chat")
    s.pass_time(100)
    s.gone("chat")
    s.up("chat")
    s.dies("chat")
    assert s.state("chat") is State.STOPPED


def test_a_failed_start_costs_everybody_one_clear_error() -> None:
    s = Story(model("chat"))
    crowd = [s.ask("chat") for _ in range(3)]
    s.tell(ev.RunExited("chat", 1, CRASH))
    assert [s.code(request) for request in crowd] == [Code.MODEL_BACKOFF] * 3
    assert all(s.refused[request].should_retry for request in crowd)
    assert s.since_last() == ["start chat#1"]


def test_backoff_doubles_up_to_a_minute() -> None:
    s = Story(model("chat"))
    pauses = []
    for run in range(1, 10):
        s.ask("chat")
        s.tell(ev.StartFailed("chat", run, CRASH))
        pauses.append((s.core.view("chat").backoff_until or 0.0) - s.now)
        s.pass_time(pauses[-1])
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_luck_spreads_the_backoff() -> None:
    s = Story(model("chat"), jitter=1.0)
    s.ask("chat")
    s.tell(ev.StartFailed("chat", 1, CRASH))
    assert s.core.view("chat").backoff_until == 1.25


def test_a_failure_that_waiting_cannot_mend_says_so() -> None:
    s = Story(model("chat"))
    ana = s.ask("chat")
    s.tell(ev.StartFailed("chat", 1, Reason(summary="command not found: vllm", permanent=True)))
    ben = s.ask("chat")
    for request in (ana, ben):
        assert s.code(request) is Code.MODEL_FAILED
        assert not s.refused[request].should_retry
        assert "command not found: vllm" in s.refused[request].message


def test_the_operator_may_try_now() -> None:
    s = Story(model("chat"))
    s.ask("chat")
    s.tell(ev.StartFailed("chat", 1, CRASH))
    s.tell(ev.StartRequested("chat"))
    assert s.since_last() == ["start chat#1", "start chat#2"]
    s.ready("chat", after=2)
    assert s.causes("chat")[-2:] == [Cause.REQUESTED, Cause.PROBE_PASSED]


def test_a_start_that_never_gets_ready_is_stopped_at_its_timeout() -> None:
    s = Story(model("chat", start_timeout_s=30))
    ana = s.ask("chat")
    s.pass_time(30)
    assert s.code(ana) is Code.START_TIMEOUT
    assert s.since_last() == ["start chat#1", "stop chat#1"]
    ben = s.ask("chat")
    assert s.code(ben) is Code.MODEL_BACKOFF
    s.gone("chat", after=1)
    assert s.state("chat") is State.BACKOFF


def test_an_unhealthy_run_is_stopped_and_replaced() -> None:
    s = Story(model("chat"))
    s.up("chat")
    ana = s.ask("chat")
    s.tell(ev.RunUnhealthy("chat", 1, Reason(summary="health is dead")))
    assert s.broken[ana].summary == "health is dead"
    ben = s.ask("chat")
    s.gone("chat", after=1)
    s.ready("chat", after=2)
    assert s.granted[ben] == ("chat", 2)
    assert s.since_last() == ["start chat#1", "stop chat#1", "start chat#2"]


def test_a_run_stopped_by_somebody_else_is_no_crash() -> None:
    s = Story(model("chat", max_in_flight=1))
    s.up("chat")
    ana, ben = s.ask("chat"), s.ask("chat")
    s.tell(ev.RunExited("chat", 1, Reason(summary="stopped from outside"), outside=True))
    assert ana in s.broken
    assert s.code(ben) is Code.STOPPED_BY_OPERATOR
    assert s.state("chat") is State.STOPPED
    assert s.core.view("chat").failures == 0


# the operator


def test_the_operators_stop_drains_first() -> None:
    s = Story(model("chat", drain_timeout_s=60))
    s.up("chat")
    ana = s.ask("chat")
    s.tell(ev.StopRequested("chat"))
    assert s.state("chat") is State.DRAINING
    s.pass_time(59)
    assert s.since_last() == ["start chat#1"]
    s.give_back(ana)
    assert s.since_last() == ["stop chat#1"]
    assert ana not in s.broken


def test_the_drain_deadline_breaks_what_is_held() -> None:
    s = Story(model("chat", drain_timeout_s=60))
    s.up("chat")
    ana = s.ask("chat")
    s.tell(ev.StopRequested("chat"))
    s.pass_time(60)
    assert s.since_last() == ["start chat#1", "stop chat#1"]
    assert "60 s" in s.broken[ana].summary
    s.give_back(ana)  # harmless
    s.gone("chat")
    assert s.state("chat") is State.STOPPED


def test_the_operators_stop_refuses_who_waits_and_cancels_the_start() -> None:
    s = Story(model("chat"))
    ana = s.ask("chat")
    s.tell(ev.StopRequested("chat"))
    assert s.code(ana) is Code.STOPPED_BY_OPERATOR
    assert s.since_last() == ["start chat#1", "stop chat#1"]


def test_a_request_after_the_operators_stop_starts_it_again() -> None:
    s = Story(model("chat"))
    s.up("chat")
    s.tell(ev.StopRequested("chat"))
    ana = s.ask("chat")
    s.gone("chat", after=1)
    s.ready("chat", after=2)
    assert s.granted[ana] == ("chat", 2)


def test_no_new_leases_while_draining() -> None:
    s = Story(model("chat"))
    s.up("chat")
    ana = s.ask("chat")
    s.tell(ev.StopRequested("chat"))
    ben = s.ask("chat")
    assert s.waits(ben)
    s.give_back(ana)
    s.gone("chat")
    s.ready("chat", after=2)
    assert s.granted[ben] == ("chat", 2)


# runtimes


def test_an_unusable_runtime_refuses_at_once_and_serves_what_runs() -> None:
    s = Story(model("chat"), model("coder"))
    s.up("chat")
    s.tell(ev.RuntimeChanged(("chat", "coder"), "the Docker engine does not answer"))
    assert s.holds(s.ask("chat"))
    ben = s.ask("coder")
    assert s.code(ben) is Code.RUNTIME_UNAVAILABLE
    assert "the Docker engine does not answer" in s.refused[ben].message
    s.tell(ev.RuntimeChanged(("chat", "coder"), None))
    assert s.waits(s.ask("coder"))


def test_who_waits_for_a_run_that_ends_while_the_runtime_is_unusable_is_told() -> None:
    s = Story(model("chat", max_in_flight=1))
    s.up("chat")
    s.ask("chat")
    ben = s.ask("chat")
    s.tell(ev.RuntimeChanged(("chat",), "it is down"))
    assert s.waits(ben)
    s.dies("chat")
    assert s.code(ben) is Code.RUNTIME_UNAVAILABLE


def test_a_usable_runtime_starts_what_is_to_be_warm() -> None:
    s = Story(model("chat"))
    s.tell(ev.RuntimeChanged(("chat",), "it is down"))
    s.tell(ev.KeepWarmChanged("chat", True))
    assert s.since_last() == []
    s.tell(ev.RuntimeChanged(("chat",), None))
    assert s.since_last() == ["start chat#1"]


# reports that come late, twice, or never


def test_reports_of_an_old_run_are_ignored() -> None:
    s = Story(model("chat"))
    s.up("chat")
    s.dies("chat")
    ana = s.ask("chat")
    for report in (
        ev.ProbePassed("chat", 1),
        ev.RunExited("chat", 1, CRASH),
        ev.StartFailed("chat", 1, CRASH),
        ev.RunUnhealthy("chat", 1, CRASH),
        ev.RunSlept("chat", 1),
        ev.SleepFailed("chat", 1, CRASH),
        ev.WakeFailed("chat", 1, CRASH),
        ev.RunFound("chat", 1, ready=True),
    ):
        assert s.tell(report) == []
    assert s.state("chat") is State.STARTING
    s.ready("chat", after=2)
    assert s.granted[ana] == ("chat", 2)
    assert s.tell(ev.RunExited("chat", 1, CRASH)) == []


def test_a_run_number_is_never_given_twice_even_when_the_model_was_gone_from_the_configuration() -> None:
    s = Story(model("chat"), model("coder"))
    s.up("chat")
    s.tell(ev.SchedulerConfigured(machine(model("coder"))))
    s.gone("chat")
    s.tell(ev.SchedulerConfigured(machine(model("chat"), model("coder"))))
    s.ask("chat")
    assert s.since_last()[-1] == "start chat#2"
    assert s.tell(ev.ProbePassed("chat", 1)) == []


def test_repeated_returns_and_withdrawals_are_harmless() -> None:
    s = Story(model("chat"))
    ana = s.ask("chat")
    s.ready("chat")
    for _ in range(2):
        s.give_back(ana)
        s.withdraw(ana)
        assert s.core.view("chat").in_flight == 0


def test_a_withdrawal_that_crosses_its_grant_gives_the_lease_back() -> None:
    s = Story(model("chat"))
    ana = s.ask("chat")
    s.ready("chat")
    s.withdraw(ana)
    assert s.core.view("chat").in_flight == 0


def test_a_stop_whose_end_is_never_reported_is_ordered_again() -> None:
    s = Story(model("chat"))
    s.up("chat")
    s.tell(ev.StopRequested("chat"))
    s.pass_time(2 * STOP_AGAIN_S)
    assert s.since_last() == ["start chat#1", "stop chat#1", "stop chat#1", "stop chat#1"]


def test_who_waits_for_an_end_that_never_comes_is_answered_at_last() -> None:
    s = Story(model("chat", start_timeout_s=100), model("coder", start_timeout_s=100))
    s.up("chat")
    s.tell(ev.StopRequested("chat"))
    ana = s.ask("coder")
    s.pass_time(300)
    assert s.code(ana) is Code.WAIT_LIMIT
    assert s.refused[ana].status == 503


def test_a_failed_start_reported_while_it_is_being_stopped_is_its_end() -> None:
    s = Story(model("chat"))
    s.ask("chat")
    s.tell(ev.StopRequested("chat"))
    s.tell(ev.StartFailed("chat", 1, CRASH))
    assert s.state("chat") is State.STOPPED


def test_time_never_goes_back() -> None:
    s = Story(model("chat", idle_s=60))
    s.up("chat")
    s.core.handle(ev.TimePassed(), s.now - 1000)
    s.pass_time(59)
    assert s.state("chat") is State.READY


def test_a_move_outside_of_the_table_is_a_bug_with_a_story() -> None:
    s = Story(model("chat"))
    s.up("chat")
    record = s.record("chat")
    with pytest.raises(IllegalTransition, match=r"(?s)ready → waking \(demand\).*starting → ready"):
        record.move(State.WAKING, Cause.DEMAND, s.now)


# what is found running


def test_a_run_found_ready_serves_at_once() -> None:
    s = Story(model("chat"))
    s.tell(ev.RunFound("chat", 7, ready=True))
    assert s.granted[s.ask("chat")] == ("chat", 7)
    assert s.causes("chat") == [Cause.ADOPTED]
    assert s.since_last() == []


def test_a_run_found_loading_is_awaited() -> None:
    s = Story(model("chat"))
    s.tell(ev.RunFound("chat", 7, ready=False))
    ana = s.ask("chat")
    s.ready("chat", after=5)
    assert s.granted[ana] == ("chat", 7)
    assert s.core.view("chat").start_cost_s is None  # we did not see its start


def test_a_run_found_with_an_old_configuration_is_replaced_when_quiet() -> None:
    s = Story(model("chat", fingerprint="new"))
    s.tell(ev.RunFound("chat", 7, ready=True, fingerprint="old"))
    assert s.since_last() == ["stop chat#7"]
    ana = s.ask("chat")
    s.gone("chat")
    assert s.since_last() == ["start chat#8"]
    assert s.waits(ana)


def test_a_second_copy_is_not_believed() -> None:
    s = Story(model("chat"))
    s.up("chat")
    assert s.tell(ev.RunFound("chat", 9, ready=True)) == []
    assert s.run("chat") == 1


def test_a_run_found_in_backoff_ends_the_backoff() -> None:
    s = Story(model("chat"))
    s.ask("chat")
    s.tell(ev.StartFailed("chat", 1, CRASH))
    s.tell(ev.RunFound("chat", 2, ready=True))
    assert s.holds(s.ask("chat"))


def test_a_sleeper_that_was_found_and_dies_wipes_out_no_failure() -> None:
    s = Story(model("chat", sleep=sleeper()))
    s.ask("chat")
    s.tell(ev.StartFailed("chat", 1, CRASH))
    s.pass_time(100)
    s.tell(ev.RunFound("chat", 2, ready=False))
    s.slept("chat")
    s.pass_time(100)
    s.dies("chat")
    assert s.core.view("chat").failures == 2
    assert s.core.view("chat").backoff_until == s.now + 2
