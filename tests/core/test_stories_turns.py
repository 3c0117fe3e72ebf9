"""Whose turn it is: room, residency, max_wait, priorities, queues, warmth, sleep."""

from __future__ import annotations

from core_story import Story, machine, model, shares, sleeper

from hotseat.core import events as ev
from hotseat.core.errors import Code, Reason
from hotseat.core.states import Cause, State

TIRED = Reason(summary="sleep failed")


def swap_started(s: Story, name: str) -> bool:
    """Whether the model has been told to go."""
    return s.state(name) in (State.DRAINING, State.STOPPING, State.SUSPENDING)


# room


def test_two_models_that_fit_live_side_by_side() -> None:
    s = Story(model("chat", 0.6), model("coder", 0.4))
    s.up("chat")
    s.up("coder")
    assert s.since_last() == ["start chat#1", "start coder#1"]


def test_two_that_do_not_fit_never_overlap() -> None:
    s = Story(model("chat", 0.6, residency_s=0), model("coder", 0.5))
    s.up("chat")
    ben = s.ask("coder")
    assert s.since_last() == ["start chat#1", "stop chat#1"]
    s.pass_time(10)
    assert s.since_last() == []
    s.gone("chat")
    assert s.since_last() == ["start coder#1"]
    s.ready("coder")
    assert s.holds(ben)


def test_the_smallest_sufficient_eviction() -> None:
    s = Story(model("big", 0.6), model("small", 0.3), model("new", 0.3))
    s.up("big")
    s.up("small")
    s.pass_time(100)
    s.ask("new")
    assert s.since_last()[2:] == ["stop small#1"]


def test_one_big_leaves_rather_than_two_small_that_were_just_used() -> None:
    s = Story(model("a", 0.25), model("b", 0.25), model("c", 0.5), model("new", 0.5))
    for name in ("c", "a", "b"):
        s.up(name)
        s.pass_time(100)
    s.ask("new")
    assert s.since_last()[3:] == ["stop c#1"]


def test_of_equals_the_one_idle_longest_leaves() -> None:
    s = Story(model("a", 0.5), model("b", 0.5), model("c", 0.5))
    s.up("a")
    s.up("b")
    s.pass_time(100)
    s.serve("a")
    s.pass_time(10)
    s.ask("c")
    assert s.since_last()[2:] == ["stop b#1"]


def test_of_equals_the_one_cheapest_to_bring_back_leaves() -> None:
    s = Story(model("dear", 0.5), model("cheap", 0.5), model("c", 0.5))
    s.up("dear", cost=60)
    s.up("cheap", cost=2)
    s.pass_time(300)
    for name in ("dear", "cheap"):
        s.give_back(s.ask(name))
    s.pass_time(120)
    s.ask("c")
    assert s.since_last()[2:] == ["stop cheap#1"]


def test_a_pinned_model_is_neither_evicted_nor_idle() -> None:
    s = Story(model("chat", 0.5, pinned=True, idle_s=10), model("a", 0.5), model("b", 0.5))
    s.up("chat")
    s.up("a")
    s.pass_time(100)
    s.ask("b")
    s.pass_time(1000)
    assert s.since_last()[2:] == ["stop a#1"] + ["stop a#1"] * 16
    assert s.state("chat") is State.READY


def test_what_can_never_fit_beside_the_pinned_is_refused_at_once() -> None:
    s = Story(model("chat", 0.5, pinned=True), model("big", 0.6))
    s.up("chat")
    ana = s.ask("big")
    assert s.code(ana) is Code.NO_ROOM
    assert not s.refused[ana].should_retry


def test_what_is_larger_than_the_box_is_refused_at_once() -> None:
    s = Story(model("huge", 0.95), budget=0.9)
    assert s.code(s.ask("huge")) is Code.NO_ROOM
    s.tell(ev.StartRequested("huge"))
    assert s.since_last() == []


def test_a_pinned_model_that_is_being_stopped_is_no_reason_to_refuse() -> None:
    s = Story(model("chat", 0.5, pinned=True), model("big", 0.6))
    s.up("chat")
    s.tell(ev.StopRequested("chat"))
    ana = s.ask("big")
    s.gone("chat")
    s.ready("big", after=2)
    assert s.holds(ana)


