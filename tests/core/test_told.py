"""What clients and operators are told: the words of refusals, the reasons of moves, the counts of views."""

from __future__ import annotations

import math

import pytest
from core_story import CRASH, Story, model, shares, sleeper

from hotseat.core import events as ev
from hotseat.core.deadlines import Deadlines
from hotseat.core.errors import Code, Reason, Refusal
from hotseat.core.queue import FairQueue
from hotseat.core.spec import SchedulerSpec
from hotseat.core.states import Cause, IllegalTransition, State

ODD = Reason(summary="exited with code 3", hint="see its log", exit_code=3)


def told(s: Story, request: int) -> Refusal:
    return s.refused[request]


# refusals, word for word: clients act on them


def test_what_is_said_at_shutdown() -> None:
    s = Story(model("chat"))
    s.tell(ev.ShutdownRequested())
    assert told(s, s.ask("chat")) == Refusal(
        code=Code.SHUTTING_DOWN, message="hotseat is shutting down", model="chat", retry_after_s=10.0
    )


def test_what_is_said_of_a_runtime_that_is_away() -> None:
    s = Story(model("chat"))
    s.tell(ev.RuntimeChanged(("chat",), "Docker is down"))
    assert told(s, s.ask("chat")) == Refusal(
        code=Code.RUNTIME_UNAVAILABLE,
        message="model chat cannot be started now: Docker is down",
        model="chat",
        retry_after_s=5.0,
    )


def test_what_is_said_of_a_failed_start_and_of_one_that_waiting_does_not_mend() -> None:
    s = Story(model("chat"), model("coder"), jitter=0.0)
    ana = s.ask("chat")
    s.tell(ev.StartFailed("chat", 1, ODD))
    words = "exited with code 3: see its log"
    assert told(s, ana) == Refusal(
        code=Code.MODEL_BACKOFF,
        message=f"model chat failed to start: {words}; next try in 1 s",
        model="chat",
        retry_after_s=1.0,
    )
    ben = s.ask("coder")
    s.tell(ev.StartFailed("coder", 1, Reason(summary="command not found: x", permanent=True)))
    assert told(s, ben) == Refusal(
        code=Code.MODEL_FAILED,
        message="model coder cannot start: command not found: x",
        model="coder",
        retry_after_s=1.0,
        should_retry=False,
    )


def test_clients_are_not_sent_away_for_longer_than_they_obey() -> None:
    s = Story(model("chat"), jitter=1.0)
    for run in range(1, 9):
        s.ask("chat")
        s.tell(ev.StartFailed("chat", run, Reason(summary="no", permanent=True)))
        assert told(s, s.ask("chat")).retry_after_s == min(60.0, math.ceil(1.25 * 2 ** (run - 1)))
        s.pass_time(100)


def test_what_had_served_has_failed_and_not_failed_to_start() -> None:
    s = Story(model("chat"))
    for _ in range(2):
        s.up("chat")
        s.dies("chat", ODD)
    assert (
        told(s, s.ask("chat")).message
        == "model chat failed: exited with code 3: see its log; next try in 1 s"
    )


def test_what_is_said_of_a_start_that_took_too_long() -> None:
    s = Story(model("chat", start_timeout_s=30))
    ana = s.ask("chat")
    s.pass_time(30)
    assert told(s, ana) == Refusal(
        code=Code.START_TIMEOUT,
        message="model chat was not ready within 30 s and is stopped: `hotseat logs chat` shows why",
        model="chat",
        retry_after_s=10.0,
    )


def test_what_is_said_to_one_who_waited_too_long() -> None:
    s = Story(model("chat", wait_limit_s=20))
    s.pass_time(5)
    ana = s.ask("chat")
    s.pass_time(20)
    assert told(s, ana) == Refusal(
        code=Code.WAIT_LIMIT,
        message="no answer within 20 s: model chat is starting",
        model="chat",
        retry_after_s=10.0,
    )


