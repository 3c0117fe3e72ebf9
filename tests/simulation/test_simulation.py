"""The simulator, and what the default policy must show in it."""

from __future__ import annotations

import pytest

from hotseat.core.scheduler import Scheduler
from hotseat.core.spec import PPM, SchedulerSpec, SchedulingSpec, SleepSpec
from hotseat.simulation.baselines import FirstCome, SwapOnDemand
from hotseat.simulation.compare import compare
from hotseat.simulation.offline import offline_wait_s
from hotseat.simulation.run import simulate
from hotseat.simulation.scenarios import SCENARIOS, four_and_one, two_loops
from hotseat.simulation.trace import TraceError, read_trace
from hotseat.simulation.traffic import ClosedLoopClient, Scenario, SimulatedRequest, SwapCost


def box(*names: str, share: float = 0.9, **terms: object) -> SchedulerSpec:
    seats = {
        n: SchedulingSpec(name=n, footprint={"0": round(share * PPM)}, **terms)  # type: ignore[arg-type]
        for n in names
    }
    return SchedulerSpec(budget={"0": round(0.9 * PPM)}, models=seats)


def asked(*asks: SimulatedRequest, models: tuple[str, ...] = ("a", "b"), **terms: object) -> Scenario:
    costs = dict.fromkeys(models, SwapCost(start_s=10.0, stop_s=1.0, sleep_s=0.5, wake_s=2.0))
    return Scenario("test", "", box(*models, **terms), costs, asks[-1].at_s + 1, asks=asks)


COSTS = dict.fromkeys("ab", SwapCost(start_s=5.0))


def longest(waits_s: dict[str, list[float]]) -> float:
    return max(wait for waits in waits_s.values() for wait in waits)


# what the issue asks of the default policy


def test_two_clients_in_a_loop_on_two_exclusive_models() -> None:
    outcome = simulate(scenario := two_loops(), Scheduler(scenario.scheduler))
    assert outcome.answered >= 200
    assert longest(outcome.waits_s) <= 15.0
    assert outcome.unanswered == outcome.refused == outcome.broken == 0


def test_four_clients_and_one() -> None:
    outcome = simulate(scenario := four_and_one(), Scheduler(scenario.scheduler))
    assert outcome.answered >= 600
    assert longest(outcome.waits_s) <= 15.0
    assert len(outcome.waits_s["right"]) >= 50  # the minority is served, too


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", ["poisson", "bursts", "switching", "office"])
def test_on_no_day_is_it_worse_than_in_line(name: str, seed: int) -> None:
    comparison = compare(SCENARIOS[name](seed), ("hotseat", "first-come"), offline=False)
    total = {line.way: line.total_wait_s for line in comparison.lines(by_model=False)}
    assert total["hotseat"] <= total["first-come"] * 1.0005


@pytest.mark.parametrize("seed", [0, 1])
def test_bursts_cost_as_little_as_swapping_on_demand(seed: int) -> None:
    comparison = compare(SCENARIOS["bursts"](seed), ("hotseat", "swap-on-demand"), offline=False)
    total = {line.way: line.total_wait_s for line in comparison.lines(by_model=False)}
    assert total["hotseat"] <= total["swap-on-demand"] * 1.005


@pytest.mark.parametrize("name", ["poisson", "bursts", "switching", "office", "thousand"])
def test_open_traffic_is_served_no_worse_than_in_line_and_near_the_offline_figure(
    name: str,
) -> None:
    comparison = compare(SCENARIOS[name](0))
    total = {line.way: line.total_wait_s for line in comparison.lines(by_model=False)}
    assert comparison.offline_wait_s is not None
    assert total["hotseat"] <= total["first-come"] * 1.001
    assert total["hotseat"] <= 1.5 * comparison.offline_wait_s
    assert all(outcome.unanswered == outcome.refused == 0 for outcome in comparison.outcomes.values())


# the simulator itself


@pytest.mark.parametrize("way", [Scheduler, FirstCome, SwapOnDemand])
def test_a_lonely_request_waits_for_its_start(way: type[Scheduler]) -> None:
    scenario = asked(SimulatedRequest(5.0, "a", 3.0))
    outcome = simulate(scenario, way(scenario.scheduler))
    assert outcome.waits_s["a"] == [10.0]
    assert outcome.serving_s == 3.0
    assert outcome.starts == 1


@pytest.mark.parametrize("way", [FirstCome, SwapOnDemand])
def test_the_rivals_swap_for_every_turn(way: type[Scheduler]) -> None:
    scenario = asked(SimulatedRequest(0.0, "a", 1.0), SimulatedRequest(0.5, "b", 1.0))
    outcome = simulate(scenario, way(scenario.scheduler))
    # b waits for a's start, its answer, its stop, and its own start
    assert outcome.waits_s == {"a": [10.0], "b": [10.0 + 1.0 + 1.0 + 10.0 - 0.5]}