def test_a_model_on_two_devices_takes_both() -> None:
    both = {"0": 0.5, "1": 0.5}
    s = Story(
        model("left", {"0": 0.6}),
        model("right", {"1": 0.6}),
        model("wide", both),
        budget={"0": 0.9, "1": 0.9},
    )
    s.up("left")
    s.up("right")
    s.pass_time(100)
    ana = s.ask("wide")
    assert sorted(s.since_last()[2:]) == ["stop left#1", "stop right#1"]
    s.gone("left")
    assert s.since_last() == []
    s.gone("right")
    s.ready("wide", after=2)
    assert s.holds(ana)


def test_a_model_for_an_unknown_device_is_refused() -> None:
    s = Story(model("far", {"7": 0.1}))
    assert s.code(s.ask("far")) is Code.NO_ROOM


def test_swaps_on_two_devices_run_at_the_same_time() -> None:
    s = Story(
        *(model(name, {device: 1.0}) for name, device in (("a", "0"), ("b", "0"), ("c", "1"), ("d", "1"))),
        budget={"0": 1.0, "1": 1.0},
    )
    s.up("a")
    s.up("c")
    s.pass_time(100)
    s.ask("b")
    s.ask("d")
    assert s.since_last()[2:] == ["stop a#1", "stop c#1"]
    s.gone("c")
    s.gone("a")
    assert s.since_last() == ["start d#1", "start b#1"]


def test_the_small_neighbour_stays_beside_the_swap_of_others() -> None:
    s = Story(
        model("site", 0.18), model("chat", 0.70), model("coder", 0.70), model("large", 0.90), budget=0.9
    )
    s.up("site")
    s.up("chat")
    s.pass_time(100)
    s.ask("coder")
    assert s.since_last()[2:] == ["stop chat#1"]
    s.gone("chat")
    s.ready("coder", after=2)
    s.give_back(2 + 1)
    s.pass_time(100)
    s.ask("large")
    assert sorted(s.since_last()[1:]) == ["stop coder#1", "stop site#1"]


def test_a_place_further_back_takes_no_room_from_one_before() -> None:
    s = Story(model("a", 0.5, residency_s=30), model("wide", 1.0), model("b", 0.5))
    s.up("a")
    wide = s.ask("wide")
    b = s.ask("b")  # would fit beside a, and then wide would wait for two
    assert s.since_last() == ["start a#1"]
    s.pass_time(30)
    s.gone("a")
    s.ready("wide", after=2)
    assert s.holds(wide)
    assert s.waits(b)


# turns


def test_a_model_keeps_the_seat_for_its_residency() -> None:
    s = Story(model("chat", residency_s=20), model("coder"))
    s.up("chat")
    s.ask("coder")
    s.pass_time(19)
    assert s.state("chat") is State.READY
    assert s.holds(s.ask("chat"))
    s.pass_time(1)
    assert swap_started(s, "chat")


def test_max_wait_of_somebody_else_cuts_the_residency_short() -> None:
    s = Story(model("chat", residency_s=100), model("coder", max_wait_s=30))
    s.up("chat")
    s.ask("coder")
    s.pass_time(29)
    assert not swap_started(s, "chat")
    s.pass_time(1)
    assert swap_started(s, "chat")


def test_alternating_clients_do_not_swap_on_every_request() -> None:
    s = Story(model("chat"), model("coder"))
    s.up("chat", cost=2)
    s.ask("coder")
    served = 0
    while not swap_started(s, "chat"):
        s.serve("chat", 0.2)
        served += 1
    assert served >= 20
    assert s.now <= 2 + 4.25 * 2 + 0.3


def test_four_clients_earn_a_longer_turn_than_one() -> None:
    def turn(clients: int) -> float:
        s = Story(model("chat"), model("coder"))
        s.up("chat", cost=2)
        start = s.now
        held = [s.ask("chat") for _ in range(clients)]
        for _ in range(5 - clients):
            s.ask("coder")
        while not swap_started(s, "chat"):
            s.pass_time(0.2)
            s.give_back(*held)
            held = [s.ask("chat") for _ in range(clients)]
        return s.now - start

    assert turn(4) > 2 * turn(1)