def test_what_is_said_when_the_operator_stops_it() -> None:
    s = Story(model("chat"))
    ana = s.ask("chat")
    s.tell(ev.StopRequested("chat"))
    assert told(s, ana) == Refusal(
        code=Code.STOPPED_BY_OPERATOR,
        message="model chat was stopped by its operator",
        model="chat",
        retry_after_s=5.0,
    )


def test_what_is_said_where_there_is_never_room() -> None:
    two = {"0": 0.5, "1": 0.25}
    s = Story(model("huge", two), budget={"0": 0.4, "1": 0.9})
    assert told(s, s.ask("huge")) == Refusal(
        code=Code.NO_ROOM,
        message="model huge needs 0.5 of GPU 0, 0.25 of GPU 1: more than pinned models leave of the budget, "
        "0.4 of GPU 0, 0.9 of GPU 1",
        model="huge",
        should_retry=False,
    )


def full(s: Story) -> float | None:
    refusal = told(s, s.ask("chat"))
    assert refusal.code is Code.QUEUE_FULL
    return refusal.retry_after_s


def test_a_full_queue_tells_when_a_place_may_be_free() -> None:
    s = Story(model("chat", max_queue=1, max_in_flight=2, idle_s=None))
    s.ask("chat")
    assert full(s) == 10.0 + 1.0 / 2  # nothing is known: a start takes 10 s, an answer 1 s
    s.pass_time(4)
    assert full(s) == 6.0 + 1.0 / 2
    s.pass_time(40)
    assert full(s) == 1.0  # it may come at any moment; never less than a second
    s.ready("chat")
    s.pass_time(6)
    s.give_back(1)  # answers take 6 s
    for _ in range(3):
        s.ask("chat")
    assert full(s) == 6.0 / 2  # it is up: no start is counted
    s.pass_time(1000)
    s.give_back(*s.record("chat").leases)
    s.give_back(*s.record("chat").leases)
    for _ in range(3):
        s.ask("chat")
    assert full(s) == 60.0


def test_a_full_queue_without_slots_counts_those_who_are_served() -> None:
    s = Story(model("chat", max_queue=3, drain_timeout_s=600, max_wait_s=0), model("coder", max_wait_s=0))
    held = [s.ask("chat") for _ in range(3)]
    s.ready("chat", after=2)
    s.pass_time(20)
    s.give_back(held[0])  # answers take 20 s
    s.ask("coder")
    s.pass_time(60)
    assert s.state("chat") is State.DRAINING
    for _ in range(3):
        s.ask("chat")
    assert full(s) == pytest.approx(20.0 * 3 / 2)


def test_a_reason_has_its_hint_where_there_is_one() -> None:
    assert ODD.for_clients() == "exited with code 3: see its log"
    assert CRASH.for_clients() == "exited with code 3"


def test_a_move_that_the_table_does_not_hold_is_told_with_the_story() -> None:
    error = IllegalTransition("chat", State.READY, State.WAKING, Cause.DEMAND, ["one", "two"])
    assert str(error).endswith("is not in the table; latest transitions:\n  one\n  two")
    assert str(IllegalTransition("chat", State.READY, State.WAKING, Cause.DEMAND, [])).endswith("\n  (none)")


def test_an_empty_queue_says_so() -> None:
    with pytest.raises(IndexError, match=r"^the queue is empty$"):
        FairQueue().pop({}, 0.0)


# reasons


def reasons(s: Story, name: str = "chat") -> list[tuple[State, Cause, str | None]]:
    """The moves that have a reason."""
    return [(m.new, m.cause, m.reason.summary) for m in s.moves if m.model == name and m.reason]


def why(s: Story) -> str | None:
    reason = s.core.view("chat").reason
    return reason.summary if reason else None


def test_every_failure_is_told_with_its_reason() -> None:
    s = Story(model("chat"))
    s.up("chat")
    assert (reasons(s), why(s)) == ([], None)
    s.dies("chat", ODD)
    assert reasons(s) == [(State.STOPPED, Cause.CRASHED, ODD.summary)]
    s.up("chat")
    s.dies("chat", Reason(summary="killed by SIGKILL"))
    assert reasons(s)[1:] == [(State.BACKOFF, Cause.CRASHED, "killed by SIGKILL")]
    assert why(s) == "killed by SIGKILL"


