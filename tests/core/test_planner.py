"""The planner's questions, asked directly: what a model is worth, when it may be evicted, what it frees."""

from __future__ import annotations

from typing import Any

import pytest
from core_story import CRASH, Story, model, shares, sleeper

from hotseat.core import events as ev
from hotseat.core import eviction, planner, policy, refusals
from hotseat.core.deadlines import NEVER
from hotseat.core.eviction import HEAD_START, Contender
from hotseat.core.model_state import STABLE_S, ModelState
from hotseat.core.queue import QueuedRequest
from hotseat.core.spec import SleepSpec
from hotseat.core.states import Cause, State


def state_of(name: str = "chat", state: State = State.READY, share: float = 0.5, **terms: Any) -> ModelState:
    made = ModelState(model(name, share, **terms), state=state, run=1)
    made.run_footprint = made.spec.footprint
    return made


def waits(who: ModelState, request: int = 1, since: float = 0.0) -> None:
    who.queue.push(QueuedRequest(request, "", 0, since))


# what its leaving would cost


def test_one_that_leaves_already_costs_nothing() -> None:
    assert eviction.eviction_cost(state_of(state=State.DRAINING), 0.0) == 0.0


def test_what_it_takes_to_bring_it_back_counts_and_so_does_its_size() -> None:
    one = state_of(share=0.5)
    one.start_cost_s = 10.0
    assert eviction.eviction_cost(one, 0.0) == pytest.approx(10.0 * 1.5)
    larger = state_of(share=1.0)
    larger.start_cost_s = 10.0
    assert eviction.eviction_cost(larger, 0.0) == pytest.approx(10.0 * 2.0)


def test_quiet_counts_only_where_it_is_quiet() -> None:
    quiet, busy = state_of(), state_of()
    quiet.start_cost_s = busy.start_cost_s = 10.0
    waits(busy)
    assert eviction.eviction_cost(quiet, 30.0) == pytest.approx(10.0 / 4 * 1.5)
    assert eviction.eviction_cost(busy, 30.0) == pytest.approx(10.0 * 2 * 1.5)


# from when it may leave


def evictable_at(
    resident: ModelState, wanted: ModelState, since: float | None, max_wait_s: float, now: float
) -> float:
    return eviction.evictable_at(resident, Contender(wanted, since, max_wait_s), 1, now)


def test_a_turn_is_measured_by_the_swap_of_both() -> None:
    here, there = state_of(), state_of("coder", State.STOPPED)
    here.start_cost_s, there.start_cost_s = 4.0, 8.0
    here.leases[7] = ("", 0.0)
    assert evictable_at(here, there, 0.0, 1000.0, 1.0) == pytest.approx(6.0 * policy.TURN)
    there.spec = model("coder", 0.5, priority=1)
    assert evictable_at(here, there, 0.0, 1000.0, 1.0) == pytest.approx(6.0 * (policy.TURN - HEAD_START))
    here.spec = model("chat", 0.5, priority=1)  # of equal rank again
    assert evictable_at(here, there, 0.0, 1000.0, 1.0) == pytest.approx(6.0 * policy.TURN)


def test_a_residency_that_is_told_is_cut_short_after_half_as_long_again() -> None:
    here, there = state_of(residency_s=100.0), state_of("coder", State.STOPPED)
    here.ready_since = 100.0
    assert evictable_at(here, there, 0.0, 10.0, 101.0) == 150.0
    assert evictable_at(here, there, 90.0, 10.0, 101.0) == 200.0


def test_patience_is_what_it_is_where_no_residency_is_told() -> None:
    here, there = state_of(), state_of("coder", State.STOPPED)
    here.leases[7] = ("", 0.0)
    here.ready_since = 100.0
    assert evictable_at(here, there, 99.5, 1.0, 100.0) == 100.5


def test_a_sleeper_in_line_leaves_for_those_before_it_and_for_nobody_who_does_not_ask() -> None:
    there = state_of("coder", State.STOPPED)
    asleep = state_of(state=State.ASLEEP)
    assert evictable_at(asleep, there, None, 1.0, 5.0) == 5.0
    asleep.requested = True
    assert evictable_at(asleep, there, None, 1.0, 5.0) == NEVER
    assert evictable_at(asleep, there, 4.0, 1.0, 5.0) == 5.0
    asleep.requested = False
    waits(asleep)
    assert evictable_at(asleep, there, None, 1.0, 5.0) == NEVER
    assert evictable_at(asleep, there, 4.0, 1.0, 5.0) == 5.0