def test_a_quiet_model_gives_the_seat_up_early() -> None:
    s = Story(model("chat"), model("coder"))
    s.up("chat", cost=2)
    s.ask("coder")
    s.pass_time(2)
    assert swap_started(s, "chat")


def test_a_model_that_is_asked_again_and_again_keeps_the_seat_over_its_usual_pauses() -> None:
    s = Story(model("chat"), model("coder"))
    s.up("chat", cost=2)
    for _ in range(5):
        s.pass_time(0.5)
        s.serve("chat", 0.1)
    s.ask("coder")
    s.pass_time(0.5)
    assert s.state("chat") is State.READY


def test_a_crowd_of_models_is_served_one_after_the_other_and_none_starves() -> None:
    names = [f"m{i}" for i in range(6)]
    s = Story(*(model(name) for name in names))
    asked = {name: s.ask(name) for name in names}
    for _ in range(300):
        for name in names:
            if s.state(name) is State.STARTING:
                s.ready(name, after=2)
            elif s.state(name) is State.STOPPING:
                s.gone(name)
            elif s.state(name) is State.READY and s.holds(asked[name]):
                s.give_back(asked[name])
        s.pass_time(0.1)
    assert all(request in s.granted for request in asked.values())
    assert sum(order.startswith("start") for order in s.orders) == 6


def test_eviction_waits_for_the_streams_and_cuts_them_at_the_deadline() -> None:
    s = Story(model("chat", residency_s=0, drain_timeout_s=40), model("coder"))
    s.up("chat")
    ana = s.ask("chat")
    s.ask("coder")
    assert s.state("chat") is State.DRAINING
    s.pass_time(39)
    assert s.since_last() == ["start chat#1"]
    s.pass_time(1)
    assert ana in s.broken
    assert s.since_last() == ["stop chat#1"]


def test_an_eviction_whose_cause_has_gone_is_called_off() -> None:
    s = Story(model("chat", residency_s=0), model("coder"))
    s.up("chat")
    s.ask("chat")
    ben = s.ask("coder")
    cleo = s.ask("chat")
    assert s.waits(cleo)
    s.withdraw(ben)
    assert s.state("chat") is State.READY
    assert s.causes("chat")[-1] is Cause.CALLED_OFF
    assert s.holds(cleo)
    assert s.since_last() == ["start chat#1"]


def test_the_operators_stop_is_not_called_off() -> None:
    s = Story(model("chat", residency_s=0), model("coder"))
    s.up("chat")
    s.ask("chat")
    ben = s.ask("coder")
    s.tell(ev.StopRequested("chat"))
    s.withdraw(ben)
    assert s.state("chat") is State.DRAINING


def test_after_the_order_to_stop_there_is_no_way_back() -> None:
    s = Story(model("chat", residency_s=0), model("coder"))
    s.up("chat")
    ben = s.ask("coder")
    s.withdraw(ben)
    ana = s.ask("chat")
    assert s.state("chat") is State.STOPPING
    s.gone("chat")
    s.ready("chat", after=2)
    assert s.granted[ana] == ("chat", 2)


def test_pinning_calls_an_eviction_off() -> None:
    s = Story(model("chat", residency_s=0), model("coder"))
    s.up("chat")
    s.ask("chat")
    ben = s.ask("coder")
    s.tell(ev.SchedulerConfigured(machine(model("chat", pinned=True), model("coder"))))
    assert s.state("chat") is State.READY
    assert s.code(ben) is Code.NO_ROOM


# priorities, ageing


def test_priority_goes_before_an_earlier_request() -> None:
    s = Story(model("now", residency_s=10), model("low"), model("high"))
    s.up("now")
    s.ask("low")
    s.pass_time(1)
    s.ask("high", priority=2)
    s.pass_time(9)
    s.gone("now")
    assert s.since_last()[-1] == "start high#1"


def test_the_models_own_priority_counts_too() -> None:
    s = Story(model("now", residency_s=10), model("low"), model("high", priority=2))
    s.up("now")
    s.ask("low")
    s.pass_time(1)
    s.ask("high")
    s.pass_time(9)
    s.gone("now")
    assert s.since_last()[-1] == "start high#1"


