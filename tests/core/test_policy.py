"""The pure questions of the core, asked directly: what numbers come out, not only what follows from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotseat.core import policy
from hotseat.core.deadlines import NEVER, Deadlines
from hotseat.core.policy import Candidate


def test_a_turn_follows_the_share_of_clients_within_bounds() -> None:
    assert policy.turn_s(2.0, 1, 1) == 2.0 * policy.TURN
    assert policy.turn_s(2.0, 3, 3) == 2.0 * policy.TURN
    assert policy.turn_s(2.0, 1, 3) == pytest.approx(2.0 * policy.TURN * 2 * 1 / 4)
    assert policy.turn_s(2.0, 0, 5) == 2.0 * policy.TURN_MIN
    assert policy.turn_s(2.0, 9, 1) == 2.0 * policy.TURN_MAX
    assert policy.turn_s(2.0, 0, 0) == 2.0 * policy.TURN  # nobody: as between equals


def test_what_a_quiet_model_keeps_the_seat_for() -> None:
    low, high = 8.0 * policy.LINGER_MIN, 8.0 * policy.LINGER_MAX
    assert policy.linger_s(8.0, None) == low
    assert policy.linger_s(8.0, 0.0) == low
    assert policy.linger_s(8.0, high / 2) == high
    assert policy.linger_s(8.0, high * 0.4) == pytest.approx(high * 0.8)
    assert policy.linger_s(8.0, high) == 0.0  # people who read and type: at once


def test_worth_grows_with_the_restart_and_use_and_falls_with_quiet() -> None:
    assert policy.eviction_cost(10.0, 0.0, 0) == pytest.approx(10.0, abs=1e-3)
    assert policy.eviction_cost(10.0, 0.0, 2) == pytest.approx(30.0, abs=1e-3)
    assert policy.eviction_cost(10.0, 30.0, 0) == pytest.approx(10.0 / 4, abs=1e-3)
    assert policy.eviction_cost(0.5, 3.0, 0) == pytest.approx(
        0.5 / 4, abs=1e-3
    )  # a quick start counts as one second
    assert policy.eviction_cost(0.0, 0.0, 0) > 0  # only what is leaving already costs nothing


def test_what_a_swap_costs() -> None:
    assert policy.swap_cost_s(None, None) == policy.DEFAULT_SWAP_S
    assert policy.swap_cost_s(4.0, None) == 4.0
    assert policy.swap_cost_s(4.0, 8.0) == 6.0
    assert policy.swap_cost_s(0.0) > 0


def test_back_offs_double_up_to_a_minute_and_are_spread_by_a_quarter() -> None:
    assert [policy.backoff_s(n, 0.0) for n in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert policy.backoff_s(2, 1.0) == 5.0
    assert policy.backoff_s(10_000, 0.5) == pytest.approx(60)


def candidates(*terms: tuple[float, float]) -> list[Candidate]:
    """Values and what they free, in per cent of device 0."""
    return [
        Candidate(f"m{number:02}", {"0": round(frees * 10_000)}, value)
        for number, (value, frees) in enumerate(terms)
    ]


def test_the_cheapest_sufficient_set_leaves() -> None:
    few = candidates((5, 60), (1, 30), (1, 30), (9, 90))
    assert policy.choose_victims({"0": 600_000}, few) == ("m01", "m02")
    assert policy.choose_victims({"0": 650_000}, few) == ("m00", "m01")
    assert policy.choose_victims({"0": 300_000}, few) == ("m01",)
    assert policy.choose_victims({"0": 2_200_000}, few) is None
    assert policy.choose_victims({"1": 1}, few) is None


def test_what_frees_nothing_of_what_is_missing_stays() -> None:
    other = Candidate("other", {"1": 900_000}, 0.0)
    assert policy.choose_victims({"0": 100_000}, [other, *candidates((3, 20))]) == ("m00",)


def test_one_part_per_million_counts() -> None:
    assert policy.choose_victims({"0": 1}, [Candidate("tiny", {"0": 1}, 1.0)]) == ("tiny",)


def test_of_many_the_cheapest_leave_and_none_without_need() -> None:
    many = candidates(*((20 - number, 10) for number in range(policy.EXACT_CHOICE + 4)))
    assert policy.choose_victims({"0": 200_000}, many) == ("m13", "m12")
    cheap_and_small = candidates(*((1, 1) for _ in range(policy.EXACT_CHOICE + 1)), (2, 50))
    assert policy.choose_victims({"0": 500_000}, cheap_and_small) == ("m11",)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 60)), min_size=11, max_size=16), st.integers(1, 300)
)
def test_of_many_what_leaves_is_enough_and_nobody_could_stay(terms: list[tuple[int, int]], gap: int) -> None:
    many = candidates(*terms)
    frees = {c.model: c.frees["0"] for c in many}
    chosen = policy.choose_victims({"0": gap * 10_000}, many)
    if chosen is None:
        assert sum(frees.values()) < gap * 10_000
        return
    freed = sum(frees[model] for model in chosen)
    assert freed >= gap * 10_000
    assert all(freed - frees[model] < gap * 10_000 for model in chosen)


def test_an_alarm_that_is_forgotten_does_not_ring() -> None:
    alarms = Deadlines()
    alarms.set("a", 1.0)
    alarms.set("b", 2.0)
    alarms.forget("a")
    assert alarms.at("a") == NEVER
    assert alarms.due(3.0) == ["b"]
    alarms.forget("never set")