def test_a_start_that_nobody_asked_for_leaves_for_who_asks_and_for_nobody_else() -> None:
    there = state_of("coder", State.STOPPED)
    loading = state_of(state=State.STARTING)
    assert evictable_at(loading, there, 4.0, 1.0, 5.0) == 5.0
    assert evictable_at(loading, there, None, 1.0, 5.0) == NEVER
    loading.requested = True
    assert evictable_at(loading, there, 4.0, 1.0, 5.0) == NEVER


# who comes first


def contender(name: str, since: float | None, max_wait_s: float = 100.0, **terms: Any) -> Contender:
    return Contender(state_of(name, State.STOPPED, **terms), since, max_wait_s)


def test_of_those_out_of_patience_the_one_who_lost_it_first() -> None:
    early, hasty = contender("early", 0.0, 100.0), contender("hasty", 10.0, 50.0)
    assert sorted([early, hasty], key=lambda one: one.order(99.0)) == [hasty, early]
    assert sorted([early, hasty], key=lambda one: one.order(200.0)) == [hasty, early]
    assert early.order(200.0) == (0, 100.0)


def test_a_step_of_priority_is_a_head_start_in_swaps_of_that_model() -> None:
    one = contender("one", 500.0, 1000.0, priority=1)
    one.model.start_cost_s = 100.0
    assert one.order(600.0) == (1, 500.0 - HEAD_START * 100.0)


def test_of_those_only_kept_warm_the_highest_priority_and_all_after_those_who_ask() -> None:
    low, high, asks = contender("low", None), contender("high", None, priority=2), contender("asks", 5.0)
    assert sorted([low, high, asks], key=lambda one: one.order(6.0)) == [asks, high, low]


# what it frees, and what it will hold


def test_what_no_leftover_is_known_of_is_freed_whole() -> None:
    one = state_of(share=0.5)
    one.leftover = {"7": 3}
    assert eviction.memory_freed(one, to_sleep=True) == shares(0.5)


def test_a_sleeper_needs_what_it_does_not_hold_yet() -> None:
    one = state_of(state=State.ASLEEP, share=0.5)
    one.leftover = shares(0.1)
    assert eviction.memory_needed(one) == shares(0.4)
    one.leftover = {}
    assert eviction.memory_needed(one) == shares(0.5)


def test_one_that_falls_asleep_is_counted_with_what_it_will_keep() -> None:
    one = state_of(state=State.SUSPENDING)
    one.leftover = shares(0.1)
    assert eviction.memory_kept(one) == shares(0.1)
    one.state = State.READY
    assert eviction.memory_kept(one) == shares(0.5)


# host memory


def sleeping(name: str, host_mib: int, level: int = 1, state: State = State.ASLEEP) -> ModelState:
    terms = SleepSpec(level=1 if level == 1 else 2, leftover=shares(0.1), host_mib=host_mib)
    return state_of(name, state, sleep=terms)


def test_a_sleeper_is_stopped_when_a_single_mebibyte_is_lacking() -> None:
    old, new = sleeping("old", 10), sleeping("new", 10, state=State.READY)
    assert planner.free_host_memory(new.sleep_need_mib, [old, new], 20, sleepers=True) == []
    assert planner.free_host_memory(new.sleep_need_mib, [old, new], 19, sleepers=True) == [old]
    assert planner.free_host_memory(new.sleep_need_mib, [new], 9, sleepers=True) is None


def test_a_sleeper_that_is_wanted_is_not_stopped_for_another() -> None:
    old, new = sleeping("old", 10), sleeping("new", 10, state=State.READY)
    old.requested = True
    assert planner.free_host_memory(new.sleep_need_mib, [old, new], 15, sleepers=True) is None
    old.requested = False
    waits(old)
    assert planner.free_host_memory(new.sleep_need_mib, [old, new], 15, sleepers=True) is None


def test_a_second_level_sleeper_needs_no_host_memory() -> None:
    old, new = sleeping("old", 10), sleeping("new", 10, level=2, state=State.READY)
    assert planner.free_host_memory(new.sleep_need_mib, [old, new], 10, sleepers=True) == []


# smaller questions


def test_what_is_missing_is_told_to_the_last_part() -> None:
    assert policy.missing({"1": 5}, {"0": 9}) == {"1": 5}
    assert policy.missing({"0": 1}, {}) == {"0": 1}