def test_age_makes_up_for_priority() -> None:
    s = Story(model("now", residency_s=60, max_wait_s=None), model("low"), model("high"))
    s.up("now")
    s.ask("low")
    s.pass_time(55)
    s.ask("high", priority=2)
    s.pass_time(5)
    s.gone("now")
    assert s.since_last()[-1] == "start low#1"


def test_no_priority_goes_before_one_out_of_patience() -> None:
    s = Story(model("now", residency_s=20), model("low", max_wait_s=15), model("high"))
    s.up("now")
    s.ask("low")
    s.pass_time(14)
    s.ask("high", priority=100)
    s.pass_time(1)
    s.gone("now")
    assert s.since_last()[-1] == "start low#1"


def test_a_higher_priority_cuts_a_learned_turn_short() -> None:
    s = Story(model("chat"), model("coder"))
    s.up("chat", cost=2)
    busy = s.ask("chat")
    s.ask("coder", priority=3)
    s.pass_time(0.1)
    assert s.state("chat") is State.DRAINING
    s.give_back(busy)


def test_in_one_queue_priority_goes_first_and_age_catches_up() -> None:
    s = Story(model("chat", max_in_flight=1))
    held = s.ask("chat")
    s.ready("chat")
    old = s.ask("chat")
    s.pass_time(5)
    vip = s.ask("chat", priority=1)
    s.give_back(held)
    assert s.holds(vip)
    assert s.waits(old)
    s.pass_time(6)
    vip2 = s.ask("chat", priority=1)
    s.give_back(vip)
    assert s.holds(old)
    assert s.waits(vip2)


# concurrency and queues


def test_max_in_flight_is_kept_and_the_rest_is_served_in_order() -> None:
    s = Story(model("chat", max_in_flight=2))
    crowd = [s.ask("chat") for _ in range(5)]
    s.ready("chat")
    order = []
    while len(order) < 5:
        holding = [r for r in crowd if s.holds(r) and r not in order]
        assert len(holding) <= 2
        s.pass_time(1)
        s.give_back(holding[0])
        order.append(holding[0])
    assert order == crowd


def test_slots_are_shared_fairly_by_key() -> None:
    s = Story(model("chat", max_in_flight=2))
    greedy = [s.ask("chat", key="greedy") for _ in range(6)]
    modest = s.ask("chat", key="modest")
    s.ready("chat")
    assert s.holds(greedy[0])
    assert s.holds(modest)
    assert s.waits(greedy[1])


def test_a_newcomer_does_not_overtake_those_who_wait() -> None:
    s = Story(model("chat", max_in_flight=1))
    first = s.ask("chat")
    s.ready("chat")
    second = s.ask("chat")
    third = s.ask("chat")
    s.give_back(first)
    assert s.holds(second)
    assert s.waits(third)


def test_a_full_queue_refuses_with_an_honest_retry_after() -> None:
    s = Story(model("chat", max_in_flight=1, max_queue=3))
    s.up("chat")
    s.serve("chat", 10.0)
    for _ in range(4):
        s.ask("chat")
    late = s.ask("chat")
    assert s.refused[late].status == 429
    assert s.code(late) is Code.QUEUE_FULL
    told = s.refused[late].retry_after_s
    assert told is not None
    assert 3 <= told <= 60


def test_a_full_queue_of_a_stopped_model_counts_its_start() -> None:
    s = Story(model("chat", max_queue=1, idle_s=10))
    s.up("chat", cost=30)
    s.pass_time(10)
    s.gone("chat")
    s.ask("chat")
    s.pass_time(10)
    told = s.refused[s.ask("chat")].retry_after_s
    assert told is not None
    assert 19 <= told <= 25


def test_the_wait_limit_is_kept_even_while_it_starts() -> None:
    s = Story(model("chat", wait_limit_s=20))
    early = s.ask("chat")
    s.pass_time(10)
    late = s.ask("chat")
    s.pass_time(10)
    assert s.code(early) is Code.WAIT_LIMIT
    assert s.waits(late)
    s.ready("chat", after=5)
    assert s.holds(late)


def test_the_wait_limit_holds_behind_full_slots() -> None:
    s = Story(model("chat", max_in_flight=1, wait_limit_s=20))
    s.up("chat")
    s.ask("chat")
    late = s.ask("chat")
    s.pass_time(20)
    assert s.code(late) is Code.WAIT_LIMIT