def test_in_line_means_in_line() -> None:
    scenario = asked(
        SimulatedRequest(0.0, "a", 5.0), SimulatedRequest(11.0, "b", 1.0), SimulatedRequest(12.0, "a", 1.0)
    )
    in_line = simulate(scenario, FirstCome(scenario.scheduler))
    assert len(in_line.waits_s["a"]) == 2
    assert in_line.waits_s["a"][1] == 26.0  # b's start until 26, its answer, its stop, a's start: 38
    assert in_line.starts == 3


def test_agents_ask_again_until_the_time_is_up() -> None:
    costs = {"a": SwapCost(start_s=2.0)}
    scenario = Scenario("t", "", box("a"), costs, 12.0, agents=(ClosedLoopClient("a", 1.0, think_s=1.0),))
    assert (
        simulate(scenario, Scheduler(scenario.scheduler)).answered == 5
    )  # at 0 (served from 2), 4, 6, 8, 10


def test_sleepers_wake_in_the_simulator() -> None:
    sleep = SleepSpec(leftover={"0": 0})
    scenario = asked(
        SimulatedRequest(0.0, "a", 1.0), SimulatedRequest(100.0, "a", 1.0), idle_s=30.0, sleep=sleep
    )
    outcome = simulate(scenario, Scheduler(scenario.scheduler))
    assert outcome.waits_s["a"] == [10.0, 2.0]
    assert outcome.wakes == 1


def test_what_is_refused_is_counted() -> None:
    scenario = asked(SimulatedRequest(0.0, "a", 1.0), SimulatedRequest(0.1, "a", 1.0), max_queue=1)
    outcome = simulate(scenario, Scheduler(scenario.scheduler))
    assert (outcome.answered, outcome.refused) == (1, 1)


# all that a configuration may say


def test_two_devices_swap_each_for_itself() -> None:
    seats = {
        name: SchedulingSpec(name=name, footprint={device: round(0.9 * PPM)})
        for name, device in (("a", "0"), ("b", "0"), ("c", "1"), ("d", "1"))
    }
    seats["both"] = SchedulingSpec(name="both", footprint={"0": round(0.9 * PPM), "1": round(0.9 * PPM)})
    two = SchedulerSpec(budget={"0": round(0.9 * PPM), "1": round(0.9 * PPM)}, models=seats)
    costs = dict.fromkeys(seats, SwapCost(start_s=10.0, stop_s=1.0))
    asks = (
        *(SimulatedRequest(0.0, name, 1.0) for name in "ac"),
        *(SimulatedRequest(50.0, name, 1.0) for name in "bd"),
    )
    scenario = Scenario("two", "", two, costs, 200.0, asks=(*asks, SimulatedRequest(100.0, "both", 1.0)))
    waits = simulate(scenario, Scheduler(two)).waits_s
    assert waits["a"] == waits["c"] == [10.0]
    assert waits["b"] == waits["d"] == [11.0]  # at the same time
    assert waits["both"] == [11.0]


def test_places_are_kept_and_shared_by_key() -> None:
    asks = [
        SimulatedRequest(0.0, "a", 4.0, "ana"),
        SimulatedRequest(0.1, "a", 4.0, "ana"),
        SimulatedRequest(0.2, "a", 4.0, "ben"),
    ]
    scenario = asked(*asks, max_in_flight=1)
    waits = simulate(scenario, Scheduler(scenario.scheduler)).waits_s["a"]
    assert waits == pytest.approx([10.0, 14.0 - 0.1, 18.0 - 0.2])


def test_priority_goes_first_and_age_wins_in_the_end() -> None:
    seats = dict(box("a", "b", "c").models)
    seats["c"] = SchedulingSpec(name="c", footprint=seats["c"].footprint, priority=2)
    costs = dict.fromkeys(seats, SwapCost(start_s=10.0, stop_s=1.0))
    asks = [SimulatedRequest(0.0, "a", 5.0), SimulatedRequest(1.0, "b", 5.0), SimulatedRequest(2.0, "c", 5.0)]
    asks += [
        SimulatedRequest(2.0 + 0.5 * i, "c", 5.0) for i in range(1, 600)
    ]  # somebody wants it all the time
    scenario = Scenario(
        "p", "", SchedulerSpec(budget={"0": PPM}, models=seats), costs, 400.0, asks=tuple(asks)
    )
    outcome = simulate(scenario, Scheduler(scenario.scheduler))
    assert outcome.waits_s["c"][0] < outcome.waits_s["b"][0]
    assert outcome.waits_s["b"][0] < 250.0
    assert outcome.unanswered == 0