def test_a_failed_start_is_told_with_its_reason() -> None:
    s = Story(model("chat"))
    s.ask("chat")
    s.dies("chat", ODD)
    assert reasons(s) == [(State.BACKOFF, Cause.START_FAILED, ODD.summary)]


def test_a_stop_outside_is_told_with_its_reason() -> None:
    s = Story(model("chat"))
    s.up("chat")
    s.tell(ev.RunExited("chat", 1, Reason(summary="stopped by docker"), outside=True))
    assert reasons(s) == [(State.STOPPED, Cause.STOPPED_OUTSIDE, "stopped by docker")]
    assert why(s) == "stopped by docker"


def test_an_unhealthy_run_is_told_with_its_reason_and_backs_off_when_it_had_failed_before() -> None:
    s = Story(model("chat"))
    for expected in (State.STOPPED, State.BACKOFF):
        s.up("chat")
        s.tell(ev.RunUnhealthy("chat", s.run("chat"), Reason(summary="silent")))
        s.gone("chat")
        assert s.state("chat") is expected
    assert reasons(s) == [
        (State.STOPPING, Cause.UNHEALTHY, "silent"),
        (State.STOPPED, Cause.EXITED, "silent"),
        (State.STOPPING, Cause.UNHEALTHY, "silent"),
        (State.BACKOFF, Cause.EXITED, "silent"),
    ]


def test_a_start_timeout_is_told_with_its_reason() -> None:
    s = Story(model("chat", start_timeout_s=30))
    s.ask("chat")
    s.pass_time(30)
    assert reasons(s) == [(State.STOPPING, Cause.START_TIMEOUT, "not ready within 30 s")]


def asleep(s: Story) -> None:
    s.up("chat")
    s.pass_time(10)
    s.slept("chat")


def test_a_wake_that_fails_is_told_with_its_reason() -> None:
    s = Story(model("chat", idle_s=10, sleep=sleeper()))
    asleep(s)
    s.ask("chat")
    s.tell(ev.WakeFailed("chat", 1, Reason(summary="HTTP 500")))
    assert reasons(s) == [(State.STOPPING, Cause.WAKE_FAILED, "HTTP 500")]
    assert why(s) == "HTTP 500"


def test_a_run_that_dies_waking_is_told_with_its_reason_and_trusted_no_more() -> None:
    s = Story(model("chat", idle_s=10, sleep=sleeper()))
    asleep(s)
    ana = s.ask("chat")
    s.dies("chat", ODD)
    assert reasons(s) == [(State.STOPPED, Cause.WAKE_FAILED, ODD.summary)]
    assert why(s) == ODD.summary
    s.ready("chat", after=2)
    s.give_back(ana)
    s.pass_time(10)
    assert s.causes("chat")[-1] is Cause.IDLE
    assert s.state("chat") is State.STOPPING  # and not put to sleep


def test_a_run_that_dies_falling_asleep_is_trusted_no_more_and_one_that_dies_serving_is() -> None:
    s = Story(model("chat", idle_s=10, sleep=sleeper()))
    s.up("chat")
    s.dies("chat")
    s.up("chat")
    s.pass_time(10)
    assert s.state("chat") is State.SUSPENDING
    s.dies("chat")
    s.pass_time(100)
    s.up("chat")
    s.pass_time(10)
    assert s.state("chat") is State.STOPPING


def test_a_sleeper_that_takes_more_than_awake_is_told_so() -> None:
    s = Story(model("chat", 0.5, idle_s=10, sleep=sleeper()))
    s.up("chat")
    s.pass_time(10)
    s.slept("chat", leftover=0.6)
    assert reasons(s) == [(State.STOPPING, Cause.SLEEP_FAILED, "takes more GPU memory asleep than awake")]


# counts