def test_a_request_is_not_refused_for_waiting_while_its_long_start_goes_well() -> None:
    s = Story(model("chat", start_timeout_s=1000))
    ana = s.ask("chat")
    s.ready("chat", after=999)
    assert s.holds(ana)


# warmth


def test_what_is_to_be_warm_starts_by_itself_and_stays() -> None:
    s = Story(model("chat", warm=True, idle_s=60))
    assert s.since_last() == ["start chat#1"]
    s.ready("chat", after=2)
    s.pass_time(1000)
    assert s.state("chat") is State.READY
    assert s.causes("chat")[0] is Cause.PRELOAD


def test_warm_models_that_do_not_fit_together_do_not_chase_each_other() -> None:
    s = Story(model("a", warm=True), model("b", warm=True))
    s.ready("a", after=2)
    s.pass_time(10_000)
    assert s.since_last() == ["start a#1"]


def test_warmth_gives_way_to_demand_and_comes_back_after_the_stranger() -> None:
    s = Story(model("chat", warm=True), model("coder", idle_s=None))
    s.ready("chat", after=2)
    s.pass_time(100)
    ben = s.ask("coder")
    s.gone("chat")
    s.ready("coder", after=2)
    s.pass_time(50)
    assert s.state("coder") is State.READY
    s.give_back(ben)
    s.pass_time(7)
    assert s.state("coder") is State.READY
    s.pass_time(100)
    s.gone("coder")
    assert s.since_last()[-1] == "start chat#2"


def test_a_start_for_warmth_gives_way_to_demand() -> None:
    s = Story(model("chat", warm=True), model("coder"))
    s.ask("coder")
    assert s.since_last() == ["start chat#1", "stop chat#1"]


def test_a_schedule_warms_and_lets_go() -> None:
    s = Story(model("chat", idle_s=60))
    s.tell(ev.KeepWarmChanged("chat", True))
    s.ready("chat", after=2)
    s.pass_time(500)
    assert s.state("chat") is State.READY
    s.tell(ev.KeepWarmChanged("chat", False))
    s.pass_time(1)
    assert s.state("chat") is State.STOPPING
    assert s.causes("chat")[-1] is Cause.IDLE


def test_the_default_model_returns_when_the_last_stranger_has_gone() -> None:
    s = Story(model("chat"), model("coder"), return_to="chat")
    s.ready("chat", after=2)
    s.pass_time(100)
    ben = s.ask("coder")
    s.gone("chat")
    s.ready("coder", after=2)
    s.give_back(ben)
    s.pass_time(100)
    s.gone("coder")
    s.ready("chat", after=2)
    assert s.causes("chat")[-2:] == [Cause.PRELOAD, Cause.PROBE_PASSED]


def test_a_warm_model_that_dies_comes_back_and_then_backs_off() -> None:
    s = Story(model("chat", warm=True))
    s.ready("chat", after=2)
    s.dies("chat")
    assert s.since_last() == ["start chat#1", "start chat#2"]
    s.ready("chat", after=2)
    s.dies("chat")
    assert s.state("chat") is State.BACKOFF
    s.pass_time(1)
    assert s.since_last() == ["start chat#3"]


def test_a_request_of_the_operator_waits_for_its_turn() -> None:
    s = Story(model("chat", residency_s=20), model("coder"))
    s.up("chat")
    s.tell(ev.StartRequested("coder"))
    s.pass_time(19)
    assert s.state("chat") is State.READY
    s.pass_time(1)
    s.gone("chat")
    s.ready("coder", after=2)
    assert s.causes("coder")[0] is Cause.REQUESTED


# sleep


def test_the_ladder_ready_asleep_stopped() -> None:
    s = Story(model("chat", idle_s=60, sleep=sleeper(idle_s=600)))
    s.up("chat")
    s.pass_time(60)
    assert s.since_last() == ["start chat#1", "sleep chat#1"]
    s.slept("chat")
    assert s.core.view("chat").footprint == shares(0.05)
    s.pass_time(599)
    assert s.state("chat") is State.ASLEEP
    s.pass_time(1)
    assert s.since_last() == ["stop chat#1"]


