"""Plans with several models in line, and what another configuration says of those that run."""

from __future__ import annotations

import pytest
from core_story import Story, machine, model, shares, sleeper

from hotseat.core import events as ev
from hotseat.core import policy
from hotseat.core.policy import Candidate
from hotseat.core.states import State


def leaving(share: float, *others: object, **terms: object) -> Story:
    """``old`` runs, was told to stop, and still holds its share."""
    s = Story(model("old", share, **terms), *others)  # type: ignore[arg-type]
    s.up("old")
    s.tell(ev.StopRequested("old"))
    s.since_last()
    return s


def at_once(s: Story, names: str) -> list[int]:
    """All are asked for, a second apart, before anything is planned."""
    with s.plan_later():
        asked = []
        for name in names:
            asked.append(s.ask(name))
            s.pass_time(1)
    return asked


def test_what_fits_only_once_another_has_gone_is_not_started_beside_it() -> None:
    s = leaving(0.5, model("a", 0.4), model("b", 0.4))
    at_once(s, "ab")
    assert s.since_last() == ["start a#1"]  # 0.1 is free now, and 0.6 soon
    s.gone("old")
    assert s.since_last() == ["start b#1"]


def test_several_that_fit_are_started_at_once_and_one_too_many_is_not() -> None:
    s = Story(*(model(name, 0.3) for name in "abcd"))
    at_once(s, "abcd")
    assert s.since_last() == ["start a#1", "start b#1", "start c#1"]


def test_one_further_back_is_not_started_where_one_before_it_would_lack_the_room() -> None:
    s = leaving(0.5, model("x", 0.6), model("a", 0.3), model("b", 0.2))
    at_once(s, "xab")
    assert s.since_last() == ["start a#1"]  # 0.2 is free beside it now, but 0.1 only once x has started
    s.gone("old")
    assert s.since_last() == ["start x#1"]


def test_the_room_of_a_sleeper_that_stands_in_line_itself_is_kept_for_it() -> None:
    """It is in the way of one before it, so it is stopped; those behind it do not take its place."""
    two = {"0": 1.0, "1": 1.0}
    s = Story(
        model("b", 0.6, idle_s=10, sleep=sleeper(0.3)), model("a", 0.8), model("c", 0.2),
        model("d", {"1": 0.5}), budget=two,
    )  # fmt: skip
    s.up("b")
    s.pass_time(10)
    s.slept("b")
    s.since_last()
    at_once(s, "abcd")
    assert s.since_last() == ["start d#1", "stop b#1"]
    s.gone("b")
    assert s.since_last() == ["start a#1"]


def test_two_swaps_that_do_not_touch_each_other_are_in_one_plan() -> None:
    s = Story(
        *(model(f"{name}{device}", {device: 0.9}, residency_s=0) for name in "ab" for device in "01"),
        budget={"0": 1.0, "1": 1.0},
    )
    s.up("a0")
    s.up("a1")
    s.since_last()
    with s.plan_later():
        s.ask("b0")
        s.ask("b1")
    assert s.since_last() == ["stop a0#1", "stop a1#1"]


def test_hopeless_ones_do_not_hide_those_behind_them() -> None:
    s = Story(model("huge", 2.0), model("a", 0.5))
    with s.plan_later():
        huge = s.ask("huge")
        s.ask("a")
    assert s.since_last() == ["start a#1"]
    assert huge in s.refused


def test_an_order_for_what_can_never_fit_is_given_up_for_good() -> None:
    s = Story(model("huge", 2.0))
    s.tell(ev.StartRequested("huge"))
    view = s.core.view("huge")
    assert not view.requested
    assert view.reason is not None
    assert view.reason.permanent


def test_an_order_counts_from_when_it_was_given() -> None:
    s = Story(model("chat", residency_s=100), model("coder", max_wait_s=20))
    s.up("chat")
    s.pass_time(5)
    s.ask("chat")
    s.tell(ev.StartRequested("coder"))
    s.pass_time(19)
    assert s.state("chat") is State.READY
    s.pass_time(1)
    assert s.state("chat") is State.DRAINING


def test_who_was_called_back_is_wanted_by_nobody_in_particular() -> None:
    s = Story(model("chat", idle_s=30), model("coder", max_wait_s=0))
    s.up("chat")
    ana = s.ask("chat")
    ben = s.ask("coder")
    assert s.state("chat") is State.DRAINING
    s.tell(ev.StartRequested("chat"))
    s.withdraw(ben)
    assert s.state("chat") is State.READY
    assert not s.core.view("chat").requested
    s.give_back(ana)
    s.pass_time(30)
    s.gone("chat")
    assert s.state("chat") is State.STOPPED


# another configuration


