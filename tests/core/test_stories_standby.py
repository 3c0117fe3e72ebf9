"""Stories of models that are prepared while another has the seat, and stand by until their turn."""

from __future__ import annotations

from typing import Any

import pytest
from core_story import CRASH, Story, model, sleeper

from hotseat.core import events as ev
from hotseat.core.spec import SchedulingSpec, StandbyMode
from hotseat.core.states import Cause, State


def standby(name: str, share: float = 1.0, **terms: Any) -> SchedulingSpec:
    """A model that is prepared on demand and takes 10 MiB of host memory meanwhile."""
    return model(name, share, **{"standby": StandbyMode.DEMAND, "standby_mib": 10, **terms})


def two(**terms: Any) -> Story:
    """``coder`` has the seat and is in use; both gates are known."""
    s = Story(standby("chat", **terms), standby("coder", **terms))
    s.gate("chat", "coder")
    s.up("coder", cost=30.0)
    s.since_last()
    return s


def test_a_request_that_must_wait_has_its_model_prepared_at_once() -> None:
    s = two()
    busy = s.ask("coder")
    ana = s.ask("chat")
    assert s.since_last() == ["prepare chat#1"]
    assert s.state("chat") is State.PREPARING
    assert s.core.view("chat").footprint == {}
    s.prepared("chat", after=20)
    assert s.state("chat") is State.STANDBY
    assert s.core.view("chat").footprint == {}
    s.give_back(busy)
    s.pass_time(50)
    assert s.since_last() == ["stop coder#1"]
    s.gone("coder")
    assert s.since_last() == ["admit chat#1"]
    assert s.state("chat") is State.STARTING
    s.ready("chat", after=3)
    assert s.holds(ana)
    assert s.causes("chat") == [Cause.DEMAND, Cause.PREPARED, Cause.DEMAND, Cause.PROBE_PASSED]


def test_admission_is_not_ordered_before_the_memory_is_free() -> None:
    s = two()
    s.ask("coder")
    s.ask("chat")
    s.prepared("chat")
    s.pass_time(50)
    assert s.since_last() == ["prepare chat#1"]


def test_admission_while_still_preparing_is_given_ahead() -> None:
    s = two()
    ana = s.ask("chat")  # the other is quiet: it leaves soon
    s.pass_time(50)
    s.gone("coder")
    assert s.since_last() == ["prepare chat#1", "stop coder#1", "admit chat#1"]
    assert s.state("chat") is State.STARTING
    s.ready("chat", after=25)
    assert s.holds(ana)
    record = s.record("chat")
    assert record.standby_cost_s is None  # neither was measured whole
    assert record.start_cost_s is None


def test_a_model_whose_gate_was_never_seen_is_started_plainly() -> None:
    s = Story(standby("chat"), standby("coder"))
    s.up("coder")
    s.ask("coder")
    s.ask("chat")
    assert s.state("chat") is State.STOPPED
    s.gate("chat")
    assert s.state("chat") is State.PREPARING


def test_a_gate_that_was_seen_under_another_configuration_counts_for_nothing() -> None:
    s = Story(standby("chat", fingerprint="new"), standby("coder"))
    s.tell(ev.GateSeen("chat", "old"))
    s.up("coder")
    s.ask("coder")
    s.ask("chat")
    assert s.state("chat") is State.STOPPED


def test_off_means_off() -> None:
    s = two(standby=StandbyMode.OFF)
    s.ask("coder")
    s.ask("chat")
    assert s.since_last() == []


def test_what_fits_at_once_is_started_plainly() -> None:
    s = Story(standby("chat", 0.5), standby("coder", 0.5))
    s.gate("chat", "coder")
    s.ask("chat")
    s.ask("coder")
    assert s.since_last() == ["start chat#1", "start coder#1"]


def test_the_swap_cost_of_one_that_stands_by_is_learned_apart() -> None:
    s = two()
    s.ask("chat")
    s.prepared("chat")
    s.pass_time(50)
    s.gone("coder")
    s.ready("chat", after=3)
    record = s.record("chat")
    assert record.standby_cost_s == pytest.approx(3)
    assert record.start_cost_s is None
    assert record.last_start_s == pytest.approx(3)