def test_an_operator_puts_to_sleep_what_sleeps() -> None:
    s = Story(model("chat", sleep=sleeper()), model("plain"))
    s.up("chat")
    ana = s.ask("chat")
    s.tell(ev.StopRequested("chat", to_sleep=True))
    assert s.state("chat") is State.DRAINING
    s.give_back(ana)
    assert s.since_last() == ["start chat#1", "sleep chat#1"]
    s.tell(ev.StopRequested("chat", to_sleep=True))  # it is about to
    s.slept("chat")
    s.tell(ev.StopRequested("chat", to_sleep=True))
    assert s.state("chat") is State.ASLEEP
    s.tell(ev.StopRequested("chat"))
    assert s.since_last() == ["stop chat#1"]
    s.gone("chat")
    s.up("plain")
    s.tell(ev.StopRequested("plain", to_sleep=True))
    assert s.since_last()[-1] == "stop plain#1"


def test_a_sleeper_wakes_for_a_request() -> None:
    s = Story(model("chat", idle_s=60, sleep=sleeper()))
    s.up("chat")
    s.pass_time(60)
    s.slept("chat")
    ana = s.ask("chat")
    assert s.since_last()[-1] == "wake chat#1"
    assert s.waits(ana)
    s.ready("chat", after=0.5)
    assert s.granted[ana] == ("chat", 1)


def test_eviction_puts_to_sleep_where_that_frees_enough() -> None:
    s = Story(model("chat", 0.9, residency_s=0, sleep=sleeper(0.05)), model("coder", 0.9))
    s.up("chat")
    ben = s.ask("coder")
    assert s.since_last()[-1] == "sleep chat#1"
    s.slept("chat")
    s.ready("coder", after=2)
    assert s.holds(ben)


def test_eviction_stops_where_sleep_frees_too_little() -> None:
    s = Story(model("chat", 0.9, residency_s=0, sleep=sleeper(0.2)), model("coder", 0.9))
    s.up("chat")
    s.ask("coder")
    assert s.since_last()[-1] == "stop chat#1"


def test_a_leftover_larger_than_expected_costs_the_sleeper_its_bed() -> None:
    s = Story(model("chat", 0.9, residency_s=0, sleep=sleeper(0.05)), model("coder", 0.9))
    s.up("chat")
    ben = s.ask("coder")
    s.slept("chat", leftover=0.3)
    assert s.since_last()[-1] == "stop chat#1"
    s.gone("chat")
    s.ready("coder", after=2)
    assert s.holds(ben)


def test_the_measured_leftover_is_what_counts_from_then_on() -> None:
    s = Story(model("chat", 0.9, idle_s=10, sleep=sleeper(0.05)), model("coder", 0.9))
    s.up("chat")
    s.pass_time(10)
    s.slept("chat", leftover=0.2)
    assert s.core.view("chat").footprint == shares(0.2)
    s.ask("coder")
    assert s.since_last()[-1] == "stop chat#1"


def test_a_sleep_that_fails_is_a_stop_and_sleep_is_not_trusted_again() -> None:
    s = Story(model("chat", idle_s=60, sleep=sleeper()))
    s.up("chat")
    s.pass_time(60)
    s.tell(ev.SleepFailed("chat", 1, TIRED))
    s.gone("chat")
    s.up("chat")
    s.pass_time(60)
    assert s.since_last() == ["start chat#1", "sleep chat#1", "stop chat#1", "start chat#2", "stop chat#2"]


def test_a_sleeper_that_takes_more_than_awake_is_stopped() -> None:
    s = Story(model("chat", 0.5, idle_s=60, sleep=sleeper()))
    s.up("chat")
    s.pass_time(60)
    s.slept("chat", leftover=0.6)
    assert s.causes("chat")[-1] is Cause.SLEEP_FAILED


def test_a_sleep_that_never_ends_is_a_stop() -> None:
    s = Story(model("chat", idle_s=60, drain_timeout_s=30, sleep=sleeper()))
    s.up("chat")
    s.pass_time(90)
    assert s.since_last() == ["start chat#1", "sleep chat#1", "stop chat#1"]


def test_a_failed_wake_costs_no_error_but_a_cold_start() -> None:
    s = Story(model("chat", idle_s=60, sleep=sleeper()))
    s.up("chat")
    s.pass_time(60)
    s.slept("chat")
    ana = s.ask("chat")
    s.tell(ev.WakeFailed("chat", 1, TIRED))
    s.gone("chat")
    s.ready("chat", after=2)
    assert s.granted[ana] == ("chat", 2)
    s.give_back(ana)
    s.pass_time(60)
    assert s.since_last()[-1] == "stop chat#2"