def test_another_footprint_of_the_same_launch_is_believed_and_may_be_too_much() -> None:
    s = Story(model("chat", 0.5), model("coder", 0.4))
    s.up("chat")
    s.tell(ev.SchedulerConfigured(machine(model("chat", 0.9), model("coder", 0.4))))
    assert s.core.view("chat").footprint == shares(0.9)
    ana = s.ask("coder")
    assert s.waits(ana)
    s.tell(ev.SchedulerConfigured(machine(model("chat", 0.3), model("coder", 0.4))))
    assert s.core.view("chat").footprint == shares(0.3)
    s.record("chat").unplanned = False
    s.tell(ev.SchedulerConfigured(machine(model("chat", 0.3), model("coder", 0.4))))
    assert not s.record("chat").unplanned  # nothing was said anew
    s.tell(ev.SchedulerConfigured(machine(model("chat", 0.4), model("coder", 0.4))))
    assert s.record("chat").unplanned


def test_another_footprint_of_another_launch_is_that_of_the_next_run() -> None:
    s = Story(model("chat", 0.5, fingerprint="old"), model("coder", 0.4))
    s.up("chat")
    ana = s.ask("chat")
    s.tell(ev.SchedulerConfigured(machine(model("chat", 0.9, fingerprint="new"), model("coder", 0.4))))
    assert s.core.view("chat").footprint == shares(0.5)
    s.give_back(ana)
    s.gone("chat")
    s.ask("chat")
    assert s.core.view("chat").footprint == shares(0.9)


def test_a_footprint_of_what_does_not_run_is_not_that_of_a_run() -> None:
    s = Story(model("chat", 0.5))
    s.tell(ev.SchedulerConfigured(machine(model("chat", 0.9))))
    record = s.record("chat")
    assert (record.run_footprint, record.unplanned) == ({}, False)


def test_what_is_said_of_its_sleep_is_taken_over_while_it_is_awake_only() -> None:
    s = Story(model("chat", 0.5, idle_s=10, sleep=sleeper(0.1)))
    s.up("chat")
    s.pass_time(10)
    s.slept("chat", leftover=0.2)
    assert s.core.view("chat").footprint == shares(0.2)
    s.tell(ev.SchedulerConfigured(machine(model("chat", 0.5, idle_s=10, sleep=sleeper(0.3)))))
    assert s.core.view("chat").footprint == shares(0.2)
    ana = s.ask("chat")
    s.ready("chat", after=1)
    s.give_back(ana)
    s.pass_time(10)
    s.slept("chat")
    assert s.core.view("chat").footprint == shares(0.3)
    ana = s.ask("chat")
    s.ready("chat", after=1)
    s.give_back(ana)
    s.pass_time(10)
    s.slept("chat", leftover=0.2)
    ana = s.ask("chat")
    s.ready("chat", after=1)
    s.give_back(ana)
    s.pass_time(10)
    s.slept("chat")
    assert s.core.view("chat").footprint == shares(0.2)  # as measured: nothing was said anew


# moves, as they are told


def test_a_move_tells_its_run_and_how_long_the_state_before_it_took() -> None:
    s = Story(model("chat", idle_s=10))
    s.pass_time(5)
    s.ask("chat")
    s.ready("chat", after=3)
    starting, ready = s.moves
    assert (starting.run, starting.took_s) == (1, 5.0)
    assert (ready.run, ready.took_s) == (1, 3.0)


def test_the_longest_drain_counts_for_the_longest_wait_of_all() -> None:
    s = Story(model("chat", start_timeout_s=50, drain_timeout_s=7, max_wait_s=30, max_in_flight=1))
    s.up("chat")
    s.ask("chat")
    ben = s.ask("chat")
    s.pass_time(30 + 7 + 50 - 0.1)
    assert s.waits(ben)
    s.pass_time(0.2)
    assert not s.waits(ben)


def test_an_empty_configuration_is_one_too() -> None:
    s = Story(model("chat"))
    s.tell(ev.SchedulerConfigured(machine()))
    assert s.core.views() == {}
    assert s.core.state.longest_drain_s == 0.0


# the policy's edges


def test_a_swap_is_never_free_and_costs_less_than_a_second_where_it_does() -> None:
    assert policy.swap_cost_s(0.0) == 0.01
    assert policy.swap_cost_s(0.5) == 0.5


def test_one_in_line_counts_as_one_and_none_as_well() -> None:
    assert policy.max_wait_s(10.0, 1) == policy.max_wait_s(10.0, 0) == 10.0 * policy.MAX_WAIT
    assert policy.max_wait_s(10.0, 2) == 20.0 * policy.MAX_WAIT


def test_of_as_many_as_are_compared_the_best_set_is_found() -> None:
    """The cheapest first would take the small ones, one after the other."""
    many = [Candidate(f"m{i}", {"0": 1}, 1.0) for i in range(policy.EXACT_CHOICE - 1)]
    assert policy.choose_victims({"0": 2}, [*many, Candidate("big", {"0": 2}, 1.5)]) == ("big",)


@pytest.mark.parametrize("frees", [{}, {"0": 0}, {"1": 5}])
def test_who_frees_nothing_of_what_is_missing_is_not_sent_away(frees: dict[str, int]) -> None:
    useless = Candidate("a", frees, 0.0)
    assert policy.choose_victims({"0": 2}, [useless, Candidate("b", {"0": 2}, 9.0)]) == ("b",)
    assert policy.choose_victims({"0": 2}, [useless]) is None