def test_the_default_comes_back_after_the_stranger() -> None:
    two = box("a", "b")
    two = SchedulerSpec(budget=two.budget, models=two.models, return_to="a")
    costs = dict.fromkeys("ab", SwapCost(start_s=10.0, stop_s=1.0))
    scenario = Scenario(
        "d", "", two, costs, 500.0, asks=(SimulatedRequest(20.0, "b", 1.0), SimulatedRequest(400.0, "a", 1.0))
    )
    outcome = simulate(scenario, Scheduler(two))
    assert outcome.waits_s["a"] == [0.0]
    assert outcome.starts == 3


# the offline figure


def test_offline_batches_what_comes_together() -> None:
    # a, b, a, b in two seconds: one turn each, and the second turn waits for the first one's answers
    asks = [
        SimulatedRequest(0.0, "a", 1.0),
        SimulatedRequest(0.5, "b", 1.0),
        SimulatedRequest(1.0, "a", 1.0),
        SimulatedRequest(1.5, "b", 1.0),
    ]
    best = 10.0 + 9.0 + (22.0 - 0.5) + (22.0 - 1.5)
    assert offline_wait_s(asked(*asks)) == pytest.approx(best)


def test_offline_stays_when_the_next_request_is_near() -> None:
    asks = [
        SimulatedRequest(0.0, "a", 1.0),
        SimulatedRequest(11.0, "b", 1.0),
        SimulatedRequest(12.0, "a", 1.0),
        SimulatedRequest(200.0, "a", 1.0),
    ]
    # a is served at 12 too, so b waits from 11 to 24; the request at 200 waits for b's stop and a's start
    assert offline_wait_s(asked(*asks)) == pytest.approx(10.0 + 0.0 + 13.0 + 11.0)


def test_offline_sends_away_whoever_is_needed_last() -> None:
    names = ("a", "b", "c", "d")
    order = "abcdabca"
    asks = [SimulatedRequest(100.0 * i, name, 1.0) for i, name in enumerate(order)]
    assert offline_wait_s(asked(*asks, models=names, share=0.3)) == pytest.approx(5 * 10.0)


def test_nothing_beats_the_offline_figure() -> None:
    for name in ("poisson", "bursts", "switching"):
        comparison = compare(SCENARIOS[name](2))
        assert comparison.offline_wait_s is not None
        for line in comparison.lines(by_model=False):
            assert line.total_wait_s >= comparison.offline_wait_s * 0.999


# traces


def test_a_trace_is_read_in_any_order_and_from_any_hour() -> None:
    lines = [
        '{"at": "2026-01-05T08:00:30+00:00", "model": "b", "seconds": 2, "status": 200}',
        "",
        '{"at": "2026-01-05T09:00:00+01:00", "model": "a", "seconds": 1.5, "key": "ana"}',
    ]
    scenario = read_trace(lines, box("a", "b"), COSTS)
    assert scenario.asks == (SimulatedRequest(0.0, "a", 1.5, "ana"), SimulatedRequest(30.0, "b", 2.0))
    assert simulate(scenario, Scheduler(scenario.scheduler)).answered == 2


def test_of_an_access_log_what_a_model_answered_is_taken() -> None:
    lines = [
        '{"time": "2026-01-05T08:00:10.500Z", "event": "request", "model": "a", "key": "ana", "status": 200, '
        '"waited_s": 5.0, "duration_s": 8.5}',
        '{"time": "2026-01-05T08:00:12Z", "event": "request", "model": "b", "code": "model_backoff"}',
        '{"time": "2026-01-05T08:00:13Z", "event": "request", "path": "/stats", "status": 200}',
        '{"time": "2026-01-05T08:00:14Z", "event": "ready", "model": "a"}',
        '{"time": "2026-01-05T08:00:15Z", "event": "request", "model": "b", "duration_s": 3.0}',
    ]
    scenario = read_trace(lines, box("a", "b"), COSTS)
    assert scenario.asks == (SimulatedRequest(0.0, "a", 3.5, "ana"), SimulatedRequest(10.0, "b", 3.0))
    assert scenario.about == "recorded traffic; 3 lines left out that no model answered"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[1]", "line 1: not a JSON object"),
        ("{", "line 1: "),
        ('{"at": 1, "model": "a"}', "line 1: lacks seconds"),
        ('{"at": 1, "model": "x", "seconds": 1}', "line 1: model 'x' is not configured; there are a, b"),
        ('{"at": 1, "model": "a", "seconds": -1}', "line 1: seconds is -1"),
        ('{"at": "noon", "model": "a", "seconds": 1}', "line 1: "),
        ("", "the trace holds no request that a model answered"),
    ],
)
def test_a_bad_trace_is_told_with_its_line(line: str, told: str) -> None:
    with pytest.raises(TraceError, match=told):
        read_trace([line], box("a", "b"), COSTS)