def test_a_run_that_dies_while_waking_costs_no_error_but_a_cold_start() -> None:
    s = Story(model("chat", idle_s=60, sleep=sleeper()))
    s.up("chat")
    s.pass_time(60)
    s.slept("chat")
    ana = s.ask("chat")
    s.dies("chat")
    assert s.waits(ana)
    s.ready("chat", after=2)
    assert s.granted[ana] == ("chat", 2)


def test_a_wake_that_takes_too_long_is_a_cold_start() -> None:
    s = Story(model("chat", idle_s=60, start_timeout_s=20, sleep=sleeper()))
    s.up("chat")
    s.pass_time(60)
    s.slept("chat")
    ana = s.ask("chat")
    s.pass_time(20)
    s.gone("chat")
    s.ready("chat", after=2)
    assert s.granted[ana] == ("chat", 2)


def test_a_sleeper_that_somebody_waits_for_is_not_stopped_for_being_idle() -> None:
    s = Story(
        model("chat", 0.9, idle_s=10, sleep=sleeper(idle_s=20)),
        model("coder", 0.9, residency_s=100),
    )
    s.up("chat")
    s.pass_time(10)
    s.slept("chat")
    ben = s.ask("coder")
    s.ready("coder", after=2)
    ana = s.ask("chat")
    s.pass_time(50)
    assert s.state("chat") is State.ASLEEP
    s.give_back(ben)
    s.pass_time(60)
    s.gone("coder")
    assert s.since_last()[-1] == "wake chat#1"
    s.ready("chat")
    assert s.holds(ana)


def test_a_sleeper_whose_clients_were_refused_still_ends() -> None:
    s = Story(
        model("chat", 0.9, idle_s=10, wait_limit_s=5, sleep=sleeper(idle_s=20)),
        model("coder", 0.9, residency_s=100),
    )
    s.up("chat")
    s.pass_time(10)
    s.slept("chat")
    s.ask("coder")
    s.ready("coder", after=2)
    s.pass_time(10)
    ana = s.ask("chat")
    s.pass_time(5)
    assert s.code(ana) is Code.WAIT_LIMIT
    s.pass_time(20)
    assert s.state("chat") is State.STOPPING


def test_two_sleepers_in_each_others_way_do_not_wait_for_each_other() -> None:
    s = Story(
        model("a", 0.9, residency_s=0, idle_s=10, sleep=sleeper(0.1)),
        model("b", 0.9, residency_s=0, idle_s=10, sleep=sleeper(0.1)),
        model("c", 0.7, residency_s=50),
    )
    for name, leftover in (("a", 0.1), ("b", 0.15)):
        s.up(name)
        s.pass_time(10)
        s.slept(name, leftover=leftover)
    c = s.ask("c")
    s.ready("c", after=2)
    s.give_back(c)
    a, b = s.ask("a"), s.ask("b")
    s.pass_time(50)
    s.gone("c")
    s.gone("b")  # a was first, and b in its way
    s.ready("a", after=1)
    assert s.holds(a)
    s.give_back(a)
    s.slept("a")
    s.ready("b", after=2)
    assert s.holds(b)


def test_host_memory_is_for_the_youngest_sleepers() -> None:
    bed = {"leftover": 0.05, "host_mib": 40_000}
    s = Story(*(model(n, 0.3, idle_s=10, sleep=sleeper(**bed)) for n in "abc"), host_sleep_mib=80_000)
    for name in "abc":
        s.up(name)
        s.pass_time(10)
        s.slept(name)
    assert s.since_last()[-2:] == ["stop a#1", "sleep c#1"]
    assert [s.state(n) for n in "abc"] == [State.STOPPING, State.ASLEEP, State.ASLEEP]


def test_one_too_large_for_host_memory_is_stopped_and_costs_nobody_a_bed() -> None:
    s = Story(
        model("small", 0.3, idle_s=10, sleep=sleeper(host_mib=40_000)),
        model("large", 0.3, idle_s=10, sleep=sleeper(host_mib=90_000)),
        host_sleep_mib=80_000,
    )
    s.up("small")
    s.pass_time(10)
    s.slept("small")
    s.up("large")
    s.pass_time(10)
    assert s.since_last()[-1] == "stop large#1"
    assert s.state("small") is State.ASLEEP