def test_starts_evictions_and_idle_stops_are_counted() -> None:
    s = Story(model("chat", idle_s=10, residency_s=0), model("coder", residency_s=0))
    for _ in range(2):
        s.up("chat")
        s.pass_time(10)
        s.gone("chat")
    for _ in range(2):
        s.up("chat")
        ana = s.ask("coder")
        s.gone("chat")
        s.ready("coder", after=2)
        s.give_back(ana)
        s.tell(ev.StopRequested("coder"))
        s.gone("coder")
    view = s.core.view("chat")
    assert (view.starts, view.idle_stops, view.evictions) == (4, 2, 2)


def test_when_it_was_used_last() -> None:
    s = Story(model("chat"))
    assert s.core.view("chat").last_used is None
    ana = s.ask("chat")
    s.ready("chat", after=2)
    assert s.core.view("chat").last_used == 2.0
    s.pass_time(5)
    s.give_back(ana)
    assert s.core.view("chat").last_used == 7.0


def test_a_back_off_is_shown_while_it_lasts() -> None:
    s = Story(model("chat"), jitter=0.0)
    s.ask("chat")
    s.tell(ev.StartFailed("chat", 1, CRASH))
    assert s.core.view("chat").backoff_until == 1.0
    s.pass_time(1)
    assert s.core.view("chat").backoff_until is None


# what is learned


def test_pauses_and_wakes_are_averages() -> None:
    s = Story(model("chat", idle_s=60, sleep=sleeper()))
    s.up("chat", cost=50)
    record = s.record("chat")
    assert record.pause_s is None
    s.pass_time(10)
    ana = s.ask("chat")
    assert record.pause_s == 10.0
    s.ask("chat")  # it is in use: no pause
    assert record.pause_s == 10.0
    s.give_back(ana, ana + 1)
    s.pass_time(20)
    s.give_back(s.ask("chat"))
    assert record.pause_s == pytest.approx(13.0)
    for took_s in (1.0, 2.0):
        s.pass_time(60)
        s.slept("chat")
        ana = s.ask("chat")
        s.ready("chat", after=took_s)
        s.give_back(ana)
    assert record.wake_cost_s == pytest.approx(1.3)


def test_pauses_are_learned_wherever_the_model_is_and_count_as_a_swap_at_most() -> None:
    s = Story(model("chat", idle_s=60), model("coder"))
    s.up("chat", cost=20)
    s.pass_time(8)
    s.ask("coder")
    s.pass_time(4)
    s.gone("chat")
    s.ask("chat")
    record = s.record("chat")
    assert record.pause_s == 12.0  # it was away when they came back
    s.ask("chat")  # no pause: somebody waits already
    assert record.pause_s == 12.0
    s = Story(model("chat", idle_s=600))
    s.up("chat", cost=20)
    s.pass_time(500)
    s.ask("chat")
    assert s.record("chat").pause_s == 20.0


def test_how_long_answers_take_is_an_average() -> None:
    s = Story(model("chat"))
    s.up("chat")
    record = s.record("chat")
    record.service_s = None
    for took_s in (4.0, 8.0):
        s.serve("chat", took_s)
    assert record.service_s == pytest.approx(5.2)


# orders


def test_an_order_to_start_what_is_ready_changes_nothing() -> None:
    s = Story(model("chat", idle_s=10))
    s.up("chat")
    s.tell(ev.StartRequested("chat"))
    assert not s.core.view("chat").requested
    s.pass_time(10)
    s.gone("chat")
    assert s.state("chat") is State.STOPPED  # and is not started again


def test_an_order_to_start_what_cannot_be_started_is_answered() -> None:
    s = Story(model("chat"))
    s.tell(ev.RuntimeChanged(("chat",), "Docker is down"))
    s.tell(ev.StartRequested("chat"))
    assert not s.core.view("chat").requested
    s.tell(ev.RuntimeChanged(("chat",), None))
    assert s.since_last() == []