def test_until_when_a_sleeper_sleeps() -> None:
    one = state_of(state=State.ASLEEP, sleep=SleepSpec(level=1, idle_s=5.0))
    one.since = 10.0
    assert one.deadline() == 15.0
    one.requested = True
    assert one.deadline() == NEVER
    one.requested, one.warm = False, True
    assert one.deadline() == NEVER
    one.warm = False
    waits(one)
    assert one.deadline() == NEVER
    one = state_of(state=State.ASLEEP)  # configured not to sleep any more
    one.since = 10.0
    assert one.deadline() == 10.0


def test_failures_are_forgiven_after_exactly_so_long() -> None:
    one = state_of()
    one.served, one.failures, one.ready_since = True, 3, 10.0
    one.reset_failures(10.0 + STABLE_S - 0.001)
    assert one.failures == 3
    one.reset_failures(10.0 + STABLE_S)
    assert one.failures == 0


def test_a_refusal_is_never_without_a_reason() -> None:
    said = refusals.backing_off(state_of(), 0.0).message
    assert said == "model chat failed to start: it failed: `hotseat logs chat` shows why; next try in 1 s"


def test_when_a_place_may_be_free_of_one_that_serves_a_single_client() -> None:
    one = state_of()
    one.leases[7] = ("", 0.0)
    one.service_s, one.start_cost_s = 8.0, 100.0
    for request in range(3):
        waits(one, request)
    assert refusals.queue_full(one, 0.0).retry_after_s == 24.0  # one after the other, and no start


def test_those_who_wait_count_among_the_clients_of_a_turn() -> None:
    one = state_of()
    waits(one, 1)
    waits(one, 2)
    one.grant(7, "", 0.0)
    assert one.peak_demand == 3


def test_who_asks_for_one_that_is_about_to_serve_waits_whatever_its_runtime_says() -> None:
    s = Story(model("chat"))
    s.ask("chat")
    s.tell(ev.RuntimeChanged(("chat",), "the engine does not answer"))
    ben = s.ask("chat")
    assert s.waits(ben)
    s.ready("chat", after=2)
    assert s.holds(ben)


# stories of those that drain


def test_one_that_drains_to_sleep_still_sleeps_after_another_look() -> None:
    s = Story(model("chat", 0.6, sleep=sleeper(0.05)), model("coder", 0.6, max_wait_s=0))
    s.up("chat")
    ana = s.ask("chat")
    s.ask("coder")
    assert s.state("chat") is State.DRAINING
    s.ask("coder")  # the plan is made again
    s.give_back(ana)
    assert s.state("chat") is State.SUSPENDING
    s.slept("chat")
    assert Cause.SLEPT in s.causes("chat")
    assert Cause.ADOPTED not in s.causes("chat")


def test_one_that_drains_to_sleep_is_stopped_when_more_room_is_needed_meanwhile() -> None:
    s = Story(
        model("chat", 0.6, sleep=sleeper(0.2)), model("coder", 0.6, max_wait_s=0), model("huge", max_wait_s=0)
    )
    s.up("chat")
    ana = s.ask("chat")
    ben = s.ask("coder")
    assert s.state("chat") is State.DRAINING
    s.ask("huge")
    s.withdraw(ben)
    s.give_back(ana)
    assert s.state("chat") is State.STOPPING


def test_an_eviction_is_called_off_when_its_cause_was_refused_for_waiting() -> None:
    s = Story(model("chat"), model("coder", max_wait_s=0, wait_limit_s=5))
    s.up("chat")
    s.ask("chat")
    s.ask("coder")
    assert s.state("chat") is State.DRAINING
    s.pass_time(5)
    assert s.state("chat") is State.READY


def test_leaving_keeps_one_that_drained_for_somebody_who_is_gone() -> None:
    s = Story(model("chat", drain_timeout_s=60), model("coder", max_wait_s=0))
    s.up("chat")
    ana = s.ask("chat")
    s.ask("coder")
    assert s.state("chat") is State.DRAINING
    s.tell(ev.ShutdownRequested(leave_running=True))
    s.give_back(ana)
    assert s.state("chat") is State.READY
    assert s.since_last() == ["start chat#1"]


def test_what_is_cut_off_at_the_drain_deadline_was_alive() -> None:
    s = Story(model("chat", drain_timeout_s=5), model("coder", max_wait_s=0))
    s.up("chat")
    ana = s.ask("chat")
    s.ask("coder")
    s.pass_time(5)
    assert s.broken[ana].summary == "cut off after 5 s of draining"
    assert s.broken[ana].alive
    assert not CRASH.alive