def test_level_two_needs_no_host_memory() -> None:
    s = Story(model("chat", idle_s=10, sleep=sleeper(level=2, host_mib=90_000)), host_sleep_mib=1)
    s.up("chat")
    s.pass_time(10)
    assert s.since_last()[-1] == "sleep chat#1"


def test_a_drained_model_sleeps() -> None:
    s = Story(model("chat", residency_s=0, sleep=sleeper()), model("coder", 0.9))
    s.up("chat")
    ana = s.ask("chat")
    s.ask("coder")
    assert s.state("chat") is State.DRAINING
    s.give_back(ana)
    assert s.since_last()[-1] == "sleep chat#1"


def test_the_operators_stop_of_a_sleeper_stops_it() -> None:
    s = Story(model("chat", idle_s=10, sleep=sleeper()))
    s.up("chat")
    s.pass_time(10)
    s.slept("chat")
    s.tell(ev.StopRequested("chat"))
    assert s.since_last()[-1] == "stop chat#1"


def test_turns_of_sleepers_are_as_short_as_their_wakes_are_quick() -> None:
    s = Story(model("chat", 0.9, sleep=sleeper()), model("coder", 0.9, sleep=sleeper()))

    def come(name: str, other: str, seconds: float) -> float:
        """``name`` is asked for while ``other`` is in use; how long it was kept waiting for the turn."""
        asked, began = s.ask(name), s.now
        while s.state(other) is State.READY:
            s.serve(other, 0.1)
        kept = s.now - began
        s.slept(other)
        s.ready(name, after=seconds)
        s.give_back(asked)
        return kept

    s.up("chat", cost=40)
    assert come("coder", "chat", 40) > 100  # cold starts
    come("chat", "coder", 1)
    come("coder", "chat", 1)
    assert come("chat", "coder", 1) < 10


# found above the budget


def test_a_run_found_above_the_budget_is_counted_and_the_quiet_one_makes_room() -> None:
    s = Story(model("chat", 0.7), model("coder", 0.7))
    s.up("chat")
    s.tell(ev.RunFound("coder", 1, ready=False))
    assert s.since_last() == ["start chat#1", "stop chat#1"]
    s.gone("chat")
    s.ready("coder")
    assert s.state("coder") is State.READY


def test_a_busy_one_makes_room_for_it_when_it_has_become_quiet() -> None:
    s = Story(model("chat", 0.7), model("coder", 0.7))
    s.up("chat")
    ana = s.ask("chat")
    s.tell(ev.RunFound("coder", 1, ready=True))
    s.pass_time(10)
    assert s.state("chat") is State.READY
    s.give_back(ana)
    assert s.since_last()[-1] == "stop chat#1"


def test_nothing_is_started_while_too_much_is_taken() -> None:
    s = Story(model("chat", 0.7), model("coder", 0.7), model("site", 0.1))
    s.up("chat")
    s.ask("chat")
    s.tell(ev.RunFound("coder", 1, ready=True))
    s.ask("coder")
    s.ask("site")
    assert s.since_last() == ["start chat#1"]


def test_a_smaller_budget_after_a_reload_makes_room_at_once() -> None:
    seats = (model("a", 0.4), model("b", 0.4))
    s = Story(*seats)
    s.up("a")
    s.up("b")
    s.tell(ev.SchedulerConfigured(machine(*seats, budget=0.5)))
    assert s.since_last()[2:] == ["stop a#1"]


# learned


def test_a_remembered_start_is_used_until_one_is_measured() -> None:
    s = Story(model("chat"))
    s.tell(ev.StartRemembered("chat", 42.0))
    assert s.core.view("chat").start_cost_s == 42.0
    s.tell(ev.StartRemembered("chat", 1.0))
    assert s.core.view("chat").start_cost_s == 42.0
    s.up("chat", cost=2)
    assert s.core.view("chat").last_start_s == 2.0
    assert 2.0 < (s.core.view("chat").start_cost_s or 0.0) < 42.0