def test_an_order_that_waits_is_answered_when_its_runtime_goes() -> None:
    s = Story(model("chat", pinned=True), model("coder"))
    s.up("chat")
    s.tell(ev.StartRequested("coder"))
    s.tell(ev.RuntimeChanged(("coder",), "Docker is down"))
    assert not s.core.view("coder").requested


def test_what_is_no_longer_configured_is_wanted_by_nobody() -> None:
    s = Story(model("chat", drain_timeout_s=60), model("coder", warm=True))
    s.tell(ev.KeepWarmChanged("coder", True))
    s.ready("coder", after=2)
    s.tell(ev.StartRequested("chat"))
    ana = s.ask("coder")
    s.tell(ev.SchedulerConfigured(SchedulerSpec(budget=shares(1.0), models={"new": model("new")})))
    assert "chat" not in s.core.state.models  # it had no run: gone at once
    coder = s.record("coder")
    assert (coder.retired, coder.requested, coder.warm, coder.warm_scheduled) == (True, False, False, False)
    s.give_back(ana)
    s.gone("coder")
    assert set(s.core.views()) == {"new"}


def test_at_the_end_nobody_wants_anything() -> None:
    s = Story(model("chat", 0.6), model("coder", 0.6, residency_s=1000))
    s.up("coder")
    s.tell(ev.StartRequested("chat"))
    s.tell(ev.ShutdownRequested())
    assert not s.core.view("chat").requested


def test_before_it_is_known_what_runs_nothing_is_started() -> None:
    from hotseat.core.scheduler import Scheduler

    core = Scheduler(SchedulerSpec(budget=shares(1.0), models={"chat": model("chat")}), recovered=False)
    core.handle(ev.RequestArrived(1, "chat"), 0.0)
    assert core.state_of("chat") is State.STOPPED
    core.handle(ev.RunsRecovered(), 1.0)
    assert core.state_of("chat") is State.STARTING


# found asleep


def test_a_run_found_asleep_sleeps_on_and_wakes_for_a_request() -> None:
    s = Story(model("chat", 0.6, sleep=sleeper(0.05)), model("coder", 0.6))
    s.tell(ev.RunFound("coder", 3, ready=True))
    s.tell(ev.RunFound("chat", 4, ready=False))
    assert s.core.view("chat").footprint == shares(0.6)  # until it is known that it sleeps
    s.slept("chat")
    assert s.state("chat") is State.ASLEEP
    assert s.causes("chat") == [Cause.ADOPTED, Cause.ADOPTED]
    assert s.core.view("chat").footprint == shares(0.05)
    assert s.since_last() == []
    ana = s.ask("chat")
    s.pass_time(40)
    assert s.since_last() == ["stop coder#3"]
    s.gone("coder")
    assert s.since_last() == ["wake chat#4"]
    s.ready("chat", after=1)
    assert s.granted[ana] == ("chat", 4)


def test_who_waits_for_a_run_that_was_found_asleep_has_it_woken() -> None:
    s = Story(model("chat", sleep=sleeper()))
    s.tell(ev.RunFound("chat", 4, ready=False))
    ana = s.ask("chat")
    s.slept("chat")
    assert s.since_last() == ["wake chat#4"]
    s.ready("chat", after=1)
    assert s.holds(ana)


def test_one_that_was_found_asleep_had_served() -> None:
    s = Story(model("chat", sleep=sleeper()))
    s.tell(ev.RunFound("chat", 4, ready=False))
    s.slept("chat")
    s.dies("chat")
    assert s.state("chat") is State.STOPPED  # its first death is forgiven


def test_a_start_of_ours_does_not_end_asleep() -> None:
    s = Story(model("chat", sleep=sleeper()))
    s.ask("chat")
    assert s.tell(ev.RunSlept("chat", 1)) == []
    assert s.state("chat") is State.STARTING


# alarms


def test_an_alarm_that_has_not_moved_is_not_set_again() -> None:
    alarms = Deadlines()
    alarms.set("chat", 5.0)
    alarms.set("chat", 5.0)
    assert alarms.due(5.0) == ["chat"]
    assert alarms.due(5.0) == []