def test_who_dies_while_preparing_is_started_plainly_in_its_turn_and_its_clients_wait_on() -> None:
    s = two()
    busy = s.ask("coder")
    ana = s.ask("chat")
    s.dies("chat")
    assert s.state("chat") is State.STOPPED
    assert s.waits(ana)
    assert s.record("chat").failures == 0
    s.give_back(busy)
    s.pass_time(50)
    s.gone("coder")
    assert s.since_last() == ["prepare chat#1", "stop coder#1", "start chat#2"]


@pytest.mark.parametrize("stands", [False, True])
def test_who_could_not_be_launched_or_dies_while_standing_by_is_not_prepared_again(stands: bool) -> None:
    s = two()
    s.ask("coder")
    s.ask("chat")
    if stands:
        s.prepared("chat")
        s.dies("chat")
    else:
        s.tell(ev.StartFailed("chat", 1, CRASH))
    s.ask("chat")
    s.pass_time(10)
    assert s.since_last() == ["prepare chat#1"]
    s.tell(ev.SchedulerConfigured(s.core.state.spec))
    assert s.since_last() == []


def test_a_stop_while_preparing_ends_it_and_refuses_who_waits() -> None:
    s = two()
    s.ask("coder")
    ana = s.ask("chat")
    s.tell(ev.StopRequested("chat"))
    assert not s.waits(ana)
    assert s.since_last() == ["prepare chat#1", "stop chat#1"]
    assert s.core.view("chat").footprint == {}  # it never had any
    s.gone("chat")
    assert s.state("chat") is State.STOPPED


def test_preparing_has_a_clock() -> None:
    s = two(start_timeout_s=40.0, wait_limit_s=3600.0, max_wait_s=3600.0, drain_timeout_s=3600.0)
    s.ask("coder")
    ana = s.ask("chat")
    s.pass_time(159)
    assert s.state("chat") is State.PREPARING
    s.pass_time(1)
    assert s.state("chat") is State.STOPPING
    assert s.waits(ana)
    s.gone("chat")
    assert not s.record("chat").can_prepare(s.now)
    assert s.waits(ana)


def test_the_start_timeout_counts_from_the_admission() -> None:
    s = two(start_timeout_s=300.0)
    s.ask("chat")
    s.pass_time(119)
    s.prepared("chat")
    s.gone("coder", after=1)
    assert s.state("chat") is State.STARTING
    s.pass_time(299)
    assert s.state("chat") is State.STARTING
    s.pass_time(1)
    assert s.state("chat") is State.STOPPING


def test_one_that_serves_without_admission_is_counted_at_once_and_never_prepared_again() -> None:
    s = two()
    s.ask("coder")
    ana = s.ask("chat")
    s.ready("chat", after=20)
    assert s.state("chat") is State.READY
    assert s.holds(ana)
    assert s.core.view("chat").footprint == {"0": 1_000_000}
    assert not s.record("chat").can_prepare(s.now + 1e6)


def test_one_that_stands_by_for_nobody_ends_when_it_has_been_idle() -> None:
    s = two(idle_s=600.0)
    s.ask("coder")
    ana = s.ask("chat")
    s.prepared("chat")
    s.withdraw(ana)
    s.pass_time(599)
    assert s.state("chat") is State.STANDBY
    s.pass_time(1)
    assert s.state("chat") is State.STOPPING


def test_a_standby_of_another_configuration_is_ended() -> None:
    s = two()
    s.ask("coder")
    s.ask("chat")
    s.prepared("chat")
    spec = s.core.state.spec
    changed = {**spec.models, "chat": standby("chat", fingerprint="new")}
    s.tell(ev.SchedulerConfigured(type(spec)(budget=spec.budget, models=changed)))
    assert s.since_last() == ["prepare chat#1", "stop chat#1"]


def test_host_memory_is_shared_with_sleepers_and_no_sleeper_ends_for_a_standby() -> None:
    s = Story(
        model("drowsy", sleep=sleeper(0.0, host_mib=25), residency_s=0.0),
        standby("chat"),
        standby("coder"),
        host_sleep_mib=30,
    )
    s.gate("chat", "coder")
    s.up("drowsy")
    s.ask("coder")
    s.pass_time(30)
    s.slept("drowsy")
    s.ready("coder")
    s.ask("chat")
    s.pass_time(1)
    assert s.state("chat") is State.STOPPED  # 25 + 10 are more than 30
    assert s.state("drowsy") is State.ASLEEP


def test_a_standby_ends_before_a_sleeper_does() -> None:
    s = Story(
        model("old", 0.2, sleep=sleeper(0.0, host_mib=20)),
        model("new", 0.2, sleep=sleeper(0.0, host_mib=20)),
        standby("chat", 0.9),
        model("coder", 0.6),
        host_sleep_mib=45,
    )
    s.gate("chat")
    s.up("old")
    s.tell(ev.StopRequested("old", to_sleep=True))
    s.slept("old")
    s.up("new")
    s.ask("coder")
    s.ready("coder")
    ana = s.ask("chat")
    s.prepared("chat")
    s.withdraw(ana)
    s.since_last()
    s.tell(ev.StopRequested("new", to_sleep=True))
    assert s.since_last() == ["stop chat#1", "sleep new#1"]
    assert s.state("old") is State.ASLEEP


def test_what_a_standby_takes_is_measured() -> None:
    s = two()
    s.ask("coder")
    s.ask("chat")
    s.prepared("chat", host_mib=1279)
    assert s.record("chat").host_mib == 1279


# keep


def test_who_left_the_seat_is_prepared_again() -> None:
    s = two(standby=StandbyMode.KEEP)
    s.ask("chat")
    s.prepared("chat")
    s.pass_time(50)
    s.since_last()
    s.gone("coder")
    assert s.since_last() == ["admit chat#1", "prepare coder#2"]
    assert s.causes("coder")[-1] is Cause.KEPT
    s.prepared("coder")
    s.pass_time(100_000)
    assert s.state("coder") is State.STANDBY


def test_one_after_the_other_is_prepared_the_last_used_first() -> None:
    names = ("one", "two", "three")
    s = Story(*(standby(name, standby=StandbyMode.KEEP) for name in names), host_sleep_mib=20)
    for name in names:
        s.up(name)
        s.tell(ev.StopRequested(name))
        s.gone(name)
    s.gate(*names)
    assert all(s.state(name) is State.STOPPED for name in names)  # an operator has stopped them
    for name in names:
        s.record(name).dismissed = False
    s.tell(ev.RunsRecovered())
    assert s.state("three") is State.PREPARING
    assert s.state("two") is State.STOPPED
    s.prepared("three")
    assert s.state("two") is State.PREPARING
    s.prepared("two")
    assert s.state("one") is State.STOPPED  # no host memory is left


def test_a_kept_standby_gives_way_to_one_that_is_wanted() -> None:
    s = Story(
        standby("chat", standby=StandbyMode.KEEP),
        standby("coder", standby=StandbyMode.KEEP),
        standby("mathy"),
        host_sleep_mib=10,
    )
    s.gate("chat", "coder", "mathy")
    s.up("chat")
    s.ask("coder")
    s.pass_time(50)
    s.gone("chat")
    s.ready("coder", after=30)
    assert s.state("chat") is State.PREPARING
    s.prepared("chat")
    s.since_last()
    s.ask("mathy")
    assert s.since_last() == ["stop chat#2", "prepare mathy#1"]


def test_an_adopted_standby_stands_by_again() -> None:
    s = Story(standby("chat"))
    s.tell(ev.RunFound("chat", 3, ready=False, stands_by=True))
    assert s.state("chat") is State.PREPARING
    assert s.core.view("chat").footprint == {}
    s.prepared("chat")
    ana = s.ask("chat")
    assert s.orders == ["admit chat#3"]
    s.ready("chat", after=2)
    assert s.holds(ana)


@pytest.mark.parametrize("leave_running", [False, True])
def test_at_the_end_nobody_stands_by(leave_running: bool) -> None:
    s = two()
    ben = s.ask("coder")
    s.ask("chat")
    s.tell(ev.ShutdownRequested(leave_running))
    assert "stop chat#1" in s.since_last()
    s.give_back(ben)
    s.gone("chat")
    if not leave_running:
        s.gone("coder")
    assert s.core.at_rest
